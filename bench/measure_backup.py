"""Measures a backup over HTTP into the emulator, beside other ways to copy the same table.

    [MYSQLD=...] python -m bench.measure_backup [--rows 2000000] [--rounds 3] [--ours]

The ways take turns, so that other load on the machine slows all of them alike. Times are medians;
ratios are to reading the raw result and discarding it. `--ours` leaves out the other ways. For one
core: taskset -c 0 python -m bench.measure_backup
"""

import argparse
import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tabulate

from bench import stack
from bench.stack import DATABASE, Stack, Use

RAW = "raw read, thrown away"
OURS = "this backup, the whole call"
ROWS = "... the rows of employees alone"
EMULATOR = "... the emulator's own part"
COLUMNS = ["", "seconds", "CPU s", "peak MB", "x raw read", "CPU s / 1M rows"]


def run(command: list[str], environment: dict[str, str]) -> Use:
    """Runs a command to its end and discards its output."""
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, cwd=stack.PROJECT, env=environment
    )
    peak = 0.0
    # wait4's peak is no use: it includes the memory of this process at the fork.
    while not (done := os.wait4(process.pid, os.WNOHANG))[0]:
        with contextlib.suppress(OSError, ValueError):
            peak = max(peak, stack.peak_megabytes(process.pid))
        time.sleep(0.01)
    _, status, usage = done
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Use(time.monotonic() - started, usage.ru_utime + usage.ru_stime, peak)


def commands(running: Stack, folder: Path) -> dict[str, list[str]]:
    """The commands of the installed ways, by name; they write their files into `folder`."""
    socket = str(running.server.socket)
    client = ["--no-defaults", f"--socket={socket}", "--user=root"]
    found = {}
    if reader := shutil.which("mariadb") or shutil.which("mysql"):
        found[RAW] = [reader, *client, "-q", DATABASE, "-e", "SELECT * FROM employees"]
    if dump := shutil.which("mariadb-dump") or shutil.which("mysqldump"):
        dumped = f"--result-file={folder / 'dump.sql'}"
        name = Path(dump).name + " --single-transaction"
        found[name] = [dump, *client, "--single-transaction", dumped, DATABASE, "employees"]
    if mydumper := shutil.which("mydumper"):
        dumper = [mydumper, "-S", socket, "-u", "root", "-B", DATABASE, "-T", "employees"]
        found["mydumper -t 2 -c"] = [*dumper, "-t", "2", "-c", "-o", str(folder / "dump")]
    rivals = {
        "streamed": "SSDictCursor + fastavro",
        "usual": "DictCursor.fetchall + fastavro",
    }
    if all(importlib.util.find_spec(module) for module in ("connectorx", "polars", "pyarrow")):
        rivals = {"connectorx": "connectorx + polars", **rivals}
    for rival, name in rivals.items():
        file = str(folder / f"{rival}.avro")
        found[name] = [sys.executable, "-m", "bench.rivals", rival, socket, DATABASE, file]
    return found


def ours(running: Stack) -> dict[str, Use]:
    """Measures one backup by the function, and the parts of it that can be told apart."""
    functions, emulator = stack.cpu_seconds(running.functions), stack.cpu_seconds(running.emulator)
    started = time.monotonic()
    running.get("/backup-data")
    seconds = time.monotonic() - started
    cpu = stack.cpu_seconds(running.functions) - functions
    emulated = stack.cpu_seconds(running.emulator) - emulator
    peak = stack.peak_megabytes(running.functions)
    stored = [event for event in running.events() if event["message"] == "rows stored"]
    (*_, rows) = (event["seconds"] for event in stored if event["object"] == "employees.avro")
    return {
        OURS: Use(seconds, cpu, peak),
        ROWS: Use(rows, float("nan"), float("nan")),
        EMULATOR: Use(float("nan"), emulated, float("nan")),
    }


