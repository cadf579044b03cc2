"""Measures a backup over HTTP into the emulator, beside other ways to copy the same table.

    [MYSQLD=...] python -m bench.measure_backup [--rows 2000000] [--rounds 3] [--ours]

The ways take turns, so that other load on the machine slows all of them alike. Times are medians;
ratios are to reading the raw result and discarding it. `--ours` leaves out the other ways.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import tabulate

from bench import stack
from bench.stack import DATABASE, Stack, Use

RAW = "raw read, thrown away"
OURS = "this backup, the whole call"
ROWS = "... the rows of employees alone"
RIVALS = {"streamed": "SSDictCursor + fastavro", "usual": "DictCursor.fetchall + fastavro"}
COLUMNS = ["", "seconds", "CPU s", "peak MB", "x raw read", "CPU s / 1M rows"]


def commands(running: Stack, *, alone: bool) -> dict[str, list[str]]:
    """The other ways that are installed, by name; `alone` leaves the raw read only."""
    socket = str(running.server.socket)
    client = ["--no-defaults", f"--socket={socket}", "--user=root"]
    reader = shutil.which("mariadb") or shutil.which("mysql") or "mariadb"
    found = {RAW: [reader, *client, "-q", DATABASE, "-e", "SELECT * FROM employees"]}
    if alone:
        return found
    if dump := shutil.which("mariadb-dump") or shutil.which("mysqldump"):
        file = f"--result-file={running.folder / 'dump.sql'}"
        name = f"{Path(dump).name} --single-transaction"
        found[name] = [dump, *client, "--single-transaction", file, DATABASE, "employees"]
    if mydumper := shutil.which("mydumper"):
        dumper = [mydumper, "-S", socket, "-u", "root", "-B", DATABASE, "-T", "employees"]
        found["mydumper -t 2 -c"] = [*dumper, "-t", "2", "-c", "-o", str(running.folder / "dump")]
    for rival, name in RIVALS.items():
        file = str(running.folder / f"{rival}.avro")
        found[name] = [sys.executable, "-m", "bench.rivals", rival, socket, DATABASE, file]
    return found


def ours(running: Stack) -> dict[str, Use]:
    """Measures one backup by the function, and the time that its log gives for the employees."""
    cpu, started = stack.cpu_seconds(running.functions), time.monotonic()
    running.get("/backup-data")
    seconds = time.monotonic() - started
    cpu = stack.cpu_seconds(running.functions) - cpu
    stored = [event for event in running.events() if event["message"] == "rows stored"]
    (*_, rows) = (event["seconds"] for event in stored if event["object"] == "employees.avro")
    return {
        OURS: Use(seconds, cpu, stack.peak_megabytes(running.functions)),
        ROWS: Use(rows, float("nan"), float("nan")),
    }


def measure(running: Stack, rounds: int, *, alone: bool) -> dict[str, Use]:
    """Measures each way several times; returns the medians."""
    found: dict[str, list[Use]] = {}
    others = commands(running, alone=alone)
    running.get("/backup-data")  # the first backup imports modules
    for _ in range(rounds):
        for way, use in ours(running).items():
            found.setdefault(way, []).append(use)
        for way, command in others.items():
            found.setdefault(way, []).append(stack.measure(command, running.environment))
    return {way: stack.median(uses) for way, uses in found.items()}


def show(title: str, uses: dict[str, Use], rows: int) -> None:
    """Prints a table, fastest first."""
    raw = uses[RAW].seconds
    lines = [
        (way, use.seconds, use.cpu, use.megabytes, use.seconds / raw, use.cpu / rows * 1_000_000)
        for way, use in sorted(uses.items(), key=lambda item: item[1].seconds)
    ]
    formats = ("", ".2f", ".2f", ".0f", ".2f", ".2f")
    print(f"\n{title}")
    print(tabulate.tabulate(lines, COLUMNS, "github", floatfmt=formats).replace("nan", "   "))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.measure_backup")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help="without the other ways")
    asked = parser.parse_args()
    for nullable in (False, True):
        with stack.running() as running:
            stack.fill(running, asked.rows, nullable=nullable)
            columns = "a tenth of the values NULL" if nullable else "NOT NULL"
            uses = measure(running, asked.rounds, alone=asked.ours or nullable)
            title = f"{asked.rows:,} employees, {columns} ({stack.machine(running.server)})"
            show(title, uses, asked.rows)


if __name__ == "__main__":
    main()
