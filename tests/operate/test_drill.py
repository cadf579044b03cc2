"""manage.py drill restores a backup into a scratch database, and proves it or says why not."""

import dataclasses
import datetime
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import faults
import pytest
import stored_backup
from conftest import ACCOUNT, PASSWORD, PROJECT, Bucket, Database, forget_settings
from support import get, some
from werkzeug.test import Client

import manage
from hiring.deadline import Deadline
from hiring.mysql.connection import Connection
from hiring.settings import Settings
from hiring.storage import newest
from hiring.storage.folders import CloudFolder, ListedFile
from restore import restoring, transaction
from restore.plan import RestorePlan

Backup = Callable[..., dict[str, Any]]
Drill = Callable[..., tuple[int, dict[str, Any]]]
SECONDS = 60


@pytest.fixture
def rows(database: Database) -> None:
    """Inserts hires of two departments in two years."""
    database.insert("departments", [(1, "Sales"), (2, "Ventas ñ")])
    database.insert("jobs", [(1, "Clerk")])
    hires = [(n, f"N{n}", f"202{n % 2}-0{1 + n % 9}-03", 1 + n % 2, 1) for n in range(1, 40)]
    database.insert("employees", hires)


@pytest.fixture
def scratch(database: Database) -> str:
    """The name of the scratch database, on which the account has all rights."""
    name = f"{database.name}_drill"
    database.server.create_account(ACCOUNT, PASSWORD, name)
    return name


