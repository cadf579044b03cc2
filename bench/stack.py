"""The stack of a benchmark: a database server, a storage emulator and the functions, with rows.

Folder, objects and data are removed afterwards. MYSQLD names the server: see local/database.py.
"""

import contextlib
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pymysql
import requests
import tabulate

from local import process, sample
from local.__main__ import BUCKET, DATABASE, PROJECT, SERVE_SECONDS, settings_of
from local.database import DatabaseServer
from local.emulator import StorageEmulator

ROUNDS = 3
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
        server = f"{'MariaDB' if self.server.is_mariadb else 'MySQL'} {self.server.version}"
        python = f"Python {platform.python_version()}"
        return f"{time.strftime('%Y-%m-%d')}, {cores} cores, {gigabytes} GB, {python}, {server}"

    def get(self, path: str) -> None:
        """Sends a GET request to the functions, whose answer must be no error."""
        requests.get(self.url + path, timeout=REQUEST_SECONDS).raise_for_status()


@contextlib.contextmanager
def running() -> Iterator[Stack]:
    """Runs a stack with empty tables."""
    with contextlib.ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = DatabaseServer(folder / "server", options=SERVER_OPTIONS)
        server.start()
        parts.callback(server.stop)
        server.create_database(DATABASE)
        server.run_script(PROJECT / "restore/schema.sql", DATABASE)
        emulator = StorageEmulator(folder / "objects")
        emulator.start()
        parts.callback(emulator.stop)
        emulator.ensure_bucket(BUCKET)
        environment = {**os.environ, **settings_of(server, emulator.url)}
        port = process.free_port()
        command = [sys.executable, "-m", "local.serve", str(port)]
        log = parts.enter_context((folder / "functions.log").open("wb"))
        functions = process.start(command, log, folder=PROJECT, environment=environment)
        parts.callback(process.stop, functions)
        process.wait_for_port(functions, port, SERVE_SECONDS, str)
        yield Stack(server, f"http://127.0.0.1:{port}", functions.pid, folder, environment)


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


# Costs


class Use(NamedTuple):
    """The cost of a run: seconds, seconds of processor time, and peak memory in megabytes."""

    seconds: float
    cpu: float
    megabytes: float


def compare(ways: Callable[[Stack], Mapping[str, Callable[[], Use]]], rows: int) -> None:
    """Prints the medians of each way, the fastest first, and its ratio to the last one.

    The first argument of the command says with how many employees. The ways take turns, so that
    other load on the machine slows all of them alike.
    """
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else rows
    uses: dict[str, list[Use]] = {}
    with running() as started:
        fill(started.connect(), rows)
        started.get("/backup-data")  # the first backup imports modules, and is there to restore
        found = ways(started)
        for _ in range(ROUNDS):
            for way, run in found.items():
                uses.setdefault(way, []).append(run())
    *_, base = uses
    base_seconds = statistics.median(use.seconds for use in uses[base])
    lines = []
    for way, measured in uses.items():
        seconds = statistics.median(use.seconds for use in measured)
        cpu = statistics.median(use.cpu for use in measured) / rows * 1_000_000
        peak = max(use.megabytes for use in measured)
        lines.append((seconds, seconds / base_seconds, cpu, peak, way))
    columns = ["seconds", f"x {base}", "CPU s / 1M rows", "peak MB", "way"]
    print(f"{rows:,} employees, {started.machine}, medians of {ROUNDS}")
    print(tabulate.tabulate(sorted(lines), columns, "github", floatfmt=(".2f",) * 3 + (".0f",)))


def measure(command: list[str], environment: dict[str, str], source: Path | None = None) -> Use:
    """Runs a command, which must succeed, with a file as its input; discards its output."""
    before, started, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic(), 0.0
    with (
        (source or Path(os.devnull)).open("rb") as stdin,
        subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.DEVNULL, cwd=PROJECT, env=environment
        ) as child,
    ):
        # The peak that the system keeps includes the memory of this process at the fork.
        while child.poll() is None:
            with contextlib.suppress(OSError, TypeError):
                peak = max(peak, peak_megabytes(child.pid))
            time.sleep(0.01)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Use(seconds, cpu, peak)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children so far, in seconds."""
    ticks = 0
    for each in [pid, *children(pid)]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The ids of a process's running children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def peak_megabytes(pid: int) -> float:
    """The largest peak memory of a process and of each of its children, in megabytes."""
    found = [Path(f"/proc/{each}/status").read_text() for each in [pid, *children(pid)]]
    return max(int(re.search(r"VmHWM:\s+(\d+)", each)[1]) for each in found) / 1024  # type: ignore[index]
