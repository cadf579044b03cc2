"""The stack of a benchmark: database server, storage emulator and functions, each a process.

Folder, objects and data are removed afterwards.
"""

import contextlib
import datetime
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pymysql
import requests

from local import process, sample
from local.database import DatabaseServer

PROJECT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
REQUEST_SECONDS = 600
DATABASE = "hiring"
ACCOUNT = "hiring"
BUCKET = "hiring-backups"
SERVER_OPTIONS = ("--innodb-buffer-pool-size=1G", "--max-allowed-packet=64M")
TICKS = os.sysconf("SC_CLK_TCK")

FIRST_DAY = "2018-01-01"
SECONDS_OF_HIRES = 8 * 365 * 24 * 60 * 60
DIGITS = "(SELECT 0 AS digit" + "".join(f" UNION ALL SELECT {n}" for n in range(1, 10)) + ")"


@dataclass
class Stack:
    """A running stack.

    Attributes:
        server: the database server.
        url: of the functions.
        functions: process id.
        emulator: process id.
        log: of the functions.
        folder: for files; it goes with the stack.
        environment: settings of the functions.
    """

    server: DatabaseServer
    url: str
    functions: int
    emulator: int
    log: Path
    folder: Path
    environment: dict[str, str] = field(repr=False)

    def connect(self, database: str = DATABASE) -> "pymysql.Connection":
        """A connection as root."""
        return self.server.connect(database=database, init_command="SET time_zone = '+00:00'")

    def execute(self, *statements: str) -> None:
        """Runs statements as root."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def events(self) -> list[dict[str, Any]]:
        """What the functions have logged so far."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def get(self, path: str) -> requests.Response:
        """Sends a GET request to the functions; returns the answer.

        Raises:
            requests.HTTPError: the answer is an error.
        """
        response = requests.get(self.url + path, timeout=REQUEST_SECONDS)
        response.raise_for_status()
        return response


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
        password = secrets.token_urlsafe()
        server.create_account(ACCOUNT, password, DATABASE)
        storage_port, port = process.free_port(), process.free_port()
        storage_url = f"http://127.0.0.1:{storage_port}"
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DB_SOCKET": str(server.socket),
            "DB_USER": ACCOUNT,
            "DB_PASS": password,
            "DB_NAME": DATABASE,
            "GCS_PATH": f"{BUCKET}/bench",
            "STORAGE_EMULATOR_HOST": storage_url,
        }
        emulator = _start(parts, folder, "local.emulator", folder / "objects", str(storage_port))
        process.wait_for_port(emulator, storage_port, START_SECONDS, str)
        body = {"name": BUCKET}
        requests.post(f"{storage_url}/storage/v1/b", json=body, timeout=10).raise_for_status()
        functions = _start(parts, folder, "local.serve", str(port), environment=environment)
        process.wait_for_port(functions, port, START_SECONDS, str)
        url, log = f"http://127.0.0.1:{port}", folder / "local.serve.log"
        yield Stack(server, url, functions.pid, emulator.pid, log, folder, environment)