@pytest.fixture
def drill(
    database: Database,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Drill:
    """Runs the command; returns its exit status and the record that it stored."""

    def drill(*arguments: str) -> tuple[int, dict[str, Any]]:
        forget_settings()
        before = set(bucket.blobs("hiring/drills/"))
        with environment.context() as context:
            for name, value in (database.environment | bucket.environment).items():
                context.setenv(name, value)
            status = manage.main(["drill", *arguments])
        forget_settings()
        records = [
            json.loads(content)
            for name, content in bucket.blobs("hiring/drills/").items()
            if name not in before
        ]
        return status, records[0] if records else {}

    return drill


def databases(database: Database) -> set[str]:
    found = database.execute("SHOW DATABASES")
    return {name for (name,) in found if name.startswith(database.name)}


def checksums(database: Database) -> list[tuple[Any, ...]]:
    return database.execute("CHECKSUM TABLE departments, jobs, employees")


def test_a_good_drill_proves_the_newest_backup(
    database: Database,
    bucket: Bucket,
    rows: None,
    scratch: str,
    take_backup: Backup,
    drill: Drill,
    client: Client,
) -> None:
    """A good drill is status 0 and a record that counts; tables stay, the scratch database goes."""
    assert get(client, "/backup-data?max_drill_age_days=35")[0] == 503
    answer = take_backup()
    before = checksums(database)
    status, record = drill()
    assert (status, record["result"], record["backup"]) == (0, "good", answer["backup"])
    assert record["rows"] == {"departments": 2, "jobs": 1, "employees": 39}
    assert set(record["seconds"]) == {"restore", "reports", "drop"}
    assert (record["database"], record["left_out"]) == (database.name, [])
    assert (checksums(database), databases(database)) == (before, {database.name})
    status, found = get(client, "/backup-data?max_drill_age_days=35")
    (name,) = bucket.blobs("hiring/drills/")
    assert (status, found["drill"]) == (200, f"gs://{bucket.name}/{name}")
    assert 0 <= found["age_days"] < 0.1
    # What makes no sense beside it is passed over.
    no_zone = record | {"taken_at": "2099-01-01T00:00:00", "started_at": "2099-01-01T00:00:00"}
    bucket.blob("hiring/drills/a.json").upload_from_string(json.dumps(no_zone))
    no_gzip = bucket.blob("hiring/drills/b.json")
    no_gzip.content_encoding = "gzip"
    no_gzip.upload_from_string(b"no gzip")
    assert get(client, "/backup-data?max_drill_age_days=35")[1]["drill"] == found["drill"]


def test_a_drill_stops_itself_and_says_so(
    database: Database,
    rows: None,
    scratch: str,
    take_backup: Backup,
    drill: Drill,
    environment: pytest.MonkeyPatch,
) -> None:
    """A drill without time left is status 5; its database goes, and its record is stored."""
    take_backup()
    environment.setenv("TASK_TIMEOUT_SECONDS", "61")
    environment.setattr("hiring.settings.RESERVED_SECONDS", 61)
    status, record = drill()
    assert (status, record["result"]) == (5, "stopped after 0 s, the time limit")
    assert databases(database) == {database.name}


def move_a_hire(copy: Path) -> None:
    """Changes one row, so that every checksum fits: department_id 1 becomes 2."""
    with (copy / "employees.avro").open("rb") as file:
        reader = fastavro.reader(file)
        schema, found = reader.writer_schema, list(reader)
    found[0]["department_id"] = 3 - found[0]["department_id"]
    moved = io.BytesIO()
    fastavro.writer(moved, schema, found, codec="deflate")
    stored_backup.rewrite(copy, "employees.avro", moved.getvalue())


def change_a_report(copy: Path) -> None:
    """Changes a number in a stored report, so that its checksum fits."""
    file = next((copy / "reports").glob("quarterly-hired*.ndjson"))
    content = file.read_bytes().replace(b'"Q1": ', b'"Q1": 1', 1)
    stored_backup.rewrite(copy, f"reports/{file.name}", content)


def refuse_a_table(copy: Path) -> None:
    """Gives a table a collation that no server has."""
    content = (copy / "schema.sql").read_text().replace("COLLATE=utf8mb4_", "COLLATE=utf8mb4_x", 1)
    stored_backup.rewrite(copy, "schema.sql", content.encode())


def refuse_a_statement(copy: Path) -> None:
    """Lets schema.sql read a file of the server."""
    content = (copy / "schema.sql").read_text().replace(") ENGINE=", ") AS SELECT 1 -- ENGINE=", 1)
    stored_backup.rewrite(copy, "schema.sql", content.encode())


def damage_the_schema(copy: Path) -> None:
    """Cuts schema.sql, so that its checksum does not fit."""
    (copy / "schema.sql").write_text("CREATE")


def drop_the_manifest(copy: Path) -> None:
    """Leaves half a manifest."""
    (copy / "manifest.json").write_text("{")


def drop_the_reports(copy: Path) -> None:
    """Takes the reports out of the manifest."""
    manifest = json.loads((copy / "manifest.json").read_text()) | {"reports": []}
    (copy / "manifest.json").write_text(json.dumps(manifest))


def refer_to_the_tables(copy: Path) -> None:
    """Lets a column refer to the database that was backed up, as no server prints it."""
    database = json.loads((copy / "manifest.json").read_text())["database"]
    content = (copy / "schema.sql").read_text()
    refers = f" REFERENCES `{database}`.`jobs`,\n  PRIMARY KEY"
    content = content.replace(",\n  PRIMARY KEY", refers)
    stored_backup.rewrite(copy, "schema.sql", content.encode())


def check_a_sequence(copy: Path) -> None:
    """Lets a constraint of a column open a sequence, which no server prints."""
    content = (copy / "schema.sql").read_text()
    check = " CHECK (nextval(`s`) > 0),\n  PRIMARY KEY"
    stored_backup.rewrite(
        copy, "schema.sql", content.replace(",\n  PRIMARY KEY", check, 1).encode()
    )


@pytest.mark.parametrize(
    ("edit", "status", "reason"),
    some(
        {
            "a moved row": (move_a_hire, 3, "the restored tables have"),
            "a changed report": (change_a_report, 3, "the restored tables have"),
            "a refused table": (refuse_a_table, 2, "departments"),
            "no report": (drop_the_reports, 3, "stores no report quarterly-hired"),
            "a foreign key": (refer_to_the_tables, 3, "opens a sequence or a table"),
            "a sequence": (check_a_sequence, 3, "opens a sequence or a table"),
            "a statement": (refuse_a_statement, 3, "schema.sql does not create it alone"),
            "a damaged schema": (damage_the_schema, 3, "schema.sql"),
            "no manifest": (drop_the_manifest, 3, "is not a manifest"),
        },
        9,
    ),
)
def test_a_drill_fails_for_what_checksums_do_not_show(
    database: Database,
    bucket: Bucket,
    rows: None,
    scratch: str,
    take_backup: Backup,
    drill: Drill,
    tmp_path: Path,
    client: Client,
    edit: Callable[[Path], None],
    status: int,
    reason: str,
) -> None:
    """A drill of a backup that does not come back as it was fails, says why, and does not count."""
    copy = stored_backup.download(bucket, take_backup(), tmp_path)
    edit(copy)
    before = checksums(database)
    ended, record = drill(str(copy))
    assert (ended, reason in record["result"]) == (status, True), record
    assert record["backup"].rstrip("/") == str(copy)
    assert (checksums(database), databases(database)) == (before, {database.name})
    assert get(client, "/backup-data?max_drill_age_days=35")[0] == 503


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_backup_of_version_1_is_compared_with_its_own_reports(
    database: Database,
    bucket: Bucket,
    rows: None,
    scratch: str,
    take_backup: Backup,
    drill: Drill,
    tmp_path: Path,
    is_damaged: bool,
) -> None:
    """Version 1 stored lists for 2021 alone, in its first release nothing else."""
    copy = stored_backup.download(bucket, take_backup(), tmp_path)
    manifest = json.loads((copy / "manifest.json").read_text())
    lists = [each for each in manifest["reports"] if each["name"].endswith(".json")]
    contents = {}
    for each in lists:
        found = json.loads((copy / each["name"]).read_text())
        listed = [json.dumps(row, ensure_ascii=False) for row in found if row.pop("year") == 2021]
        each["name"] = each["name"].replace(".json", "-2021.json")
        contents[each["name"]] = "[" + ",\n ".join(listed[is_damaged:]) + "]\n"
    (copy / "manifest.json").write_text(json.dumps(manifest | {"reports": lists}))
    for name, content in contents.items():
        stored_backup.rewrite(copy, name, content.encode())
    status, record = drill(str(copy))
    assert status == (3 if is_damaged else 0), record


def test_a_drill_that_lost_its_waiting_connection_drops_its_database(
    database: Database,
    scratch: str,
    rows: None,
    take_backup: Backup,
    drill: Drill,
    environment: pytest.MonkeyPatch,
) -> None:
    """The connection that keeps other drills out waits for the whole restore, and may be lost."""
    take_backup()
    restore = restoring.restore

    def lose_the_connection(settings: Settings, plan: RestorePlan, deadline: Deadline) -> object:
        faults.kill_sessions(database)
        return restore(settings, plan, deadline)

    environment.setattr(restoring, "restore", lose_the_connection)
    status, record = drill()
    assert (status, record["result"]) == (0, "good")
    assert databases(database) == {database.name}


def test_a_drill_without_rights_changes_nothing(
    database: Database, rows: None, take_backup: Backup, drill: Drill
) -> None:
    """A drill whose account may not make the scratch database is status 2, and leaves nothing."""
    take_backup()
    assert drill() == (2, {})
    assert databases(database) == {database.name}


def test_a_name_too_long_for_a_scratch_database_is_misconfigured(
    database: Database, drill: Drill
) -> None:
    """A database whose name leaves no room for `_drill` is status 2, not a traceback."""
    database.environment["DB_NAME"] = "x" * 60
    assert drill() == (2, {})


def test_a_second_drill_is_kept_out(
    database: Database, rows: None, scratch: str, take_backup: Backup, drill: Drill
) -> None:
    """While another drill holds its lock, a drill is status 5."""
    take_backup()
    with database.connect() as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 0)", (scratch,))
        assert drill() == (5, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "times"),
    [
        ("CREATE TABLE", 2),
        ("(INSERT|LOAD DATA).*employees", 1),
        ("COMMIT", 1),
        ("DROP DATABASE", 2),
    ],
)
def test_a_killed_drill_is_cleared_by_the_next(
    database: Database,
    bucket: Bucket,
    rows: None,
    scratch: str,
    take_backup: Backup,
    drill: Drill,
    statement: str,
    times: int,
) -> None:
    """A drill killed at any step leaves the tables alone, and the next drill is good."""
    take_backup()
    before = checksums(database)
    script = PROJECT / "tests/support/held_load.py"
    held = subprocess.Popen(
        [sys.executable, script, statement, str(times), "drill"],
        env={**os.environ, **database.environment, **bucket.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n", held.communicate()
    held.send_signal(signal.SIGKILL)
    held.communicate()
    assert databases(database) == {database.name, scratch}
    status, record = drill()
    assert (status, record["result"]) == (0, "good")
    assert (checksums(database), databases(database)) == (before, {database.name})


@pytest.mark.slow
def test_a_drill_killed_while_it_stores_its_record(
    database: Database,
    bucket: Bucket,
    rows: None,
    scratch: str,
    take_backup: Backup,
    drill: Drill,
) -> None:
    """A drill killed once its database is dropped leaves no record; the next one is good."""
    take_backup()
    before = checksums(database)
    bucket.storage.fail("drills", action="delay", seconds=60)
    killed = subprocess.Popen(
        [sys.executable, PROJECT / "manage.py", "drill"],
        env={**os.environ, **database.environment, **bucket.environment},
        stderr=subprocess.DEVNULL,
    )
    faults.wait_until(lambda: scratch in databases(database))
    faults.wait_until(lambda: scratch not in databases(database))
    killed.kill()
    killed.wait()
    bucket.storage.heal()
    assert (checksums(database), bucket.blobs("hiring/drills/")) == (before, {})
    status, record = drill()
    assert (status, record["result"]) == (0, "good")
    assert (checksums(database), databases(database)) == (before, {database.name})


def test_what_leads_out_of_the_tables_is_left_out(
    database: Database, rows: None, scratch: str, take_backup: Backup, drill: Drill
) -> None:
    """A foreign key to a fourth table is left out on trial, and the record says so."""
    database.execute("CREATE TABLE sites (id INT UNSIGNED PRIMARY KEY)")
    database.execute("INSERT INTO sites VALUES (1)")
    database.execute("ALTER TABLE jobs ADD site INT UNSIGNED NOT NULL DEFAULT 1")
    database.execute("ALTER TABLE jobs ADD CONSTRAINT at FOREIGN KEY (site) REFERENCES sites (id)")
    take_backup()
    status, record = drill()
    assert (status, record["left_out"]) == (0, ["jobs: foreign key at"]), record


DEFAULTS = {
    "INT DEFAULT (NEXTVAL({ids})) COMMENT 'nextval(it)'": "nextval({ids})",
    "INT NOT NULL DEFAULT ((2 + NEXTVAL({ids})) * (3 + 4)) CHECK ('x' <> ',')": (
        "((2 + nextval({ids})) * (3 + 4))"
    ),
    "TEXT DEFAULT CONCAT('E-, )', NEXTVAL({ids}))": "concat('E-, )',nextval({ids}))",
    "CHAR(9) NOT NULL DEFAULT LPAD(NEXTVAL({ids}), 5, '0')": "lpad(nextval({ids}),5,'0')",
    "INT INVISIBLE DEFAULT COALESCE(LASTVAL({ids}), 1)": "coalesce(lastval({ids}),1)",
    "CHAR(9) DEFAULT CAST(NEXTVAL({ids}) AS CHAR CHARACTER SET latin1) CHECK ('x' <> ',')": (
        "(cast(nextval({ids}) as char charset latin1))"
    ),
    "TIMESTAMP NULL DEFAULT (NOW() + INTERVAL NEXTVAL({ids}) DAY) ON UPDATE NOW() COMMENT 'x'": (
        "(current_timestamp() + interval nextval({ids}) day)"
    ),
    "INT DEFAULT (NEXT VALUE FOR {ids})": "nextval({ids})",
    "INT DEFAULT (5 + 6) COMMENT 'nextval(it)'": "",
    "TEXT DEFAULT 'nextval(it)'": "",
    "TEXT DEFAULT CONCAT('nextval(', 'it)') COMMENT ' DEFAULT nextval(`it`)'": "",
}
"""Columns of MariaDB, and how it prints the defaults that open a sequence."""


def test_a_drill_opens_no_sequence_of_the_database(
    database: Database,
    rows: None,
    scratch: str,
    take_backup: Backup,
    drill: Drill,
    environment: pytest.MonkeyPatch,
) -> None:
    """A default by a sequence is left out on trial, however it stands there; others stay."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL has no sequences")
    ids = f"`{database.name}`.`the (``) ids`"
    database.execute(f"CREATE SEQUENCE {ids}")
    columns = [f"ADD `{n}` {column.format(ids=ids)}" for n, column in enumerate(DEFAULTS)]
    database.execute(f"ALTER TABLE jobs {', '.join(columns)}")
    database.execute("INSERT INTO jobs (id, job) VALUES (9, 'Cook')")
    take_backup()
    before = checksums(database)
    seen = []
    check = transaction._check_loadable

    def look(connection: Connection, *of: Any) -> None:
        """Under the locks, looks at the scratch table, and takes a value of the sequence."""
        if not of:
            seen.append(database.execute(f"SHOW CREATE TABLE {scratch}.jobs")[0][1])
            database.execute(f"SET STATEMENT lock_wait_timeout = 1 FOR SELECT NEXTVAL({ids})")
        check(connection, *of)

    environment.setattr(transaction, "_check_loadable", look)
    status, record = drill()
    values = [value.format(ids=ids) for value in DEFAULTS.values() if value]
    assert record["left_out"] == [f"jobs: default {value}" for value in values], record
    assert (status, checksums(database)) == (0, before), record
    expected = database.execute("SHOW CREATE TABLE jobs")[0][1]
    for value in values:
        expected = expected.replace(f" NOT NULL DEFAULT {value}", " NOT NULL", 1)
        expected = expected.replace(f" DEFAULT {value}", " DEFAULT NULL", 1)
    # Without the options, among which is the id of the next row.
    assert seen[-1].partition("\n)")[0] == expected.partition("\n)")[0]


def test_a_drill_drops_no_database_of_others(
    database: Database, rows: None, scratch: str, take_backup: Backup, drill: Drill
) -> None:
    """A database of the scratch's name that holds another table is refused, and stays."""
    take_backup()
    database.execute(f"CREATE DATABASE {scratch}")
    database.execute(f"CREATE TABLE {scratch}.courses (id INT)")
    try:
        assert drill() == (2, {})
        assert database.execute(f"SELECT * FROM {scratch}.courses") == []
    finally:
        database.execute(f"DROP DATABASE {scratch}")


def test_a_drill_by_a_clock_that_was_ahead_hides_no_newer_one(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """The newest drill is the one whose earlier time is last; older records are not read."""
    now = datetime.datetime.now(datetime.UTC)
    stored = {}
    for days, ahead in ((40, 30_000), (50, 20_000), (3, 0), (60, 0)):
        created = now - datetime.timedelta(days=days)
        started = created + datetime.timedelta(days=ahead)
        path = f"{started:%Y%m%dT%H%M%S.%fZ}.json"
        stored[path] = created
        times = dict.fromkeys(("taken_at", "started_at"), started.isoformat())
        record = GOOD | {"database": database.name} | times
        bucket.blob(f"hiring/drills/{path}").upload_from_string(json.dumps(record))
    files, read = CloudFolder.files, CloudFolder.read
    reads = []

    def dated(folder: CloudFolder) -> dict[str, ListedFile]:
        return {
            name: dataclasses.replace(each, created=stored[name])
            for name, each in files(folder).items()
        }

    def counted(folder: CloudFolder, name: str, listed: ListedFile) -> bytes:
        reads.append(name)
        return read(folder, name, listed)

    environment.setattr(CloudFolder, "files", dated)
    environment.setattr(CloudFolder, "read", counted)
    status, found = get(client, "/backup-data?max_drill_age_days=35")
    assert (status, found.get("age_days")) == (200, 3)
    status, answer = get(client, "/backup-data?max_drill_age_days=2")
    assert (status, "is 3.0 days old" in answer["error"]["message"]) == (503, True)
    assert len(reads) == 2


GOOD = {
    "database": "hiring",
    "taken_at": "2026-11-22T03:00:00+00:00",
    "started_at": "2026-11-23T03:00:00+00:00",
    "rows": {"departments": 1, "jobs": 0, "employees": 0},
    "result": "good",
}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, True),
        ({"result": "3 rows of jobs do not come back"}, False),
        ({"rows": {"departments": 0, "jobs": 0, "employees": 0}}, False),
        ({"taken_at": "2026-11-20T03:00:00+00:00"}, False),
        ({"taken_at": "0001-01-01T00:00:00+14:00"}, False),
        ({"started_at": "2026-11-23T03:00:00"}, False),
        ({"rows": {"departments": "many"}}, False),
        ({"rows": []}, False),
    ],
)
def test_only_a_good_drill_of_a_fresh_backup_with_rows_counts(
    change: dict[str, Any], counts: bool
) -> None:
    """A failed drill, an empty or old backup, and a record that makes no sense do not count."""
    found = newest.read_drill(json.dumps(GOOD | change).encode())
    expected = ("hiring", datetime.datetime(2026, 11, 23, 3, tzinfo=datetime.UTC))
    assert found == (expected if counts else None)
    assert newest.read_drill(b"[" * 100_000) is None
