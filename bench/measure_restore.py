"""Measures how fast manage.py fills the tables, beside `mysql < dump.sql` and myloader.

    python -m bench.measure_restore [ROWS]     by default a million employees

Starts a private database server and a Cloud Storage emulator, makes the rows, and stores them as a
dump of mysqldump, as a backup and as CSV. Then fills an empty database from each in turn, ROUNDS
times; the backup with LOAD DATA LOCAL allowed and without. Prints medians: seconds, their ratio to
those of `mysql < dump.sql` in the same round, and the client's CPU seconds and peak memory.
"""

import csv
import os
import resource
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
from local.database import DatabaseServer
from local.emulator import StorageEmulator

ROUNDS = 3
SOURCE, TARGET = "source", "target"
DUMP = "mysql < dump.sql"


class Figures(NamedTuple):
    """The cost of filling the database once."""

    seconds: float
    cpu_seconds: float
    megabytes: float


def measure(command: list[str], environment: dict[str, str], input_file: Path | None) -> Figures:
    """Runs a command, which must succeed, and measures it."""
    started = time.monotonic()
    with (input_file or Path(os.devnull)).open("rb") as stdin:
        child = subprocess.Popen(
            command, env=environment, stdin=stdin, stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, command
    seconds = time.monotonic() - started
    return Figures(seconds, used.ru_utime + used.ru_stime, megabytes(used))


def megabytes(used: resource.struct_rusage) -> float:
    """Peak memory in megabytes; Linux reports kilobytes."""
    return used.ru_maxrss / 1024


def make_rows(folder: Path, rows: int) -> None:
    """Writes CSV files of 20 departments, 200 jobs and `rows` employees."""
    folder.mkdir()
    numbers = range(1, rows + 1)
    tables = {
        "departments": ([n, f"Department {n}"] for n in range(1, 21)),
        "jobs": ([n, f"Job {n}"] for n in range(1, 201)),
        "employees": (
            [n, f"Employee {n * 7919}", day(n), 1 + n % 20, 1 + n % 200] for n in numbers
        ),
    }
    for table, content in tables.items():
        with (folder / f"{table}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(content)


def day(number: int) -> str:
    return f"{2015 + number % 8}-{1 + number % 12:02}-{1 + number % 28:02}T09:30:00Z"


def empty_target(server: DatabaseServer) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {TARGET}")
        cursor.execute(f"CREATE DATABASE {TARGET}")


def count(server: DatabaseServer) -> int:
    with server.connect(database=TARGET) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM employees")
        return int(cursor.fetchone()[0])


def run(server: DatabaseServer, emulator: StorageEmulator, folder: Path, rows: int) -> None:
    """Makes the sources, fills the database in each way in turn, and prints the table."""
    environment = stack.environment(server, emulator, SOURCE)
    target = environment | {"DB_NAME": TARGET}
    backups = f"gs://{stack.BUCKET}/backups/"
    csv_folder, dump = folder / "csv", folder / "dump.sql"
    make_rows(csv_folder, rows)
    server.create_database(SOURCE)
    command = [sys.executable, str(stack.PROJECT / "manage.py")]
    load = [*command, "import", str(csv_folder)]
    subprocess.run(load, env=environment, check=True)
    take = (
        "import backup; from hiring.settings import current_settings as settings;"
        " backup.take(settings(), settings().deadline())"
    )
    subprocess.run([sys.executable, "-c", take], env=environment, cwd=stack.PROJECT, check=True)
    login = [f"--socket={server.socket}", "--user=root"]
    restore = [*command, "restore", backups, "--from-database", SOURCE]

    def load_with(command: list[str], *, load_data: bool) -> Figures:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL local_infile = %s", (load_data,))
        return measure(command, target, None)

    ways: dict[str, Callable[[], Figures]] = {
        "restore, LOAD DATA": lambda: load_with(restore, load_data=True),
        "restore, INSERT": lambda: load_with(restore, load_data=False),
        "import, INSERT": lambda: load_with(load, load_data=False),
    }
    if shutil.which("mysqldump") and shutil.which("mysql"):
        with dump.open("wb") as file:
            subprocess.run(["mysqldump", *login, SOURCE], stdout=file, check=True)
        ways[DUMP] = lambda: measure(["mysql", *login, TARGET], target, dump)
    if shutil.which("mydumper") and shutil.which("myloader"):
        dumped = str(folder / "dumped")
        with_threads = ["-S", str(server.socket), "-u", "root", "-t", "2"]
        dumper = ["mydumper", *with_threads, "-B", SOURCE, "-o", dumped]
        subprocess.run(dumper, check=True)
        loader = ["myloader", *with_threads, "-B", TARGET, "-d", dumped]
        ways["myloader -t 2"] = lambda: measure(loader, environment, None)
    figures: dict[str, list[Figures]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, fill in ways.items():
            empty_target(server)
            figures[way].append(fill())
            assert count(server) == rows, way
    lines = []
    for way, found in figures.items():
        seconds, cpu_seconds, peak = (statistics.median(each) for each in zip(*found, strict=True))
        ratio = "-"
        if DUMP in figures:
            pairs = zip(found, figures[DUMP], strict=True)
            ratio = f"{statistics.median(one.seconds / dump.seconds for one, dump in pairs):.2f}"
        per_million = cpu_seconds / rows * 1_000_000
        lines.append([way, f"{seconds:.1f}", ratio, f"{per_million:.1f}", f"{peak:.0f}"])
    headers = ["way", "seconds", f"x {DUMP}", "CPU s / 1M rows", "peak MB"]
    print(f"{rows:,} employees, {stack.machine(server)}, median of {ROUNDS}")
    print(
        tabulate.tabulate(lines, headers, disable_numparse=True, colalign=["left"] + ["right"] * 4)
    )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with stack.server_and_storage() as (server, emulator, folder):
        run(server, emulator, folder, rows)


if __name__ == "__main__":
    main()
