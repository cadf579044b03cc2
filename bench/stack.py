"""The stack of a benchmark: database server, storage emulator and functions, each a process.

Nothing is kept: folder, objects and data are gone afterwards.
"""

import contextlib
import datetime
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pymysql
import requests

from local import process, sample
from local.database import DatabaseServer
from local.storage import StorageEmulator

PROJECT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
REQUEST_SECONDS = 600
DATABASE = "hiring"
ACCOUNT = "hiring"
BUCKET = "hiring-backups"
SERVER_OPTIONS = ("--innodb-buffer-pool-size=1G", "--max-allowed-packet=64M")
TICKS = os.sysconf("SC_CLK_TCK")

FIRST_DAY = "2018-01-01"
SECONDS_OF_HIRES = 8 * 365 * 24 * 60 * 60
DIGITS = "(SELECT 0 AS digit" + "".join(f" UNION ALL SELECT {n}" for n in range(1, 10)) + ")"


@dataclass
class Stack:
    """Attributes: the server, where the functions are, and the processes whose use is measured."""

    server: DatabaseServer
    url: str
    functions: int
    emulator: int
    environment: dict[str, str] = field(repr=False)

    def connect(self, database: str = DATABASE) -> "pymysql.Connection":
        """A connection as root."""
        return self.server.connect(database=database, init_command="SET time_zone = '+00:00'")

    def execute(self, *statements: str) -> None:
        """Runs statements as root."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def get(self, path: str) -> requests.Response:
        """A successful answer of the functions."""
        response = requests.get(self.url + path, timeout=REQUEST_SECONDS)
        response.raise_for_status()
        return response


@contextlib.contextmanager
def running() -> Iterator[Stack]:
    """A stack with empty tables."""
    with contextlib.ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = DatabaseServer(folder / "server", options=SERVER_OPTIONS)
        server.start()
        parts.callback(server.stop)
        server.create_database(DATABASE)
        server.run_script(PROJECT / "loading/schema.sql", DATABASE)
        password = secrets.token_urlsafe()
        server.create_account(ACCOUNT, password, DATABASE)
        storage_port, port = process.free_port(), process.free_port()
        storage_url = f"http://127.0.0.1:{storage_port}"
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DB_SOCKET": str(server.socket),
            "DB_USER": ACCOUNT,
            "DB_PASS": password,
            "DB_NAME": DATABASE,
            "GCS_PATH": f"{BUCKET}/bench",
            "STORAGE_EMULATOR_HOST": storage_url,
        }
        emulator = _start(parts, folder, "local.storage", folder / "objects", str(storage_port))
        process.wait_for_port(emulator, storage_port, START_SECONDS, str)
        body = {"name": BUCKET}
        requests.post(f"{storage_url}/storage/v1/b", json=body, timeout=10).raise_for_status()
        functions = _start(parts, folder, "local.serve", str(port), environment=environment)
        process.wait_for_port(functions, port, START_SECONDS, str)
        yield Stack(server, f"http://127.0.0.1:{port}", functions.pid, emulator.pid, environment)


@contextlib.contextmanager
def server_and_storage() -> Iterator[tuple[DatabaseServer, StorageEmulator, Path]]:
    """A server and an emulator, both empty, and a folder, for what is run as commands."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server, emulator = DatabaseServer(folder / "server"), StorageEmulator(folder / "storage")
        server.start()
        try:
            emulator.start()
            emulator.ensure_bucket(BUCKET)
            yield server, emulator, folder
        finally:
            emulator.stop()
            server.stop()


def environment(server: DatabaseServer, emulator: StorageEmulator, database: str) -> dict[str, str]:
    """The settings of a command that uses both, as root."""
    return {
        **os.environ,
        "DB_SOCKET": str(server.socket),
        "DB_PASS": "",
        "DB_NAME": database,
        "GCS_PATH": BUCKET,
        "STORAGE_EMULATOR_HOST": emulator.url,
    }


