"""The stack of a benchmark: a database server, a storage emulator and the functions, with rows.

Folder, objects and data are removed afterwards. MYSQLD names the server: see local/database.py.
"""

import contextlib
import os
import platform
import random
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
import requests

from local import process, sample
from local.__main__ import DATABASE, PROJECT, start, start_functions
from local.database import DatabaseServer
from local.emulator import StorageEmulator

REQUEST_SECONDS = 600
SERVER_OPTIONS = ("--innodb-buffer-pool-size=1G", "--max-allowed-packet=64M")


@dataclass
class Stack:
    """A running stack; `functions` is a process id, and `folder` goes with the stack."""

    server: DatabaseServer
    url: str
    functions: int
    folder: Path
    environment: dict[str, str] = field(repr=False)

    def connect(self) -> "pymysql.Connection":
        """A connection as root."""
        return self.server.connect(database=DATABASE, init_command="SET time_zone = '+00:00'")

    @property
    def machine(self) -> str:
        """The date, the machine and the versions."""
        cores = len(os.sched_getaffinity(0))
        gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
        size = f"{cores} cores, {gigabytes} GB, Python {platform.python_version()}"
        return f"{time.strftime('%Y-%m-%d')}, {size}, {self.server.kind}"

    def get(self, path: str) -> None:
        """Sends a GET request to the functions, whose answer must be no error."""
        requests.get(self.url + path, timeout=REQUEST_SECONDS).raise_for_status()


@contextlib.contextmanager
def running() -> Iterator[Stack]:
    """Runs a stack with empty tables."""
    with contextlib.ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = DatabaseServer(folder / "server", options=SERVER_OPTIONS)
        settings = start(parts, server, StorageEmulator(folder / "objects"))
        server.create_database(DATABASE)
        server.run_script(PROJECT / "restore/schema.sql", DATABASE)
        port = process.free_port()
        log = parts.enter_context((folder / "functions.log").open("wb"))
        functions = start_functions(parts, port, settings, log)
        url, environment = f"http://127.0.0.1:{port}", os.environ | settings
        yield Stack(server, url, functions.pid, folder, environment)


def fill(connection: "pymysql.Connection", rows: int = 0) -> None:
    """Fills the tables with the sample data again and again, and closes root's connection."""
    hires = [hire for _, *hire in sample.employees()]
    random.Random(1).shuffle(hires)  # noqa: S311 - always the same
    tables = {
        "employees": [(number, *hire) for number, hire in enumerate(hires, start=1)],
        "departments": list(sample.departments()),
        "jobs": list(sample.jobs()),
    }
    with connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        for table, found in tables.items():
            cursor.execute(f"TRUNCATE TABLE {table}")
            places = ", ".join(["%s"] * len(found[0]))
            cursor.executemany(f"INSERT INTO {table} VALUES ({places})", found)
        columns = ", ".join(sample.COLUMNS["employees"][1:])
        there = len(hires)
        while there < rows:
            more = min(there, rows - there)
            cursor.execute(
                f"INSERT INTO employees SELECT id + {there}, {columns} FROM employees"
                f" WHERE id <= {more}"
            )
            there += more
        cursor.execute("ANALYZE TABLE employees")


def children(pid: int) -> list[int]:
    """The ids of a process's running children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def peak_megabytes(pid: int) -> float:
    """The largest peak memory of a process and of each of its children, in megabytes."""
    found = [Path(f"/proc/{each}/status").read_text() for each in [pid, *children(pid)]]
    return max(int(re.search(r"VmHWM:\s+(\d+)", each)[1]) for each in found) / 1024  # type: ignore[index]
