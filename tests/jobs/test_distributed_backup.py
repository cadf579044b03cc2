"""The distributed backup is of one moment, whatever happens beside it and to its workers."""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import engine
import fastavro
import pymysql
import pytest
from conftest import ACCOUNT, PROJECT, Bucket, Database
from werkzeug.test import Client

from hiring.deadline import Deadline
from hiring.errors import Busy, Misconfigured
from hiring.mysql import login
from hiring.settings import read_settings
from jobs import command
from local import process

pytestmark = engine.needs_spark

EMPLOYEES = 20_000
MOVED = range(1, 4)
"""Ids of rows that move between tables."""
BACKUPS = int(os.environ.get("BACKUPS", "4"))
"""How many backups are taken beside transactions that move rows."""
DEADLOCK = 1213
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


@pytest.fixture
def run_here(spark: None, job: Job, environment: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs the job in this process."""

    def run(job: Job = job, workers: int = 2) -> None:
        for name, value in job.settings.items():
            environment.setenv(name, value)
        importlib.import_module("jobs.distributed_backup").run(workers)

    return run


@pytest.fixture
def job(database: Database, bucket: Bucket, tmp_path: Path) -> Job:
    return Job(bucket, database.environment | bucket.environment, tmp_path)


def wait_until(true: Callable[[], object], alive: Callable[[], object] = lambda: True) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not true():
        assert alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_rows_are_the_functions_in_eight_ranges(
    job: Job, run_here: Callable[..., None], client: Client, database: Database
) -> None:
    """Two workers store the function's rows and reports in eight ranges, and one manifest."""
    fill(database, EMPLOYEES)
    assert client.get("/backup-data").status_code == 200
    run_here()
    functions, ours = job.manifests()
    job.check(ours, functions)
    objects = [entry.pop("objects") for entry in ours["tables"]]
    assert [len(each) for each in objects] == [1, 1, 8]
    rows = [stored["rows"] for stored in objects[2]]
    assert sum(rows) == EMPLOYEES
    assert max(rows) - min(rows) < EMPLOYEES / 100
    assert ours.pop("workers") == 2
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
    job: Job, run_here: Callable[..., None], database: Database
) -> None:
    """manage.py restore finds, checks and loads a distributed backup."""
    fill(database, EMPLOYEES)
    sums = "CHECKSUM TABLE departments, jobs, employees"
    before = database.execute(sums)
    run_here()
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


