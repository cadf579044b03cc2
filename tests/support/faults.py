"""Shared by the tests of faults: rows to lose, moments to act at, and checks."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stored_backup
from conftest import ACCOUNT, Bucket, Bundle, Database
from support import insert_names

import truncation
from hiring import logs
from hiring.mysql import packets

FULL = {"departments": 2, "jobs": 1, "employees": 12}
EMPTY = dict.fromkeys(FULL, 0)
ESSAY_BYTES = 1_000_000
TRUNCATE = "/truncate-tables"


def fill(database: Database) -> None:
    """Inserts the rows that FULL counts; the employees exceed all buffers on their way."""
    insert_names(database)
    database.execute("ALTER TABLE employees ADD essay LONGTEXT NULL")
    essay = f"REPEAT('x', {ESSAY_BYTES})"
    employees = range(1, FULL["employees"] + 1)
    rows = ", ".join(f"({number}, 'Ada', '2021-06-01', 1, 1, {essay})" for number in employees)
    database.execute(f"INSERT INTO employees VALUES {rows}")


def check_whole(bucket: Bucket, answer: dict[str, Any], rows: dict[str, int] | None = None) -> None:
    """Checks that the backup in an answer is stored as its manifest says and has these rows."""
    content = bucket.blobs(stored_backup.path(answer))
    manifest = json.loads(content[f"{stored_backup.path(answer)}manifest.json"])
    told = {name: each for name, each in answer.items() if name != "warning"}
    assert {"backup": answer["backup"], **manifest} == told
    for table, expected in (FULL if rows is None else rows).items():
        assert len(stored_backup.records(bucket, answer, table)) == expected
        assert stored_backup.entry(answer, table)["rows"] == expected


def manifests(bucket: Bucket) -> list[str]:
    return [name for name in bucket.blobs() if name.endswith("manifest.json")]


def at_event(
    environment: pytest.MonkeyPatch, act: Callable[[], object], message: str, **fields: object
) -> None:
    """Calls `act` once, after the functions in this process log this event with these fields."""
    event = logs.event
    done: list[bool] = []

    def log(said: str, severity: str = "INFO", **its_fields: object) -> None:
        event(said, severity, **its_fields)
        if said == message and fields.items() <= its_fields.items() and not done:
            done.append(True)
            act()

    environment.setattr(logs, "event", log)


def after_emptying(
    environment: pytest.MonkeyPatch, act: Callable[[], object], table: str, following: str
) -> None:
    """Calls `act` when one table is empty and the server waits before it empties the next one."""
    wait = f"SLEEP(('{{table}}' = '`{following}`') * 5)"
    statements = f"SET SESSION foreign_key_checks = {{checks}} + {wait}; TRUNCATE TABLE {{table}}"
    environment.setattr(truncation, "EMPTY", statements)
    at_event(environment, act, "table emptied", table=table)


def in_the_rows(environment: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Calls `act` each time a backup has read the first rows of employees."""
    read = packets.read_rows

    def reading(connection: Any, statement: str) -> Iterator[Any]:
        for number, rows in enumerate(read(connection, statement)):
            if "`employees`" in statement and number == 0:
                act()
            yield rows

    environment.setattr(packets, "read_rows", reading)


def wait_until(what: Callable[[], bool], seconds: float = 20) -> None:
    """Waits until `what` returns True.

    Raises:
        AssertionError: it does not within the time.
    """
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def sessions(database: Database) -> list[int]:
    """The ids of the functions' connections to the server."""
    found = database.execute(
        "SELECT id FROM information_schema.processlist WHERE user = %s", (ACCOUNT,)
    )
    return [number for (number,) in found]


def kill_sessions(database: Database, what: str = "CONNECTION") -> None:
    """Kills the functions' connections, or with "QUERY" the statements that they run."""
    for number in sessions(database):
        database.execute(f"KILL {what} {number}")


def started_threads() -> set[threading.Thread]:
    """All threads that run now."""
    return set(threading.enumerate())


def worker(bundle: Bundle) -> int:
    """The id of the worker process, the one child of the serving process."""
    return int(subprocess.check_output(["pgrep", "-P", str(bundle.pid)], text=True).split()[0])
