"""Measures a backup over HTTP into the emulator, and a restore, beside other ways to copy the rows.

    [MYSQLD=...] python -m bench.measure_copies [ROWS]     by default two million employees

Ratios are to the last way: reading the raw result, and loading a dump where that tool is installed.
A restore is measured with LOAD DATA LOCAL allowed and without, by its client's times and memory.
"""

import contextlib
import functools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import tabulate

from bench import stack
from bench.stack import Stack
from local.__main__ import DATABASE, PROJECT

ROUNDS = 3
TARGET = "target"


class Use(NamedTuple):
    """The cost of a run: seconds, seconds of processor time, and peak memory in megabytes."""

    seconds: float
    cpu: float
    megabytes: float


Ways = dict[str, Callable[[], Use]]


def backups(running: Stack, client: list[str], dump: Path) -> Ways:
    """The ways to read the tables, or employees raw; `dump` is for the tools' files."""
    found = {}
    if tool := shutil.which("mariadb-dump") or shutil.which("mysqldump"):
        name = f"{Path(tool).name} --single-transaction"
        found[name] = [tool, *client, "--single-transaction", f"--result-file={dump}", DATABASE]
    if tool := shutil.which("mydumper"):
        folder = f"{dump}.folder"
        found["mydumper -t 2 -c"] = [tool, *client, "-B", DATABASE, "-t", "2", "-c", "-o", folder]
    reader = shutil.which("mariadb") or shutil.which("mysql") or "mariadb"
    found["raw read"] = [reader, *client, "-q", DATABASE, "-e", "SELECT * FROM employees"]
    others = {
        name: functools.partial(measure, command, running.environment)
        for name, command in found.items()
    }
    return {"this backup, the whole call": functools.partial(ours, running), **others}


def ours(running: Stack) -> Use:
    """Measures one backup by the function."""
    cpu, started = cpu_seconds(running.functions), time.monotonic()
    running.get("/backup-data")
    seconds = time.monotonic() - started
    cpu = cpu_seconds(running.functions) - cpu
    return Use(seconds, cpu, stack.peak_megabytes(running.functions))


def restores(running: Stack, client: list[str], dump: Path) -> Ways:
    """The ways to fill an empty database; `dump` is there if a tool wrote it."""

    def fill(command: list[str], *, load_data: bool = False, source: Path | None = None) -> Use:
        with running.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {TARGET}")
            cursor.execute(f"CREATE DATABASE {TARGET}")
            cursor.execute(f"SET GLOBAL local_infile = {int(load_data)}")
        target = {"DB_NAME": TARGET, "DB_USER": "root", "DB_PASS": ""}
        return measure(command, running.environment | target, source)

    folder = f"gs://{running.environment['GCS_PATH']}/backups/"
    restore = [sys.executable, "manage.py", "restore", folder, "--from-database", DATABASE]
    found: Ways = {
        "restore, LOAD DATA": functools.partial(fill, restore, load_data=True),
        "restore, INSERT": functools.partial(fill, restore),
    }
    reader = shutil.which("mariadb") or shutil.which("mysql")
    if reader and dump.exists():
        found["mysql < dump.sql"] = functools.partial(fill, [reader, *client, TARGET], source=dump)
    return found


def compare(ways: Ways, rows: int) -> None:
    """Prints the medians of each way, the fastest first, and its ratio to the last one.

    The ways take turns, so that other load on the machine slows all of them alike.
    """
    uses: dict[str, list[Use]] = {}
    for _ in range(ROUNDS):
        for way, run in ways.items():
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
    print(tabulate.tabulate(sorted(lines), columns, "github", floatfmt=(".2f",) * 3 + (".0f",)))


def measure(command: list[str], environment: dict[str, str], source: Path | None = None) -> Use:
    """Runs a command, which must succeed, with a file as its input; discards its output."""
    started, peak, ended = time.monotonic(), 0.0, 0
    with (source or Path(os.devnull)).open("rb") as stdin:
        child = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.DEVNULL, cwd=PROJECT, env=environment
        )
    # The peak that the system keeps includes the memory of this process at the fork.
    while not ended:
        with contextlib.suppress(OSError, TypeError):
            peak = max(peak, stack.peak_megabytes(child.pid))
        time.sleep(0.01)
        ended, status, used = os.wait4(child.pid, os.WNOHANG)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return Use(time.monotonic() - started, used.ru_utime + used.ru_stime, peak)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children so far, in seconds."""
    stats = (Path(f"/proc/{each}/stat").read_text() for each in [pid, *stack.children(pid)])
    fields = (each.rpartition(")")[2].split() for each in stats)
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with stack.running() as running:
        stack.fill(running.connect(), rows)
        running.get("/backup-data")  # the first backup imports modules, and is there to restore
        print(f"{rows:,} employees, {running.machine}, medians of {ROUNDS}")
        client = ["--no-defaults", f"--socket={running.server.socket}", "--user=root"]
        for ways in (backups, restores):
            compare(ways(running, client, running.folder / "dump.sql"), rows)


if __name__ == "__main__":
    main()