def test_a_backup_without_rows_says_so(
    job: Job, run_here: Callable[..., None], database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """A backup of empty tables is stored, and the log warns, as the function does."""
    run_here()
    (manifest,) = job.manifests()
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    told = {each["message"]: each for each in map(json.loads, lines)}
    assert told["backup without rows"]["severity"] == "WARNING"
    assert told["backup without rows"]["backup"].endswith(manifest["path"])


# One moment


class Mover(threading.Thread):
    """Moves a row between departments and jobs, and counts how often: one transaction each.

    The row is in departments whenever the number, the employee's name, is even.
    """

    def __init__(self, database: Database, key: int) -> None:
        super().__init__()
        self._database, self._key = database, key
        self._stopped = threading.Event()
        self.waits: list[float] = []
        self.refused = 0

    def run(self) -> None:
        with self._database.connect() as connection, connection.cursor() as cursor:
            places = ["departments", "jobs"]
            while not self._stopped.wait(0.001):
                source, target = places
                started = time.monotonic()
                try:
                    connection.begin()
                    cursor.execute(f"DELETE FROM {source} WHERE id = {self._key}")
                    cursor.execute(f"INSERT INTO {target} VALUES ({self._key}, 'x')")
                    cursor.execute(f"UPDATE employees SET name = name + 1 WHERE id = {self._key}")
                    connection.commit()
                    places.reverse()
                except pymysql.err.OperationalError as error:
                    if error.args[0] != DEADLOCK:
                        raise
                    connection.rollback()
                    self.refused += 1
                self.waits.append(time.monotonic() - started)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@pytest.fixture
def movers(logged: Database) -> Iterator[list[Mover]]:
    logged.insert("departments", [(1000, "Legal"), *((key, "x") for key in MOVED)])
    logged.insert("jobs", [(1000, "Nurse")])
    logged.insert("employees", [(key, "0", "2021-02-03", 1000, 1000) for key in range(1, 101)])
    movers = [Mover(logged, key) for key in MOVED]
    yield movers
    for mover in movers:
        mover.stop()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_all_workers_see_one_moment(
    run_here: Callable[..., None],
    logged: Database,
    bucket: Bucket,
    movers: list[Mover],
    tmp_path: Path,
    workers: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Beside transactions across tables, a backup holds exactly those up to its GTID position."""
    job = Job(bucket, logged.environment | bucket.environment, tmp_path)
    variable = "gtid_binlog_pos" if logged.server.is_mariadb else "gtid_executed"
    first = int(re.findall(r"\d+", logged.execute(f"SELECT @@GLOBAL.{variable}")[0][0])[-1])
    for mover in movers:
        mover.start()
    longest = []
    for _ in range(BACKUPS):
        before = [len(mover.waits) for mover in movers]
        run_here(job, workers)
        waits = [mover.waits[start:] for mover, start in zip(movers, before, strict=True)]
        longest.append(max(map(max, waits)))
    record_property("longest_waits", longest)
    assert min(longest) < 0.8  # a barrier of Spark under the lock takes about a second
    record_property("moves", sum(len(mover.waits) for mover in movers))
    record_property("refused", sum(mover.refused for mover in movers))
    moves = []
    for manifest in job.manifests():
        assert manifest["workers"] == workers
        counted = {row["id"]: int(row["name"]) for row in job.rows(manifest, "employees")}
        departments, jobs = (
            {row["id"] for row in job.rows(manifest, table)} for table in ("departments", "jobs")
        )
        even = {key for key in MOVED if counted[key] % 2 == 0}
        assert (departments, jobs) == ({1000} | even, {1000} | set(MOVED) - even)
        moves.append(sum(counted.values()))
        assert moves[-1] == int(re.findall(r"\d+", manifest["gtid"])[-1]) - first
    assert sorted(set(moves)) == moves
    assert len(moves) == BACKUPS


# Faults

WRITE = "UPDATE employees SET name = 'Zoë' WHERE id = 2"


def held(database: Database) -> "pymysql.Connection[Any]":
    """A connection with a transaction that keeps the tables from being locked."""
    connection = database.connect()
    connection.begin()
    connection.cursor().execute("UPDATE employees SET name = 'Zoë' WHERE id = 1")
    return connection


def statements(database: Database) -> list[str]:
    """What the server runs in the database."""
    return [
        str(statement)
        for (statement,) in database.execute(
            "SELECT info FROM information_schema.processlist WHERE db = DATABASE()"
        )
    ]


def runs(database: Database, start: str) -> Callable[[], bool]:
    return lambda: any(each.startswith(start) for each in statements(database))


def sockets(worker: int) -> int:
    """How many sockets a worker has; the one that locks the tables has one more."""
    return sum("socket" in str(each.readlink()) for each in Path(f"/proc/{worker}/fd").iterdir())


ACTS = {
    "killed": None,
    "altered": "ALTER TABLE employees ADD extra INT NOT NULL DEFAULT 7",
    "renamed": "RENAME TABLE employees TO old, other TO employees",
}


def change(database: Database, statement: str) -> None:
    """Changes a table, again where it is a deadlock's victim: MariaDB locks the parents too."""
    while True:
        try:
            database.execute(statement)
        except pymysql.err.OperationalError as error:
            if error.args[0] != DEADLOCK:
                raise
        else:
            return


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "act"),
    [
        ("before the lock", "killed"),
        ("before the lock", "altered"),
        ("before the lock", "renamed"),
        ("under the lock", "killed"),
        ("under the lock", "altered"),
        ("under the lock", "renamed"),
        ("after the lock", "killed"),
        ("after the lock", "altered"),
        ("after the lock", "renamed"),
    ],
)
def test_what_happens_at_each_step(
    job: Job, run_here: Callable[..., None], client: Client, database: Database, step: str, act: str
) -> None:
    """A backup is whole though a worker dies or a table changes at any step; writers go on."""
    fill(database, EMPLOYEES)
    database.execute("CREATE TABLE other LIKE employees")
    database.execute("INSERT INTO other SELECT * FROM employees WHERE id % 2 = 0")
    if step == "after the lock":
        # In the second attempt too: it ends when the uploads of the first one have arrived.
        job.bucket.storage.fail("employees-00001", method="PUT", times=2, action="delay", seconds=5)
    with contextlib.ExitStack() as opened:
        threads = opened.enter_context(concurrent.futures.ThreadPoolExecutor(3))
        transaction = opened.enter_context(held(database))
        running = threads.submit(run_here)
        wait_until(runs(database, "LOCK TABLES"), lambda: not running.done())
        leader, follower = sorted(engine.workers(), key=sockets)[:-3:-1]
        if step == "under the lock":
            os.kill(follower, signal.SIGSTOP)
        if step != "before the lock":
            transaction.commit()
            wait_until(lambda: not runs(database, "LOCK TABLES")())
        if step == "under the lock":
            writing = threads.submit(database.execute, WRITE)
            wait_until(runs(database, "UPDATE"))
        if step == "after the lock":
            wait_until(lambda: any("/employees-" in name for name in job.bucket.blobs()))
        if statement := ACTS[act]:
            acting = threads.submit(change, database, statement)
            wait_until(runs(database, statement[:12]), lambda: not acting.done())
        else:
            os.kill(leader, signal.SIGKILL)
        if step == "under the lock":
            os.kill(follower, signal.SIGCONT)
            # A pending ALTER comes first, and waits for the snapshots.
            writing.result(engine.JOB_SECONDS if statement else 5)
        transaction.commit()
        running.result(engine.JOB_SECONDS)
    (manifest,) = job.manifests()
    assert client.get("/backup-data").status_code == 200
    now = job.manifests()[-1]
    rows = len(job.rows(manifest, "employees"))
    is_changed = act == "altered" and step == "before the lock"
    # A change that comes first makes the job begin again; after the lock, none can.
    if not statement or is_changed or (rows != EMPLOYEES and step != "after the lock"):
        job.check(manifest, now)
    else:
        assert rows == EMPLOYEES
    assert {name.split("/")[2] for name in job.bucket.blobs()} == {
        each["path"].split("/")[2] for each in (manifest, now)
    }


