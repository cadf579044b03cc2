"""A backup shows one moment of all three tables, or it is refused."""

import datetime
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest
import stored_backup
from conftest import PROJECT, Bucket, Database
from support import insert_names
from werkzeug.test import Client

import db
from hiring.deadline import Deadline
from hiring.mysql.connection import Connection
from hiring.mysql.statements import select
from hiring.settings import current_settings
from hiring.tables import TABLES

SCHEMA = PROJECT / "restore/schema.sql"


def take(client: Client) -> tuple[int, dict[str, Any]]:
    response = client.get("/backup-data")
    return response.status_code, json.loads(response.get_data())


class Writer(threading.Thread):
    """Inserts a new department, a new job and their employee in one transaction, until stopped."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self.stop = threading.Event()

    def run(self) -> None:
        with self._database.connect(autocommit=False) as connection:
            cursor = connection.cursor()
            while not self.stop.is_set():
                cursor.execute("INSERT INTO departments (department) VALUES ('new')")
                department = cursor.lastrowid
                cursor.execute("INSERT INTO jobs (job) VALUES ('new')")
                cursor.execute(
                    "INSERT INTO employees (name, datetime, department_id, job_id)"
                    " VALUES ('new', '2021-06-01', %s, %s)",
                    (department, cursor.lastrowid),
                )
                connection.commit()


@pytest.fixture
def writers(database: Database) -> Iterator[list[Writer]]:
    """Two writers that run during the test."""
    writers = [Writer(database), Writer(database)]
    for writer in writers:
        writer.start()
    yield writers
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join(30)


@pytest.mark.slow
def test_a_backup_is_one_moment(client: Client, bucket: Bucket, writers: list[Writer]) -> None:
    """A backup beside writers has the rows of whole transactions only, in tables and reports."""
    sizes = []
    for _ in range(6):
        status, answer = take(client)
        assert status == 200
        employees = stored_backup.records(bucket, answer, "employees")
        departments = {row["id"] for row in stored_backup.records(bucket, answer, "departments")}
        jobs = {row["id"] for row in stored_backup.records(bucket, answer, "jobs")}
        assert {row["department_id"] for row in employees} == departments
        assert {row["job_id"] for row in employees} == jobs
        report = bucket.blob(
            f"{stored_backup.path(answer)}reports/quarterly-hired.json"
        ).download_as_bytes()
        assert sum(row["Q2"] for row in json.loads(report)) == len(employees)
        sizes.append(len(employees))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


class Step:
    """Changes something at the n-th statement of a backup, in its own thread.

    The backup continues after a moment, whether or not the thread waits for a lock.
    """

    def __init__(
        self, environment: pytest.MonkeyPatch, number: int, act: Callable[[], None]
    ) -> None:
        self.reached = False
        self._left = number
        self._thread = threading.Thread(target=act)
        send = Connection.query
        here = threading.current_thread()

        def query(connection: Any, statement: Any, unbuffered: bool = False) -> Any:
            if threading.current_thread() is here:
                if self._left == 0:
                    self.reached = True
                    self._thread.start()
                    time.sleep(0.05)
                self._left -= 1
            return send(connection, statement, unbuffered)

        environment.setattr(Connection, "query", query)

    def finish(self) -> None:
        if self.reached:
            self._thread.join(60)
            assert not self._thread.is_alive()


def fill(database: Database) -> None:
    insert_names(database)
    database.insert("employees", [(n, "Ada", "2021-06-01", 1 + n % 2, 1) for n in range(1, 101)])


def swap(database: Database, table: str) -> None:
    database.execute(f"RENAME TABLE {table} TO {table}_old, {table}_new TO {table}")


def alter(database: Database, table: str) -> None:
    database.execute(f"ALTER TABLE {table} ADD extra INT NOT NULL DEFAULT 7, ALGORITHM = COPY")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "table"),
    [
        (swap, "employees"),
        pytest.param(alter, "employees", marks=pytest.mark.once),
        pytest.param(swap, "departments", marks=pytest.mark.once),
        pytest.param(alter, "jobs", marks=pytest.mark.once),
    ],
)
def test_a_table_swapped_or_altered_at_any_step_is_never_torn(
    client: Client,
    database: Database,
    bucket: Bucket,
    change: Callable[[Database, str], None],
    table: str,
) -> None:
    """A table swapped or altered at any step is backed up whole or refused, never torn."""
    steps = 0
    while at_step(client, database, bucket, steps, change, table):
        steps += 1
    assert steps > 8


def at_step(
    client: Client,
    database: Database,
    bucket: Bucket,
    number: int,
    change: Callable[[Database, str], None],
    table: str,
) -> bool:
    """Takes one backup with a change at one step; returns whether the backup reached that step."""
    with database.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SET foreign_key_checks = 0")
        for name in TABLES:
            cursor.execute(f"DROP TABLE IF EXISTS {name}, {name}_old, {name}_new")
    database.run_script(SCHEMA)
    fill(database)
    database.execute(f"CREATE TABLE {table}_new LIKE {table}")
    database.execute(f"INSERT INTO {table}_new SELECT * FROM {table}")
    rows = {name: database.execute(f"SELECT COUNT(*) FROM {name}")[0][0] for name in TABLES}
    with pytest.MonkeyPatch.context() as patch:
        step = Step(patch, number, lambda: change(database, table))
        status, answer = take(client)
    step.finish()
    if status == 200:
        for name in TABLES:
            records = stored_backup.records(bucket, answer, name)
            assert len(records) == rows[name] == stored_backup.entry(answer, name)["rows"]
            extra = {row.get("extra") for row in records}
            assert extra in ({None}, {7})
            bucket.blob(f"{stored_backup.path(answer)}{name}.avro").delete()
    else:
        assert (status, answer["error"]["code"]) == (409, "busy"), answer
    return step.reached


@pytest.mark.slow
@pytest.mark.parametrize("old_characters", [False, True])
def test_taken_at_is_never_later_than_the_snapshot(
    client: Client,
    database: Database,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    old_characters: bool,
) -> None:
    """A row committed before `taken_at` is in the backup, whichever statement it coincides with."""
    fill(database)
    if old_characters:
        database.execute("ALTER TABLE jobs ADD note VARCHAR(20) CHARACTER SET cp1251 NULL")
    for number in itertools.count():
        committed: list[datetime.datetime] = []

        def hire(committed: list[datetime.datetime] = committed) -> None:
            database.execute("INSERT INTO departments (department) VALUES ('new')")
            ((now,),) = database.execute("SELECT UTC_TIMESTAMP(6)")
            committed.append(now.replace(tzinfo=datetime.UTC))

        with environment.context() as patch:
            step = Step(patch, number, hire)
            answer = client.get("/backup-data").get_json()
        step.finish()
        if not step.reached:
            break
        taken_at = datetime.datetime.fromisoformat(answer["taken_at"])
        names = [row["department"] for row in stored_backup.records(bucket, answer, "departments")]
        if committed[0] < taken_at:
            assert names.count("new") == number + 1, number
    assert number > 10


@pytest.mark.slow
def test_the_gtid_position_is_never_later_than_the_snapshot(
    client: Client, bucket: Bucket, logged: Database
) -> None:
    """Every transaction up to the manifest's GTID position is in the backup."""
    variable = "gtid_binlog_pos" if logged.server.is_mariadb else "gtid_executed"
    ((position,),) = logged.execute(f"SELECT @@GLOBAL.{variable}")
    assert take(client)[1]["gtid"] == position.replace("\n", "") != ""
    first = int(re.findall(r"\d+", position)[-1])
    stop = threading.Event()

    def insert() -> None:
        with logged.connect() as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("INSERT INTO jobs (job) VALUES ('new')")

    writers = [threading.Thread(target=insert) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(10):
            status, answer = take(client)
            assert status == 200
            transactions = int(re.findall(r"\d+", answer["gtid"])[-1]) - first
            assert 0 <= transactions <= stored_backup.entry(answer, "jobs")["rows"]
        assert transactions > 0
    finally:
        stop.set()
        for writer in writers:
            writer.join(30)


def test_a_schema_change_waits_for_a_snapshot(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """An ALTER TABLE waits for a snapshot that has read nothing yet, and then succeeds."""
    fill(database)
    with db.snapshot(current_settings(), Deadline(60)) as connection:
        alteration = threading.Thread(target=lambda: alter(database, "employees"))
        alteration.start()
        time.sleep(0.2)
        assert alteration.is_alive()
        assert select(connection, "SELECT COUNT(*) FROM employees") == [(100,)]
    alteration.join(30)
    assert database.execute("SELECT DISTINCT extra FROM employees") == [(7,)]


def test_a_snapshot_does_not_block_writers(client: Client, database: Database) -> None:
    """A snapshot lets others insert rows, does not show them, and cannot write itself."""
    fill(database)
    with db.snapshot(current_settings(), Deadline(60)) as connection:
        assert select(connection, "SELECT COUNT(*) FROM departments") == [(2,)]
        database.insert("employees", [(1000, "new", "2021-06-01", 1, 1)])
        assert select(connection, "SELECT COUNT(*) FROM employees") == [(100,)]
        with pytest.raises(pymysql.err.Error):
            select(connection, "INSERT INTO jobs VALUES (9, 'x')")
