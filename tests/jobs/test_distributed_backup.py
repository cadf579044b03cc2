"""The distributed backup has the function's rows, in ranges, whatever happens to its workers."""

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import engine
import fastavro
import pytest
from conftest import PROJECT, Bucket, Database
from werkzeug.test import Client

from hiring.errors import Busy
from jobs import command
from local import process

pytestmark = engine.needs_spark

EMPLOYEES = 20_000
MANY_EMPLOYEES = 2_000_000
START_SECONDS = 180

FILL = """
INSERT INTO employees (id, name, datetime, department_id, job_id)
SELECT id, CONCAT('Ana ', SHA2(id, 224)), '2018-01-01' + INTERVAL id MINUTE, 1 + MOD(id, 2),
    1 + MOD(id, 3)
FROM (
    SELECT 1 + a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n + 100000 * f.n
        + 1000000 * g.n AS id
    FROM digits AS a, digits AS b, digits AS c, digits AS d, digits AS e, digits AS f, digits AS g
) AS numbers
WHERE id <= %s
"""
"""`fill` then deletes every third id, so that ids and row numbers differ."""


def fill(database: Database, employees: int) -> None:
    database.insert("departments", [(1, "Legal"), (2, "Ventas, España")])
    database.insert("jobs", [(1, "Nurse"), (2, "Übersetzer"), (3, "データ")])
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE digits (n INT PRIMARY KEY)")
        cursor.execute(f"INSERT INTO digits VALUES {', '.join(f'({n})' for n in range(10))}")
        cursor.execute(FILL, (employees * 3 // 2,))
        cursor.execute("DELETE FROM employees WHERE id % 3 = 0")
        cursor.execute("DROP TABLE digits")
    # As after any large import: the server then knows the number of rows in a range.
    database.execute("ANALYZE TABLE employees")


@dataclasses.dataclass
class Job:
    """The job on this test's database and bucket."""

    bucket: Bucket
    settings: dict[str, str]
    folder: Path

    @contextlib.contextmanager
    def start(self, *arguments: str, **options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Starts the job; its log is `log` in the folder."""
        command = engine.command("distributed_backup", *arguments, **options)
        with (self.folder / "log").open("wb") as log:
            started = process.start(
                command, log, folder=self.folder, environment=engine.environment(self.settings)
            )
        try:
            yield started
        finally:
            process.kill(started)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def manifests(self) -> list[dict[str, Any]]:
        """The manifests of all backups, oldest first, each with its folder."""
        return [
            {"path": name.removesuffix("manifest.json"), **json.loads(content)}
            for name, content in self.bucket.blobs("hiring/backups/").items()
            if name.endswith("/manifest.json")
        ]

    def rows(self, manifest: dict[str, Any], table: str) -> list[dict[str, Any]]:
        """The rows of a table by id."""
        (entry,) = (each for each in manifest["tables"] if each["table"] == table)
        found = []
        for stored in entry["objects"]:
            content = self.bucket.blob(manifest["path"] + stored["name"]).download_as_bytes()
            rows = list(fastavro.reader(io.BytesIO(content)))
            assert len(rows) == stored["rows"]
            found += rows
        return sorted(found, key=lambda row: row["id"])

    def check(self, manifest: dict[str, Any], expected: dict[str, Any]) -> None:
        """Compares the rows of two backups, and a folder with its manifest."""
        for table in ("departments", "jobs", "employees"):
            assert self.rows(manifest, table) == self.rows(expected, table)
        listed = [stored["name"] for entry in manifest["tables"] for stored in entry["objects"]]
        listed += [stored["name"] for stored in manifest["reports"]]
        there = self.bucket.blobs(manifest["path"])
        assert sorted(name.removeprefix(manifest["path"]) for name in there) == sorted(
            [*listed, "schema.sql", "manifest.json"]
        )


class RunHere(Protocol):
    """Runs the job in this process, with eight ranges."""

    def __call__(self, *, allow_changes: bool) -> None: ...


@pytest.fixture
def run_here(spark: None, job: Job, environment: pytest.MonkeyPatch) -> RunHere:
    def run(*, allow_changes: bool) -> None:
        for name, value in job.settings.items():
            environment.setenv(name, value)
        options = argparse.Namespace(ranges=8, allow_changes=allow_changes)
        importlib.import_module("jobs.distributed_backup").run(options)

    return run


@pytest.fixture
def job(database: Database, bucket: Bucket, tmp_path: Path) -> Job:
    return Job(bucket, database.environment | bucket.environment, tmp_path)


def wait_until(true: Callable[[], bool], started: subprocess.Popen[bytes], job: Job) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not true():
        assert started.poll() is None, job.log()
        assert time.monotonic() < deadline, job.log()
        time.sleep(0.05)


def test_the_rows_are_the_functions_in_eight_ranges(
    job: Job, run_here: RunHere, client: Client, database: Database
) -> None:
    """Two workers store the function's rows in eight ranges, and the manifest lists them."""
    fill(database, EMPLOYEES)
    assert client.get("/backup-data").status_code == 200
    run_here(allow_changes=False)
    functions, ours = job.manifests()
    job.check(ours, functions)
    objects = [entry.pop("objects") for entry in ours["tables"]]
    assert [len(each) for each in objects] == [1, 1, 8]
    rows = [stored["rows"] for stored in objects[2]]
    assert sum(rows) == EMPLOYEES
    assert max(rows) - min(rows) < EMPLOYEES / 100
    changes = ours.pop("changes")
    assert changes["gtid_start"] == changes["gtid_end"]
    assert (changes["allowed"], changes["tables"]) == (False, [])
    for manifest in (functions, ours):
        for name in ("path", "taken_at"):
            manifest.pop(name)
        for stored in [*manifest["reports"], manifest["schema"]]:
            stored.pop("generation")
    for entry in functions["tables"]:
        entry.pop("objects")
    assert ours == functions


@pytest.mark.once
def test_a_distributed_backup_is_loaded_like_any_other(
    job: Job, run_here: RunHere, database: Database
) -> None:
    """manage.py restore finds, checks and loads a distributed backup."""
    fill(database, EMPLOYEES)
    sums = "CHECKSUM TABLE departments, jobs, employees"
    before = database.execute(sums)
    run_here(allow_changes=False)
    database.execute("DELETE FROM employees WHERE id > 100")
    address = f"{job.settings['GCS_PATH']}/backups/"
    loaded = subprocess.run(
        [sys.executable, PROJECT / "manage.py", "restore", address, "--replace"],
        env={"PATH": os.environ["PATH"], **job.settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert database.execute(sums) == before


def write(database: Database, stop: threading.Event) -> None:
    """Inserts hires until it is stopped."""
    with database.connect() as connection, connection.cursor() as cursor:
        while not stop.wait(0.05):
            cursor.execute("INSERT INTO employees VALUES (0, 'Zoë', '2021-01-01', 1, 1)")


@pytest.fixture
def writer(database: Database) -> Iterator[None]:
    """A writer that runs during the test."""
    fill(database, EMPLOYEES)
    stop = threading.Event()
    thread = threading.Thread(target=write, args=(database, stop))
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_table_that_changes_is_refused(job: Job, run_here: RunHere, writer: None) -> None:
    """A table that changes is refused by name, and no object stays."""
    with pytest.raises(Busy, match=r"^employees changed while the backup was taken"):
        run_here(allow_changes=False)
    assert job.bucket.blobs() == {}


@pytest.mark.once
def test_changes_that_are_allowed_are_recorded(
    job: Job, run_here: RunHere, writer: None, database: Database
) -> None:
    """With --allow-changes, the manifest names the changed table and both GTID positions."""
    run_here(allow_changes=True)
    (manifest,) = job.manifests()
    changes = manifest["changes"]
    assert (changes["allowed"], changes["tables"]) == (True, ["employees"])
    logged = database.execute("SELECT @@log_bin")[0][0] and (
        "MariaDB" in manifest["server_version"]
        or database.execute("SELECT @@gtid_mode")[0][0] == "ON"
    )
    assert (changes["gtid_start"] != changes["gtid_end"]) == bool(logged)


@dataclasses.dataclass
class Cluster:
    """A master and two workers of Spark, as processes of this test."""

    url: str
    workers: list[subprocess.Popen[bytes]]

    def executors(self) -> list[int]:
        """The process ids of the executors that run tasks."""
        found = []
        for worker in self.workers:
            tasks = Path(f"/proc/{worker.pid}/task")
            for children in tasks.glob("*/children"):
                for child in children.read_text().split():
                    command = Path(f"/proc/{child}/cmdline").read_bytes()
                    if b"CoarseGrainedExecutorBackend" in command:
                        found.append(int(child))
        return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Spark's standalone cluster."""
    port = process.free_port()
    url = f"spark://127.0.0.1:{port}"
    master = ["org.apache.spark.deploy.master.Master", "--port", str(port), "--webui-port", "0"]
    worker = ["org.apache.spark.deploy.worker.Worker", "--cores", "1", "--memory", "1g"]
    started = []

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "log").open("wb") as log:
            started.append(
                process.start(
                    [engine.home() / "bin" / "spark-class", *arguments],
                    log,
                    folder=folder,
                    environment=engine.environment({"SPARK_WORKER_DIR": str(folder)}),
                )
            )
        return started[-1]

    try:
        start("master", *master, "--host", "127.0.0.1")
        process.wait_for_port(started[0], port, START_SECONDS, (tmp_path / "master/log").read_text)
        workers = [
            start(f"worker{n}", *worker, "--webui-port", "0", "--host", "127.0.0.1", url)
            for n in (1, 2)
        ]
        yield Cluster(url, workers)
    finally:
        for each in reversed(started):
            process.stop(each)


@pytest.mark.once
def test_an_executor_that_is_killed_costs_nothing(
    job: Job, cluster: Cluster, client: Client, database: Database
) -> None:
    """After one of two executors is killed, the other stores its ranges, each once.

    A range that is refused once is stored too, and its failure shows no password in the log.
    """
    fill(database, EMPLOYEES)
    assert client.get("/backup-data").status_code == 200
    # The third and later ranges wait, so that the kill hits them while they are stored. A repeated
    # range waits as long: what the killed executor sent has arrived before the job tidies up.
    job.bucket.storage.fail(
        "employees-0000[3-7]", method="PUT", times=None, action="delay", seconds=3
    )
    job.bucket.storage.fail("employees-00001", method="PUT", status=403)
    with job.start(
        "--ranges=8",
        master=cluster.url,
        spark_executor_memory="512m",
        spark_executor_cores="1",
        spark_executorEnv_PYTHONPATH=str(PROJECT),
        spark_executorEnv_STORAGE__EMULATOR__HOST=job.bucket.storage.url,
    ) as started:
        wait_until(
            lambda: len([name for name in job.bucket.blobs() if "/employees-" in name]) >= 3,
            started,
            job,
        )
        first, _ = cluster.executors()
        os.kill(first, signal.SIGKILL)
        assert started.wait(engine.JOB_SECONDS) == 0, job.log()
    assert "Lost executor" in job.log() or "ExecutorLostFailure" in job.log(), job.log()
    assert "refused or failed: status 403" in job.log(), job.log()
    assert job.settings["DB_PASS"] not in job.log()
    functions, ours = job.manifests()
    job.check(ours, functions)
    attempts = [stored["name"].split("-")[2] for stored in ours["tables"][2]["objects"]]
    assert len(set(attempts)) == 8


@pytest.mark.once
def test_a_range_that_fails_is_tried_again(
    job: Job, run_here: RunHere, client: Client, database: Database
) -> None:
    """A range whose object is refused is stored by another attempt and listed once."""
    fill(database, EMPLOYEES)
    assert client.get("/backup-data").status_code == 200
    job.bucket.storage.fail("employees-00004", method="PUT", status=403)
    run_here(allow_changes=False)
    functions, ours = job.manifests()
    job.check(ours, functions)


@pytest.mark.once
def test_a_range_that_always_fails_leaves_nothing(
    job: Job, run_here: RunHere, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """A range that always fails leaves no manifest, no object and no password in the log."""
    fill(database, EMPLOYEES)
    job.bucket.storage.fail("employees-00004", method="PUT", status=403, times=None)
    assert command.run(lambda: run_here(allow_changes=False)) == 1
    log = capfd.readouterr().err
    assert "Cloud Storage bucket" in log
    assert job.settings["DB_PASS"] not in log
    assert job.bucket.blobs() == {}


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LARGE"), reason="takes minutes: LARGE=1 runs it")
def test_two_million_employees(job: Job, client: Client, database: Database) -> None:
    """Eight ranges by two workers hold the rows of the function's one object."""
    fill(database, MANY_EMPLOYEES)
    assert client.get("/backup-data").status_code == 200
    done = engine.run(job.settings, job.folder, "distributed_backup", "--ranges=8")
    assert done.returncode == 0, done.stdout
    functions, ours = job.manifests()
    assert [len(entry["objects"]) for entry in ours["tables"]] == [1, 1, 8]
    job.check(ours, functions)