@pytest.mark.slow
def test_a_lock_that_its_client_forgets_is_let_go(
    job: Job, run_here: Callable[..., None], client: Client, database: Database
) -> None:
    """The server frees the tables after ten seconds; the attempt fails, and another succeeds."""
    fill(database, EMPLOYEES)
    with contextlib.ExitStack() as opened:
        threads = opened.enter_context(concurrent.futures.ThreadPoolExecutor(1))
        transaction = opened.enter_context(held(database))
        running = threads.submit(run_here)
        wait_until(runs(database, "LOCK TABLES"), lambda: not running.done())
        leader, follower = sorted(engine.workers(), key=sockets)[:-3:-1]
        os.kill(follower, signal.SIGSTOP)
        transaction.commit()
        wait_until(lambda: any("opened 1" in each for each in statements(database)))
        os.kill(leader, signal.SIGSTOP)
        started = time.monotonic()
        database.execute(WRITE)
        assert 5 < time.monotonic() - started < 20
        os.kill(leader, signal.SIGCONT)
        os.kill(follower, signal.SIGCONT)
        running.result(engine.JOB_SECONDS)
    assert client.get("/backup-data").status_code == 200
    ours, functions = job.manifests()
    job.check(ours, functions)


def test_tables_that_cannot_be_locked(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open transaction makes the job give up after several tries, and says so."""
    one_moment = importlib.import_module("jobs.one_moment")
    monkeypatch.setattr(login, "LOCK_WAIT_SECONDS", 1)
    monkeypatch.setattr(one_moment, "LOCKING_SECONDS", 3)
    monkeypatch.setattr(one_moment, "LOCK_PAUSE_SECONDS", 1)
    fill(database, 10)
    settings = read_settings(database.environment)
    with held(database), contextlib.ExitStack() as opened:
        with pytest.raises(Busy, match=r"^could not lock the tables in 3 s: "):
            one_moment.lock(opened, settings, Deadline(60))
        assert runs(database, "LOCK TABLES")() is False


@pytest.mark.slow
def test_an_open_transaction_makes_the_whole_job_give_up(
    job: Job, run_here: Callable[..., None], database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """After a minute of trying, the job says why, and leaves nothing; the row can be changed."""
    fill(database, 100)
    with held(database):
        assert command.run(run_here) == 1
    lines = capfd.readouterr().err.splitlines()
    last = json.loads([line for line in lines if line.startswith("{")][-1])
    assert (last["message"], last["code"]) == ("job failed", "busy")
    assert last["reason"].startswith("could not lock the tables in 60 s: ")
    assert job.bucket.blobs() == {}
    database.execute(WRITE)


def test_an_account_that_may_not_lock(
    job: Job, run_here: Callable[..., None], database: Database
) -> None:
    """Without LOCK TABLES the job fails at once and leaves nothing; with it, SELECT is enough."""
    fill(database, 100)
    database.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {ACCOUNT}")
    database.execute(f"GRANT SELECT ON {database.name}.* TO {ACCOUNT}")
    with pytest.raises(Misconfigured, match=r"denied"):
        run_here()
    assert job.bucket.blobs() == {}
    database.execute(f"GRANT LOCK TABLES ON {database.name}.* TO {ACCOUNT}")
    run_here()
    assert len(job.manifests()) == 1


@pytest.mark.once
def test_a_range_that_always_fails_leaves_nothing(
    job: Job, run_here: Callable[..., None], database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """A range that always fails leaves no manifest, no object and no password in the log."""
    fill(database, EMPLOYEES)
    job.bucket.storage.fail("employees-00004", method="PUT", status=403, times=None)
    assert command.run(run_here) == 1
    log = capfd.readouterr().err
    assert "Cloud Storage bucket" in log
    assert job.settings["DB_PASS"] not in log
    assert job.bucket.blobs() == {}


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
@pytest.mark.slow
def test_an_executor_and_a_driver_that_are_killed(
    job: Job, cluster: Cluster, client: Client, database: Database
) -> None:
    """After an executor is killed all begins again; after the driver is, the tables are free."""
    fill(database, EMPLOYEES)
    assert client.get("/backup-data").status_code == 200
    options = {
        "master": cluster.url,
        "spark_executor_memory": "512m",
        "spark_executor_cores": "1",
        "spark_executorEnv_PYTHONPATH": str(PROJECT),
        "spark_executorEnv_STORAGE__EMULATOR__HOST": job.bucket.storage.url,
    }

    def ranges() -> int:
        return len([name for name in job.bucket.blobs() if "/employees-" in name])

    slow = {"method": "PUT", "action": "delay", "seconds": 3}
    job.bucket.storage.fail("employees-0000[4-7]", times=4, **slow)
    with job.start("--workers=2", **options) as started:
        wait_until(lambda: ranges() >= 2, lambda: started.poll() is None)
        os.kill(cluster.executors()[0], signal.SIGKILL)
        assert started.wait(engine.JOB_SECONDS) == 0, job.log()
    assert "backup begins again" in job.log()
    assert job.settings["DB_PASS"] not in job.log()
    functions, ours = job.manifests()
    job.check(ours, functions)

    before = ranges()
    job.bucket.storage.fail("employees-0000[4-7]", times=None, **slow)
    with job.start("--workers=2", **options) as started:
        wait_until(lambda: ranges() >= before + 2, lambda: started.poll() is None)
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    wait_until(lambda: not cluster.executors())
    assert len(job.manifests()) == 2
    database.execute("ALTER TABLE employees ADD extra INT")