def _start(
    parts: contextlib.ExitStack,
    folder: Path,
    module: str,
    *arguments: str | Path,
    environment: dict[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    log = parts.enter_context((folder / f"{module}.log").open("wb"))
    command = [sys.executable, "-m", module, *arguments]
    started = process.start(command, log, folder=PROJECT, environment=environment)
    parts.callback(process.stop, started)
    return started


# The tables


def numbers(count: int) -> str:
    """A table expression `numbers` with the column `n`: 1 to `count`, in order."""
    places = range(len(str(count - 1)))
    value = " + ".join(f"d{place}.digit * {10**place}" for place in places)
    tables = ", ".join(f"{DIGITS} AS d{place}" for place in reversed(places))
    return f"(SELECT 1 + {value} AS n FROM {tables}) AS numbers WHERE n <= {count} ORDER BY n"


def draw(name: str, below: int) -> str:
    """An expression for a number from 0, the same each time, that looks random."""
    return f"MOD(CRC32(CONCAT('{name}', n)), {below})"


def pick(name: str, values: Sequence[str]) -> str:
    """An expression for one of the values."""
    texts = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"ELT(1 + {draw(name, len(values))}, {texts})"


EMPLOYEE = {
    "id": "n",
    "name": f"CONCAT({pick('g', sample.GIVEN_NAMES)}, ' ', {pick('f', sample.FAMILY_NAMES)})",
    "datetime": f"'{FIRST_DAY}' + INTERVAL {draw('t', SECONDS_OF_HIRES)} SECOND",
    "department_id": f"1 + {draw('d', len(sample.DEPARTMENTS))}",
    "job_id": f"1 + {draw('j', len(sample.JOBS))}",
}
TYPES = {
    "name": "VARCHAR(255)",
    "datetime": "DATETIME",
    "department_id": "INT UNSIGNED",
    "job_id": "INT UNSIGNED",
}


class Connects(Protocol):
    """What has a server's database: a stack, or a test's database."""

    def connect(self) -> "pymysql.Connection[Any]": ...


def fill(stack: Connects, rows: int, *, nullable: bool = False) -> None:
    """Fills the tables with so many employees, hired in the eight years from FIRST_DAY on.

    With `nullable`, each column of employees but the id takes NULL, and a tenth of its values is.
    """
    with stack.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0, sql_mode = ''")
        for table in ("employees", "jobs", "departments"):
            cursor.execute(f"TRUNCATE TABLE {table}")
        for table in ("departments", "jobs"):
            cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", list(sample.TABLES[table]()))
        values = dict(EMPLOYEE)
        if nullable:
            modified = ", ".join(f"MODIFY {name} {sql} NULL" for name, sql in TYPES.items())
            cursor.execute(f"ALTER TABLE employees {modified}")
            for name in TYPES:
                values[name] = f"IF({draw('null ' + name, 10)} = 0, NULL, {values[name]})"
        selected = ", ".join(values.values())
        cursor.execute(f"INSERT INTO employees SELECT {selected} FROM {numbers(rows)}")
        cursor.execute("ANALYZE TABLE employees")


# What processes use


@dataclass
class Use:
    """What something took: seconds of time and of processor, and megabytes at the peak."""

    seconds: float
    cpu: float
    megabytes: float


def median(uses: Sequence[Use]) -> Use:
    """The median of each; the largest peak."""
    return Use(
        statistics.median(use.seconds for use in uses),
        statistics.median(use.cpu for use in uses),
        max(use.megabytes for use in uses),
    )


def cpu_seconds(pid: int) -> float:
    """Processor time so far of a process and its children."""
    total = 0.0
    for each in [pid, *children(pid)]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def children(pid: int) -> list[int]:
    """The processes that this one has started and that still run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def peak_megabytes(pid: int) -> float:
    """The most memory that one of the process's children ever had."""
    peaks = []
    for each in [pid, *children(pid)]:
        (line,) = (
            line
            for line in Path(f"/proc/{each}/status").read_text().splitlines()
            if line.startswith("VmHWM:")
        )
        peaks.append(int(line.split()[1]) / 1024)
    return max(peaks)


def machine(server: DatabaseServer) -> str:
    """The line above a table: when, on what."""
    kind = f"{'MariaDB' if server.is_mariadb else 'MySQL'} {server.version}"
    cores = len(os.sched_getaffinity(0))
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.datetime.now(datetime.UTC).date()
    python = ".".join(map(str, sys.version_info[:2]))
    return f"{today}, {cores} cores, {gigabytes:.0f} GB, Python {python}, {kind}"
