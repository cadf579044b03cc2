"""Helpers of several test files: parameters, rows, answers, and a copy of the project."""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Bucket, Database
from werkzeug.test import Client

from hiring.tables import TABLES


def some(values: Iterable[Any], number: int = 1) -> list[Any]:
    """Parameters of a test: `./test.sh` takes the first ones, and CI takes all.

    Args:
        values: one for each test, with names if it is a mapping; a tuple has several parameters.
        number: of those that `./test.sh` takes.
    """
    pairs = values.items() if isinstance(values, Mapping) else ((None, each) for each in values)
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else [value]),
            id=name,
            marks=[] if place < number else pytest.mark.slow,
        )
        for place, (name, value) in enumerate(pairs)
    ]


def count(database: Database) -> dict[str, int]:
    """The number of rows of each of the three tables."""
    return {table: database.execute(f"SELECT COUNT(*) FROM {table}")[0][0] for table in TABLES}


def content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the three tables, sorted by their first column."""
    return {table: database.execute(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}


def get(client: Client, url: str) -> tuple[int, Any]:
    """The status and the JSON content of an answer."""
    response = client.get(url)
    return response.status_code, json.loads(response.get_data())


def error(client: Client, url: str) -> tuple[int, str]:
    """The status and the code of an error."""
    status, answer = get(client, url)
    return status, answer["error"]["code"]


def insert_names(database: Database) -> None:
    """Inserts two departments and a job, for employees to refer to."""
    database.insert("departments", [(1, "Sales"), (2, "Support")])
    database.insert("jobs", [(1, "Clerk")])


def copy_project(folder: Path) -> None:
    """Copies the project's files, committed or not, into a folder, except ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)


def load_on_terminal(
    database: Database, bucket: Bucket, arguments: list[str], answer: str | None
) -> tuple[int, str]:
    """The exit status of a load whose operator has a terminal, and what it shows there.

    Args:
        database: to load into.
        bucket: with the source.
        arguments: of manage.py.
        answer: typed into the terminal; None for nothing.
    """
    controller, terminal = pty.openpty()
    loading = subprocess.Popen(
        [sys.executable, PROJECT / "manage.py", *arguments],
        env={**os.environ, **database.environment, **bucket.environment},
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    if answer is not None:
        os.write(controller, f"{answer}\n".encode())
    shown = b""
    try:
        while piece := os.read(controller, 4096):
            shown += piece
    except OSError:  # the other end of the terminal is closed
        pass
    os.close(controller)
    return loading.wait(60), shown.decode()


@contextlib.contextmanager
def for_all_sessions(database: Database, name: str, value: str) -> Iterator[None]:
    """Sets a global variable of the server for a while."""
    with database.connect() as administrator, administrator.cursor() as cursor:
        cursor.execute(f"SELECT @@GLOBAL.{name}")
        ((before,),) = cursor.fetchall()
        cursor.execute(f"SET GLOBAL {name} = %s", (value,))
        try:
            yield
        finally:
            cursor.execute(f"SET GLOBAL {name} = %s", (before,))
