"""Measures how fast `manage.py restore` fills the tables, beside `mysql < dump.sql`.

    [MYSQLD=...] python -m bench.measure_restore [ROWS]     by default a million employees

The same rows are restored with LOAD DATA LOCAL allowed and without, and loaded from a dump where
that tool is installed. Times and memory are those of the client.
"""

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench import stack
from bench.stack import Stack, Use
from local.__main__ import DATABASE

TARGET = "target"


def ways(running: Stack) -> dict[str, Callable[[], Use]]:
    """The ways to fill an empty database, by name; each returns what it took."""

    def fill(command: list[str], *, load_data: bool = False, source: Path | None = None) -> Use:
        with running.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {TARGET}")
            cursor.execute(f"CREATE DATABASE {TARGET}")
            cursor.execute(f"SET GLOBAL local_infile = {int(load_data)}")
        target = {"DB_NAME": TARGET, "DB_USER": "root", "DB_PASS": ""}
        return stack.measure(command, running.environment | target, source)

    backups = f"gs://{running.environment['GCS_PATH']}/backups/"
    restore = [sys.executable, "manage.py", "restore", backups, "--from-database", DATABASE]
    found: dict[str, Callable[[], Use]] = {
        "restore, LOAD DATA": functools.partial(fill, restore, load_data=True),
        "restore, INSERT": functools.partial(fill, restore),
    }
    dumper = shutil.which("mysqldump") or shutil.which("mariadb-dump")
    reader = shutil.which("mysql") or shutil.which("mariadb")
    if dumper and reader:
        client = [f"--socket={running.server.socket}", "--user=root"]
        dump = running.folder / "dump.sql"
        with dump.open("wb") as file:
            subprocess.run([dumper, *client, DATABASE], stdout=file, check=True)
        found["mysql < dump.sql"] = functools.partial(fill, [reader, *client, TARGET], source=dump)
    return found


if __name__ == "__main__":
    stack.compare(ways, 1_000_000)
