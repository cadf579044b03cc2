"""Measures a backup over HTTP into the emulator, beside other ways to copy the same table.

    [MYSQLD=...] python -m bench.measure_backup [ROWS]     by default two million employees

Ratios are to reading the raw result and discarding it.
"""

import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from bench import stack
from bench.stack import Stack, Use
from local.__main__ import DATABASE


def ways(running: Stack) -> dict[str, Callable[[], Use]]:
    """The ways that are installed, by name; each returns what it took."""
    socket = str(running.server.socket)
    client = ["--no-defaults", f"--socket={socket}", "--user=root"]
    found = {}
    if dump := shutil.which("mariadb-dump") or shutil.which("mysqldump"):
        file = f"--result-file={running.folder / 'dump.sql'}"
        name = f"{Path(dump).name} --single-transaction"
        found[name] = [dump, *client, "--single-transaction", file, DATABASE, "employees"]
    if mydumper := shutil.which("mydumper"):
        dumper = [mydumper, "-S", socket, "-u", "root", "-B", DATABASE, "-T", "employees"]
        found["mydumper -t 2 -c"] = [*dumper, "-t", "2", "-c", "-o", str(running.folder / "dump")]
    reader = shutil.which("mariadb") or shutil.which("mysql") or "mariadb"
    found["raw read"] = [reader, *client, "-q", DATABASE, "-e", "SELECT * FROM employees"]
    others = {
        name: functools.partial(stack.measure, command, running.environment)
        for name, command in found.items()
    }
    return {"this backup, the whole call": functools.partial(ours, running), **others}


def ours(running: Stack) -> Use:
    """Measures one backup by the function."""
    cpu, started = stack.cpu_seconds(running.functions), time.monotonic()
    running.get("/backup-data")
    seconds = time.monotonic() - started
    cpu = stack.cpu_seconds(running.functions) - cpu
    return Use(seconds, cpu, stack.peak_megabytes(running.functions))


if __name__ == "__main__":
    stack.compare(ways, 2_000_000)