def measure(running: Stack, rounds: int, *, alone: bool) -> dict[str, Use]:
    """Measures each way several times; returns the medians."""
    found: dict[str, list[Use]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        others = commands(running, folder)
        if alone:
            others = {RAW: others[RAW]}
        running.get("/backup-data")  # the first backup imports modules
        for _ in range(rounds):
            for way, use in ours(running).items():
                found.setdefault(way, []).append(use)
            for way, command in others.items():
                found.setdefault(way, []).append(run(command, running.environment))
    return {way: stack.median(uses) for way, uses in found.items()}


def show(title: str, uses: dict[str, Use], rows: int) -> None:
    """Prints a table, fastest first, with the backup's parts below the whole backup."""
    raw = uses[RAW].seconds
    parts = {OURS: 0, ROWS: 1, EMULATOR: 2}
    whole = uses[OURS].seconds
    order: Callable[[str], tuple[float, int]] = lambda way: (  # noqa: E731
        whole if way in parts else uses[way].seconds,
        parts.get(way, -1),
    )
    lines = [
        [
            way,
            use.seconds,
            use.cpu,
            use.megabytes,
            use.seconds / raw,
            use.cpu / rows * 1_000_000,
        ]
        for way, use in ((way, uses[way]) for way in sorted(uses, key=order))
    ]
    formats = ("", ".2f", ".2f", ".0f", ".2f", ".2f")
    print(f"\n{title}")
    print(tabulate.tabulate(lines, COLUMNS, "github", floatfmt=formats).replace("nan", "   "))


# Other shapes of `employees`

WIDE_ROWS = 50_000
WIDE_TYPES = {
    "INT NOT NULL": "CRC32(n) % 100000",
    "BIGINT NULL": "IF(n % 10, n * 1000003, NULL)",
    "DECIMAL(12,2) NOT NULL": "n / 7",
    "DOUBLE NULL": "n / 3",
    "DATE NOT NULL": "'2021-01-01' + INTERVAL n % 3000 DAY",
    "DATETIME(6) NULL": "'2021-01-01' + INTERVAL n SECOND",
    "VARCHAR(40) NOT NULL": "LEFT(SHA2(n, 256), 40)",
    "VARCHAR(200) NULL": "IF(n % 3, REPEAT('é', n % 60), NULL)",
    "TINYINT NOT NULL": "n % 2",
    "VARBINARY(16) NOT NULL": "UNHEX(LEFT(SHA2(n, 256), 32))",
}
WIDE_COLUMNS = 55
BLOB_ROWS = 200


def make_wide(running: Stack) -> int:
    """Makes rows of 60 columns of mixed types; returns their number."""
    types = list(WIDE_TYPES) * (1 + WIDE_COLUMNS // len(WIDE_TYPES))
    columns = list(enumerate(types[:WIDE_COLUMNS]))
    running.execute(
        "ALTER TABLE employees " + ", ".join(f"ADD w{place} {sql}" for place, sql in columns)
    )
    values = [*stack.EMPLOYEE.values(), *(WIDE_TYPES[sql] for _, sql in columns)]
    running.execute(
        f"INSERT INTO employees SELECT {', '.join(values)} FROM {stack.numbers(WIDE_ROWS)}"
    )
    return WIDE_ROWS


def make_blobs(running: Stack) -> int:
    """Makes rows that each have a BLOB of 1 MB of random bytes; returns their number."""
    running.execute("ALTER TABLE employees ADD photo LONGBLOB NOT NULL")
    with running.connect() as connection, connection.cursor() as cursor:
        for number in range(1, BLOB_ROWS + 1):
            cursor.execute(
                "INSERT INTO employees VALUES (%s, 'Ada', '2021-02-03', 1, 1, %s)",
                (number, os.urandom(1024 * 1024)),
            )
    return BLOB_ROWS


def measure_shape(make: Callable[[Stack], int], title: str, rounds: int) -> None:
    """Measures and prints a backup and the plain path, row by row, on a table of another shape."""
    with stack.running() as running:
        stack.fill(running, 0)
        rows = make(running)
        found: dict[str, list[Use]] = {}
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            socket = str(running.server.socket)
            plain = [sys.executable, "-m", "bench.rivals", "plain", socket, DATABASE, stack.BUCKET]
            raw = commands(running, Path(folder))[RAW]
            running.get("/backup-data")
            for _ in range(rounds):
                for way, use in ours(running).items():
                    found.setdefault(way, []).append(use)
                found.setdefault("row by row, stored as well", []).append(
                    run(plain, running.environment)
                )
                found.setdefault(RAW, []).append(run(raw, running.environment))
        show(title, {way: stack.median(uses) for way, uses in found.items()}, rows)


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
    measure_shape(make_wide, f"{WIDE_ROWS:,} rows of 60 columns", asked.rounds)
    measure_shape(make_blobs, f"{BLOB_ROWS} rows with a BLOB of 1 MB", asked.rounds)


if __name__ == "__main__":
    main()