def _start(
    parts: contextlib.ExitStack,
    folder: Path,
    module: str,
    *arguments: str | Path,
    environment: dict[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    log = parts.enter_context((folder / f"{module}.log").open("wb"))
    command = [sys.executable, "-m", module, *arguments]
    started = process.start(command, log, folder=PROJECT, environment=environment)
    parts.callback(process.stop, started)
    return started


# The tables


def numbers(count: int) -> str:
    """SQL for a table `numbers` with the column `n`: 1 to `count`, in order."""
    places = range(len(str(count - 1)))
    value = " + ".join(f"d{place}.digit * {10**place}" for place in places)
    tables = ", ".join(f"{DIGITS} AS d{place}" for place in reversed(places))
    return f"(SELECT 1 + {value} AS n FROM {tables}) AS numbers WHERE n <= {count} ORDER BY n"


def draw(name: str, below: int) -> str:
    """SQL for a number from 0 to `below` - 1 that looks random but is the same each time."""
    return f"MOD(CRC32(CONCAT('{name}', n)), {below})"


def pick(name: str, values: Sequence[str]) -> str:
    """SQL for one of the values, which looks random but is the same each time."""
    texts = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"ELT(1 + {draw(name, len(values))}, {texts})"


EMPLOYEE = {
    "id": "n",
    "name": f"CONCAT({pick('g', sample.GIVEN_NAMES)}, ' ', {pick('f', sample.FAMILY_NAMES)})",
    "datetime": f"'{FIRST_DAY}' + INTERVAL {draw('t', SECONDS_OF_HIRES)} SECOND",
    "department_id": f"1 + {draw('d', len(sample.DEPARTMENTS))}",
    "job_id": f"1 + {draw('j', len(sample.JOBS))}",
}
TYPES = {
    "name": "VARCHAR(255)",
    "datetime": "DATETIME",
    "department_id": "INT UNSIGNED",
    "job_id": "INT UNSIGNED",
}


class Connects(Protocol):
    """An object that connects to a database: a stack, or a test's database."""

    def connect(self) -> "pymysql.Connection[Any]": ...


def fill(stack: Connects, rows: int, *, nullable: bool = False) -> None:
    """Fills the tables; the employees are hired in the eight years from FIRST_DAY on.

    Args:
        stack: to fill.
        rows: number of employees.
        nullable: make all columns of employees except the id nullable, with a tenth NULL.
    """
    with stack.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0, sql_mode = ''")
        for table in ("employees", "jobs", "departments"):
            cursor.execute(f"TRUNCATE TABLE {table}")
        for table in ("departments", "jobs"):
            cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", list(sample.TABLES[table]()))
        values = dict(EMPLOYEE)
        if nullable:
            modified = ", ".join(f"MODIFY {name} {sql} NULL" for name, sql in TYPES.items())
            cursor.execute(f"ALTER TABLE employees {modified}")
            for name in TYPES:
                values[name] = f"IF({draw('null ' + name, 10)} = 0, NULL, {values[name]})"
        selected = ", ".join(values.values())
        cursor.execute(f"INSERT INTO employees SELECT {selected} FROM {numbers(rows)}")
        cursor.execute("ANALYZE TABLE employees")


# The use of processes


@dataclass
class Use:
    """The cost of a run: seconds, seconds of processor time, and peak memory in megabytes."""

    seconds: float
    cpu: float
    megabytes: float


def measure(command: list[str], environment: dict[str, str], source: Path | None = None) -> Use:
    """Runs a command, which must succeed, with a file as its input; discards its output."""
    started = time.monotonic()
    with (source or Path(os.devnull)).open("rb") as stdin:
        child = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.DEVNULL, cwd=PROJECT, env=environment
        )
    peak = 0.0
    # wait4's peak is no use: it includes the memory of this process at the fork.
    while not (done := os.wait4(child.pid, os.WNOHANG))[0]:
        with contextlib.suppress(OSError, ValueError):
            peak = max(peak, peak_megabytes(child.pid))
        time.sleep(0.01)
    _, status, usage = done
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return Use(time.monotonic() - started, usage.ru_utime + usage.ru_stime, peak)


def median(uses: Sequence[Use]) -> Use:
    """The medians of both times, and the largest peak."""
    return Use(
        statistics.median(use.seconds for use in uses),
        statistics.median(use.cpu for use in uses),
        max(use.megabytes for use in uses),
    )


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children so far, in seconds."""
    total = 0.0
    for each in [pid, *children(pid)]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def children(pid: int) -> list[int]:
    """The ids of a process's running children."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def peak_megabytes(pid: int) -> float:
    """The largest peak memory of a process and of each of its children, in megabytes."""
    peaks = []
    for each in [pid, *children(pid)]:
        (line,) = (
            line
            for line in Path(f"/proc/{each}/status").read_text().splitlines()
            if line.startswith("VmHWM:")
        )
        peaks.append(int(line.split()[1]) / 1024)
    return max(peaks)


def machine(server: DatabaseServer | None = None) -> str:
    """The line above a table: the date, the machine and the versions."""
    kind = f"{'MariaDB' if server.is_mariadb else 'MySQL'} {server.version}" if server else ""
    cores = len(os.sched_getaffinity(0))
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.datetime.now(datetime.UTC).date()
    python = ".".join(map(str, sys.version_info[:2]))
    parts = [str(today), f"{cores} cores", f"{gigabytes:.0f} GB", f"Python {python}", kind]
    return ", ".join(filter(None, parts))
