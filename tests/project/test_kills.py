"""Kills worker, database and storage at random moments, and checks that no row is lost.

    [KILLS=100] ./test.sh -m kills

Each kill is a SIGKILL in a backup, a `backup_first` truncation or a `manage.py restore --replace`,
beside a writer. Then every committed row is in the database or in a complete backup, each manifest
is true, the locks are free and the next call works.
"""

import base64
import contextlib
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import fastavro
import google_crc32c
import pymysql
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from bench.stack import children
from local import process
from local.__main__ import ACCOUNT, BUCKET, DATABASE, PROJECT, SERVE_SECONDS
from local.database import DatabaseServer

KILLS = int(os.environ.get("KILLS", "100"))
PASSWORD = "kills"
ROWS = 20_000
FIRST_WRITTEN = 100_000_000  # the writer's ids are above it
REQUEST_SECONDS = 200
FREE_SECONDS = 15
VICTIMS = ("worker", "database", "storage")
PATHS = {"backup": "/backup-data", "backup_first": "/truncate-tables?backup_first=true"}
OPERATIONS = (*PATHS, "load")


class Violated(Exception):
    """A promise is broken; the message says which."""


class Parts:
    """The server, the emulator and the functions, each of which can be killed and restarted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server = DatabaseServer(folder / "server")
        self.server.start()
        self.server.create_database(DATABASE)
        self.server.run_script(PROJECT / "restore/schema.sql", DATABASE)
        self.server.create_account(ACCOUNT, PASSWORD, DATABASE)
        self._storage_port, self._port = process.free_port(), process.free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._storage_url = f"http://127.0.0.1:{self._storage_port}"
        self.environment = {
            **os.environ,
            "DB_SOCKET": str(self.server.socket),
            "DB_USER": ACCOUNT,
            "DB_PASS": PASSWORD,
            "DB_NAME": DATABASE,
            "GCS_PATH": f"{BUCKET}/kills",
            "STORAGE_EMULATOR_HOST": self._storage_url,
        }
        self._start_storage()
        self.client = storage.Client(
            "test", AnonymousCredentials(), client_options={"api_endpoint": self._storage_url}
        )
        self.client.create_bucket(BUCKET)
        self._functions = self._start("local.serve", str(self._port))
        process.wait_for_port(self._functions, self._port, SERVE_SECONDS, str)

    def _start(self, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{module}.log").open("ab") as log:
            command = [sys.executable, "-m", module, *arguments]
            return process.start(command, log, folder=PROJECT, environment=self.environment)

    def _start_storage(self) -> None:
        arguments = (str(self._folder / "objects"), str(self._storage_port))
        self._storage = self._start("local.emulator", *arguments)
        process.wait_for_port(self._storage, self._storage_port, SERVE_SECONDS, str)

    def kill(self, victim: str, load: "subprocess.Popen[bytes] | None") -> None:
        """Kills a part, and restarts it unless it restarts by itself."""
        if victim == "database":
            self.server.kill()
            self.server.start()
        elif victim == "storage":
            process.kill(self._storage)
            self._start_storage()
        elif load:
            load.kill()
        else:
            for worker in children(self._functions.pid):
                os.kill(worker, signal.SIGKILL)

    def connect(self) -> "pymysql.Connection[Any]":
        """A connection as root that commits each statement."""
        connection = self.server.connect(database=DATABASE, autocommit=True, read_timeout=30)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout = 10, innodb_lock_wait_timeout = 10")
        return connection

    def employees(self) -> set[int]:
        """The ids in `employees`."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM employees")
            return {number for (number,) in cursor.fetchall()}

    def stop(self) -> None:
        """Stops all parts."""
        process.stop(self._functions)
        process.stop(self._storage)
        self.client.close()
        self.server.stop()


