"""Measures how fast manage.py fills the tables, beside `mysql < dump.sql`.

    [MYSQLD=...] python -m bench.measure_restore [ROWS]     by default a million employees

The same rows are restored from a backup, with LOAD DATA LOCAL allowed and without, imported from
CSV files, and loaded from a dump, in turn. Times and memory are those of the client; ratios are to
`mysql < dump.sql` in the same round.
"""

import csv
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable

import tabulate

from bench import stack
from bench.stack import DATABASE, Stack, Use

ROUNDS = 3
TARGET = "target"
DUMP = "mysql < dump.sql"
COLUMNS = ["way", "seconds", f"x {DUMP}", "CPU s / 1M rows", "peak MB"]


def write_csv(running: Stack) -> None:
    """Writes the three tables as CSV files."""
    for table in ("departments", "jobs", "employees"):
        with running.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table}")
            with (running.folder / f"{table}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(cursor.fetchall())


def ways(running: Stack) -> dict[str, Callable[[], Use]]:
    """The ways to fill the target, by name; each returns what it took."""
    manage = [sys.executable, str(stack.PROJECT / "manage.py")]
    backups = f"gs://{running.environment['GCS_PATH']}/backups/"
    restore = [*manage, "restore", backups, "--from-database", DATABASE]
    load = [*manage, "import", str(running.folder)]
    target = running.environment | {"DB_NAME": TARGET, "DB_USER": "root", "DB_PASS": ""}
    client = [f"--socket={running.server.socket}", "--user=root"]
    dump = running.folder / "dump.sql"

    def fill(command: list[str], *, load_data: bool) -> Use:
        running.execute(f"SET GLOBAL local_infile = {int(load_data)}")
        return stack.measure(command, target)

    found: dict[str, Callable[[], Use]] = {
        "restore, LOAD DATA": lambda: fill(restore, load_data=True),
        "restore, INSERT": lambda: fill(restore, load_data=False),
        "import, INSERT": lambda: fill(load, load_data=False),
    }
    dumper = shutil.which("mysqldump") or shutil.which("mariadb-dump")
    reader = shutil.which("mysql") or shutil.which("mariadb")
    if dumper and reader:
        with dump.open("wb") as file:
            subprocess.run([dumper, *client, DATABASE], stdout=file, check=True)
        read = [reader, *client, TARGET]
        found[DUMP] = lambda: stack.measure(read, target, dump)
    return found


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with stack.running() as running:
        stack.fill(running, rows)
        running.get("/backup-data")
        write_csv(running)
        uses: dict[str, list[Use]] = {}
        for _ in range(ROUNDS):
            for way, fill in ways(running).items():
                running.execute(f"DROP DATABASE IF EXISTS {TARGET}", f"CREATE DATABASE {TARGET}")
                uses.setdefault(way, []).append(fill())
        lines = []
        for way, found in uses.items():
            use = stack.median(found)
            pairs = zip(found, uses.get(DUMP, found), strict=True)
            ratio = statistics.median(one.seconds / other.seconds for one, other in pairs)
            lines.append((way, use.seconds, ratio, use.cpu / rows * 1_000_000, use.megabytes))
        print(f"{rows:,} employees, {stack.machine(running.server)}, median of {ROUNDS}")
        print(tabulate.tabulate(lines, COLUMNS, floatfmt=("", ".1f", ".2f", ".1f", ".0f")))


if __name__ == "__main__":
    main()