class Writer(threading.Thread):
    """Inserts one employee after another until it is stopped, in spite of all failures.

    Attributes:
        committed: ids whose commit the server confirmed, in order.
        open: ids whose commit got no answer.
    """

    def __init__(self, parts: Parts, first: int) -> None:
        super().__init__()
        self._parts = parts
        self._next = first
        self._stopped = threading.Event()
        self.committed: list[int] = []
        self.open: set[int] = set()
        self.start()

    def run(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(pymysql.err.Error, OSError):
                self._write()

    def _write(self) -> None:
        with self._parts.connect() as connection, connection.cursor() as cursor:
            while not self._stopped.is_set():
                self._insert(cursor)

    def _insert(self, cursor: Any) -> None:
        self._next += 1
        self.open.add(self._next)
        # A truncation empties the referenced tables, too.
        cursor.execute("SET foreign_key_checks = 0")
        cursor.execute("INSERT INTO employees VALUES (%s, 'W', NOW(), 1, 1)", (self._next,))
        self.committed.append(self._next)
        self.open.discard(self._next)
        time.sleep(0.002)

    def stop(self) -> int:
        """Stops the writer; returns the last id that it tried."""
        self._stopped.set()
        self.join()
        return self._next


class Trial:
    """The kills of a run, with all ids committed so far."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._last = FIRST_WRITTEN
        self._filled = itertools.count(1)
        self._committed: set[int] = set()
        self._stored: dict[str, set[int]] = {}
        self._seconds: dict[str, float] = {}

    def fill(self) -> None:
        """Inserts rows if there are too few for an operation to be interrupted."""
        if len(self._parts.employees()) >= ROWS:
            return
        first = next(self._filled) * ROWS
        with self._parts.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET foreign_key_checks = 0")
            cursor.execute("REPLACE INTO departments VALUES (1, 'Sales')")
            cursor.execute("REPLACE INTO jobs VALUES (1, 'Clerk')")
            ids = range(first + 1, first + ROWS + 1)
            insert = "INSERT INTO employees VALUES (%s, 'Ana', '2021-02-03', 1, 1)"
            cursor.executemany(insert, [(each,) for each in ids])
        self._committed |= set(ids)

    def measure(self) -> None:
        """Runs each operation once without a kill; a later kill falls within its time."""
        for operation in OPERATIONS:
            self.run(operation, None)

    def run(self, operation: str, victim: str | None) -> str:
        """Runs one operation, with a kill or without; returns how it ended."""
        self.fill()
        newest = self._backup()
        writer = Writer(self._parts, self._last)
        started = time.monotonic()
        load = self._start_load(newest) if operation == "load" else None
        answers: list[str] = []
        caller = threading.Thread(target=lambda: answers.append(self._finish(operation, load)))
        caller.start()
        if victim:
            time.sleep(random.uniform(0, self._seconds[operation]))
            self._parts.kill(victim, load)
        caller.join(REQUEST_SECONDS)
        if caller.is_alive():
            raise Violated(f"{operation} without an end {REQUEST_SECONDS} s after a kill")
        if not victim:
            self._seconds[operation] = time.monotonic() - started
        self._await_free(writer)
        self._last = writer.stop()
        self._check(writer, newest, is_load=operation == "load")
        self._backup()
        return answers[0]

    def _start_load(self, backup: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "manage.py", "restore", backup, "--replace", "--yes"]
        environment, quiet = self._parts.environment, subprocess.DEVNULL
        return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=quiet, stderr=quiet)

    def _finish(self, operation: str, load: "subprocess.Popen[bytes] | None") -> str:
        if load:
            return f"status {load.wait()}"
        url = f"{self._parts.url}{PATHS[operation]}"
        try:
            return str(requests.get(url, timeout=REQUEST_SECONDS).status_code)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return "connection lost"

    def _await_free(self, writer: Writer) -> None:
        """Waits until the writer commits again, which shows that no lock is held."""
        before, end = len(writer.committed), time.monotonic() + FREE_SECONDS
        while len(writer.committed) < before + 5:
            if time.monotonic() > end:
                writer.stop()
                raise Violated(f"a lock is held {FREE_SECONDS} s after the operation's end")
            time.sleep(0.01)

    def _backup(self) -> str:
        """Takes a backup, which must succeed; returns its address."""
        end = time.monotonic() + FREE_SECONDS
        while True:
            try:
                answer = requests.get(f"{self._parts.url}/backup-data", timeout=REQUEST_SECONDS)
            except requests.ConnectionError:  # gunicorn is starting the next worker
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
                continue
            if answer.status_code != 200:
                raise Violated(f"the next backup answers {answer.status_code}: {answer.text}")
            return str(answer.json()["backup"])

    def _check(self, writer: Writer, loaded: str, *, is_load: bool) -> None:
        """Compares the committed rows with those in the database and in the backups."""
        there = self._parts.employees()
        self._committed |= set(writer.committed)
        self._read_backups()
        if is_load:
            self._check_load(writer, there, self._stored[loaded])
        in_backups = set().union(*self._stored.values())
        lost = self._committed - there - in_backups
        if lost:
            raise Violated(f"{len(lost)} committed rows are lost, such as {min(lost)}")
        invented = there - self._committed - writer.open
        if invented - in_backups:
            raise Violated(f"{len(invented)} rows were never committed, such as {min(invented)}")
        self._committed |= there

    def _check_load(self, writer: Writer, there: set[int], loaded: set[int]) -> None:
        """Checks that a load left the former rows, or the backup's and the writer's later ones."""
        missing = [number for number in writer.committed if number not in there]
        if missing and writer.committed[: len(missing)] != missing:
            raise Violated("a load lost rows that were written after it")
        if not loaded <= there:
            raise Violated("a load left neither the former rows nor the backup's")
        self._committed -= set(missing)  # --replace removed them

    def _read_backups(self) -> None:
        """Checks each new manifest against its objects, and reads the ids of the employees."""
        content = {blob.name: blob for blob in self._parts.client.list_blobs(BUCKET)}
        for name in content:
            folder, slash, file = name.rpartition("/")
            address = f"gs://{BUCKET}/{folder}/"
            if file != "manifest.json" or address in self._stored:
                continue
            self._stored[address] = set()
            manifest = json.loads(content[name].download_as_bytes())
            for stored in _objects(manifest):
                if f"{folder}{slash}{stored['name']}" not in content:
                    raise Violated(f"{name} names {stored['name']}, which is not there")
                data = content[f"{folder}{slash}{stored['name']}"].download_as_bytes()
                crc32c = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
                if (len(data), crc32c) != (stored["bytes"], stored["crc32c"]):
                    raise Violated(f"{name} lies about {stored['name']}")
                if stored["name"] == "employees.avro":
                    records = cast(Iterator[dict[str, Any]], fastavro.reader(io.BytesIO(data)))
                    self._stored[address] = {record["id"] for record in records}


def _objects(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    tables = manifest["tables"]
    objects = [each for table in tables for each in table["objects"]]
    return [*objects, manifest["schema"], *manifest["reports"]]


@pytest.mark.kills
# PyMySQL leaves the socket of a killed server to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_kills_lose_no_row(tmp_path: Path) -> None:
    """No row is lost, whichever part is killed at any moment of any operation, KILLS times each."""
    parts = Parts(tmp_path)
    try:
        trial = Trial(parts)
        trial.measure()
        for _ in range(KILLS):
            for victim, operation in itertools.product(VICTIMS, OPERATIONS):
                trial.run(operation, victim)
    finally:
        parts.stop()
