"""A truncation empties all tables or none, and with `backup_first` no row is lost."""

import functools
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import faults
import pymysql
import pytest
import stored_backup
from conftest import ACCOUNT, PROJECT, Bucket, Database, Loader
from support import count, for_all_sessions, get
from werkzeug.test import Client

import db
import truncation
from hiring.deadline import Deadline
from hiring.mysql import login, packets
from hiring.mysql.statements import keep_alive, select
from hiring.settings import read_settings
from hiring.tables import TABLES

TRUNCATE = "/truncate-tables"
FULL = {"departments": 1, "jobs": 1, "employees": 2}
EMPTY = dict.fromkeys(FULL, 0)


@pytest.fixture(autouse=True)
def rows(database: Database) -> None:
    """Inserts a few rows into each table."""
    database.insert("departments", [(5, "Sales")])
    database.insert("jobs", [(6, "Clerk")])
    database.insert("employees", [(n, "Ada", "2021-02-03 04:05:06", 5, 6) for n in (7, 8)])


def refused(client: Client, database: Database, code: str, words: str) -> None:
    """Checks that a truncation and its dry run are refused, and that every row stays."""
    before = count(database)
    for url in (TRUNCATE, f"{TRUNCATE}?dry_run=true", f"{TRUNCATE}?backup_first=true"):
        status, answer = get(client, url)
        assert (status, answer["error"]["code"]) == (500, code)
        assert words in answer["error"]["message"]
        assert count(database) == before


def test_truncation_empties_and_starts_ids_again(client: Client, database: Database) -> None:
    """A truncation leaves three empty tables whose next id is 1."""
    assert get(client, TRUNCATE) == (200, {"dry_run": False, "rows": FULL})
    assert count(database) == EMPTY
    database.execute("INSERT INTO departments (department) VALUES ('new')")
    database.execute("INSERT INTO jobs (job) VALUES ('new')")
    database.execute(
        "INSERT INTO employees (name, datetime, department_id, job_id)"
        " VALUES ('new', '2021-01-01', 1, 1)"
    )
    assert database.execute("SELECT id FROM employees") == [(1,)]


def test_backup_first_stores_what_it_truncates(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """`backup_first=true` answers the manifest of a backup that holds every truncated row."""
    status, answer = get(client, f"{TRUNCATE}?backup_first=true")
    assert (status, answer["rows"], count(database)) == (200, FULL, EMPTY)
    for table, rows in FULL.items():
        assert len(stored_backup.records(bucket, answer["backup"], table)) == rows


def test_a_failed_backup_truncates_nothing(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A `backup_first` truncation whose backup fails keeps every row."""
    environment.setenv("GCS_PATH", "no-such-bucket")
    status, answer = get(client, f"{TRUNCATE}?backup_first=true")
    assert (status, answer["error"]["code"]) == (502, "storage_failed")
    assert count(database) == FULL


def test_a_backup_with_fewer_rows_truncates_nothing(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A `backup_first` truncation whose backup lacks rows is 500 and keeps every row."""
    read = packets.read_rows
    environment.setattr(
        packets, "read_rows", lambda *arguments: itertools.islice(read(*arguments), 0)
    )
    assert get(client, f"{TRUNCATE}?backup_first=true")[0] == 500
    assert count(database) == FULL


FOR_ALL_SESSIONS = {
    "sql_select_limit": 1,
    "sql_safe_updates": 1,
    "sql_quote_show_create": 0,
    "max_join_size": 1,
    "completion_type": 2,
    "autocommit": 0,
}


@pytest.fixture
def hostile_server(database: Database) -> Iterator[None]:
    """Sets global defaults that would cut off results and keep transactions open."""
    with database.connect() as administrator, administrator.cursor() as cursor:
        names = ", ".join(f"@@GLOBAL.{name}" for name in FOR_ALL_SESSIONS)
        cursor.execute(f"SELECT {names}")
        before = dict(zip(FOR_ALL_SESSIONS, cursor.fetchone(), strict=True))
        for values in (FOR_ALL_SESSIONS, before):
            for name, value in values.items():
                cursor.execute(f"SET GLOBAL {name} = %s", (value,))
            if values is FOR_ALL_SESSIONS:
                yield


def test_global_defaults_cost_no_row(
    client: Client, database: Database, bucket: Bucket, hostile_server: None, run_restore: Loader
) -> None:
    """Hostile global defaults cost no row of a report, backup, truncation or restore."""
    assert len(client.get("/quarterly-hired?format=json").get_json()) == 1
    status, answer = get(client, f"{TRUNCATE}?backup_first=true")
    assert (status, answer["rows"]) == (200, FULL)
    assert len(stored_backup.records(bucket, answer["backup"], "employees")) == FULL["employees"]
    for options in ([], ["--replace"]):
        assert run_restore(answer["backup"]["backup"], *options).status == 0
    assert get(client, f"{TRUNCATE}?dry_run=true")[1]["rows"] == FULL


def test_a_column_that_the_account_may_not_read(client: Client, database: Database) -> None:
    """A column that the account may not read makes backup and truncation 500; every row stays."""
    database.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {ACCOUNT}")
    database.execute(f"GRANT DROP, LOCK TABLES ON {database.name}.* TO {ACCOUNT}")
    database.execute(f"GRANT REFERENCES ON *.* TO {ACCOUNT}")
    for table, columns in {"departments": "id", "jobs": "id, job", "employees": "id, name"}.items():
        database.execute(f"GRANT SELECT ({columns}) ON {database.name}.{table} TO {ACCOUNT}")
    for url in ("/backup-data", f"{TRUNCATE}?backup_first=true"):
        status, answer = get(client, url)
        assert (status, answer["error"]["code"]) == (500, "misconfigured")
    assert count(database) == FULL


def test_a_merge_table_in_the_place_of_a_table(client: Client, database: Database) -> None:
    """A MERGE table is refused, because its rows belong to other tables."""
    database.execute("CREATE TABLE behind (id INT, job VARCHAR(255)) ENGINE = MyISAM")
    database.execute("INSERT INTO behind VALUES (1, 'Clerk')")
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_job")
    database.execute("DROP TABLE jobs")
    try:
        database.execute(
            "CREATE TABLE jobs (id INT, job VARCHAR(255)) ENGINE = MERGE UNION = (behind)"
        )
    except pymysql.err.Error as error:
        pytest.skip(f"not on this server: {error}")
    refused(client, database, "misconfigured", "jobs is a MERGE table")
    assert database.execute("SELECT COUNT(*) FROM behind") == [(1,)]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_a_fourth_table_that_refers_to_the_three(
    client: Client, database: Database, table: str, elsewhere: bool
) -> None:
    """A foreign key from a fourth table in any database stops the truncation."""
    other = f"{database.name}_other" if elsewhere else database.name
    if elsewhere:
        database.execute(f"CREATE DATABASE {other}")
    try:
        database.execute(
            f"CREATE TABLE {other}.badges (id INT UNSIGNED, CONSTRAINT badge"
            f" FOREIGN KEY (id) REFERENCES {database.name}.{table} (id))"
        )
        refused(client, database, "misconfigured", f"{other}.badges would be orphaned")
    finally:
        database.execute(f"DROP TABLE IF EXISTS {other}.badges")
        if elsewhere:
            database.execute(f"DROP DATABASE {other}")


NOT_SEEN = "DB_USER may not see every foreign key that refers to the tables"


@pytest.mark.parametrize("grants", ["", "SELECT, DROP", "REFERENCES (id)"])
def test_foreign_keys_that_the_account_cannot_see(
    client: Client, database: Database, grants: str
) -> None:
    """Without REFERENCES on everything a truncation is refused, since tables may refer unseen."""
    database.execute(f"REVOKE REFERENCES ON *.* FROM {ACCOUNT}")
    if grants:
        where = "*.*" if "(" not in grants else f"{database.name}.jobs"
        database.execute(f"GRANT {grants} ON {where} TO {ACCOUNT}")
    message = f"{NOT_SEEN}; an administrator can GRANT REFERENCES ON *.* to it"
    refused(client, database, "misconfigured", message)


def test_a_right_that_is_revoked_in_one_schema(client: Client, database: Database) -> None:
    """A partial revoke hides foreign keys, unless it is for a schema of the server itself."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB has no partial revokes")
    database.execute("SET GLOBAL partial_revokes = ON")
    other = f"{database.name}_other"
    try:
        # Without wildcards now, as in the grant of `create_account`.
        database.execute(f"GRANT ALL ON {database.name}.* TO {ACCOUNT}")
        database.execute(f"REVOKE REFERENCES ON mysql.* FROM {ACCOUNT}")
        assert get(client, f"{TRUNCATE}?dry_run=true")[0] == 200
        database.execute(f"CREATE DATABASE {other}")
        database.execute(f"REVOKE REFERENCES ON {other}.* FROM {ACCOUNT}")
        message = f"{NOT_SEEN}; an administrator can GRANT REFERENCES ON `{other}`.* to it"
        refused(client, database, "misconfigured", message)
    finally:
        database.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {ACCOUNT}")
        database.execute("SET GLOBAL partial_revokes = OFF")
        database.execute(f"DROP DATABASE IF EXISTS {other}")


@pytest.mark.parametrize("table", TABLES)
def test_a_temporary_table_in_the_way(
    client: Client, database: Database, run_restore: Loader, take_backup: Any, table: str
) -> None:
    """A temporary table that hides one of the three stops all functions and a restore."""
    backup = take_backup()["backup"]
    with for_all_sessions(
        database,
        "init_connect",
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {database.name}.{table} (id INT)",
    ):
        message = f"a temporary table hides {table} from DB_USER"
        refused(client, database, "misconfigured", message)
        for url in ("/quarterly-hired", "/hiring-by-department", "/backup-data"):
            status, answer = get(client, url)
            assert (status, answer["error"]["code"]) == (500, "misconfigured")
            assert message in answer["error"]["message"]
        loaded = run_restore(backup, "--replace")
    assert loaded.status == 2
    assert message in loaded.error
    assert count(database) == FULL


@pytest.mark.parametrize("table", TABLES)
def test_a_view_in_the_place_of_a_table(client: Client, database: Database, table: str) -> None:
    """A view in the place of a table stops a truncation and a backup."""
    database.execute(f"RENAME TABLE {table} TO real_{table}")
    database.execute(f"CREATE VIEW {table} AS SELECT * FROM real_{table}")
    refused(client, database, "misconfigured", f"{table} is not a base table but a VIEW")
    status, answer = get(client, "/backup-data")
    assert (status, answer["error"]["code"]) == (500, "misconfigured")


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_table_is_named(client: Client, database: Database, table: str) -> None:
    """A missing table is named by a truncation and a backup; the other tables keep their rows."""
    database.execute(f"RENAME TABLE {table} TO elsewhere")
    for url in (TRUNCATE, "/backup-data"):
        status, answer = get(client, url)
        assert (status, answer["error"]["code"]) == (500, "misconfigured")
        assert table in answer["error"]["message"]
    left = {name: n for name, n in FULL.items() if name != table}
    for name, rows in left.items():
        assert database.execute(f"SELECT COUNT(*) FROM {name}") == [(rows,)]


@pytest.mark.parametrize("missing", TABLES)
@pytest.mark.parametrize("through_role", [False, True])
def test_an_account_that_may_not_drop_one_table(
    client: Client, database: Database, missing: str, through_role: bool
) -> None:
    """A truncation needs DROP on each table, directly or through a role; else all rows stay."""
    database.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {ACCOUNT}")
    database.execute(f"GRANT SELECT, LOCK TABLES ON {database.name}.* TO {ACCOUNT}")
    role = f"{database.name}_role"[-30:]
    grantee = role if through_role else ACCOUNT
    database.execute(f"CREATE ROLE {role}")
    try:
        if through_role:
            database.execute(f"GRANT {role} TO {ACCOUNT}")
            words = (
                f"{role} FOR {ACCOUNT}" if database.server.is_mariadb else f"{role} TO {ACCOUNT}"
            )
            database.execute(f"SET DEFAULT ROLE {words}")
        database.execute(f"GRANT REFERENCES ON *.* TO {grantee}")
        for table in TABLES:
            if table != missing:
                database.execute(f"GRANT DROP ON {database.name}.{table} TO {grantee}")
        refused(client, database, "misconfigured", missing)
        database.execute(f"GRANT DROP ON {database.name}.{missing} TO {grantee}")
        assert get(client, TRUNCATE) == (200, {"dry_run": False, "rows": FULL})
        assert count(database) == EMPTY
    finally:
        database.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("table", TABLES)
def test_a_truncation_waits_for_seconds_only(
    client: Client, database: Database, table: str, environment: pytest.MonkeyPatch
) -> None:
    """An open transaction on one table makes a truncation 409 within seconds; every row stays."""
    environment.setattr(login, "LOCK_WAIT_SECONDS", 1)
    with database.connect() as other:
        other.begin()
        other.cursor().execute(f"UPDATE {table} SET id = id")
        started = time.monotonic()
        status, answer = get(client, TRUNCATE)
        assert (status, answer["error"]["code"]) == (409, "busy")
        assert time.monotonic() - started < 5
        other.rollback()
    assert count(database) == FULL


def test_a_dry_run_blocks_no_writer_while_it_counts(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """Writers do not wait until a dry run has counted the rows."""
    count_rows = db.count_rows

    def insert_and_count(connection: Any) -> dict[str, int]:
        with database.connect(init_command="SET lock_wait_timeout = 1") as other:
            other.cursor().execute("INSERT INTO departments VALUES (9, 'New')")
        return count_rows(connection)

    environment.setattr(db, "count_rows", insert_and_count)
    status, answer = get(client, f"{TRUNCATE}?dry_run=true")
    assert (status, answer["rows"]) == (200, FULL | {"departments": 2})


class Paused:
    """A request in another thread that pauses before it stores the reports."""

    def __init__(self, environment: pytest.MonkeyPatch, request: Callable[[], Any]) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.answer: Any = None
        import backup

        store_reports = backup.store_reports

        def pause(*arguments: Any) -> Any:
            self.reached.set()
            assert self.go_on.wait(30)
            return store_reports(*arguments)

        environment.setattr(backup, "store_reports", pause)

        def run() -> None:
            self.answer = request()

        self._thread = threading.Thread(target=run)

    def __enter__(self) -> "Paused":
        self._thread.start()
        assert self.reached.wait(30)
        return self

    def __exit__(self, *error: object) -> None:
        self.go_on.set()
        self._thread.join(30)


def test_a_truncation_during_a_backup(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """A truncation during a backup is 409 within seconds; the rows stay and the backup is whole."""
    with Paused(environment, lambda: get(client, "/backup-data")) as backup:
        started = time.monotonic()
        status, answer = get(client, TRUNCATE)
        assert (status, answer["error"]["code"]) == (409, "busy")
        assert time.monotonic() - started < 10
        assert get(client, f"{TRUNCATE}?dry_run=true")[0] == 200
    status, answer = backup.answer
    assert (status, count(database)) == (200, FULL)
    assert len(stored_backup.records(bucket, answer, "employees")) == 2


def test_a_backup_during_a_truncation(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A backup or report during a truncation is 409 within seconds; the truncation succeeds."""
    environment.setattr(login, "LOCK_WAIT_SECONDS", 1)
    with Paused(environment, lambda: get(client, f"{TRUNCATE}?backup_first=true")) as truncation:
        for url in ("/backup-data", "/quarterly-hired", TRUNCATE):
            started = time.monotonic()
            status, answer = get(client, url)
            assert (status, answer["error"]["code"]) == (409, "busy")
            assert time.monotonic() - started < 10
    assert (truncation.answer[0], count(database)) == (200, EMPTY)


def test_no_row_is_lost_between_backup_and_truncation(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """Beside a steady writer, the backups' rows and the rows left are all rows ever inserted."""
    inserted = 2
    stop = threading.Event()

    def write() -> None:
        nonlocal inserted
        with database.connect(autocommit=True) as connection:
            cursor = connection.cursor()
            cursor.execute("SET foreign_key_checks = 0")
            while not stop.is_set():
                cursor.execute(
                    "INSERT INTO employees (name, datetime, department_id, job_id)"
                    " VALUES ('x', '2021-01-01', 5, 6)"
                )
                inserted += 1

    writer = threading.Thread(target=write)
    writer.start()
    saved = 0
    try:
        for _ in range(5):
            time.sleep(0.2)
            status, answer = get(client, f"{TRUNCATE}?backup_first=true")
            assert status == 200, answer
            found = len(stored_backup.records(bucket, answer["backup"], "employees"))
            assert found == answer["rows"]["employees"]
            saved += found
    finally:
        stop.set()
        writer.join(30)
    assert saved + count(database)["employees"] == inserted
    assert saved > 100


# Half way


def test_no_deadline_stops_a_truncation_half_way(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A truncation finishes even if its deadline passes after the first table is empty."""
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "32")
    faults.at_event(environment, lambda: time.sleep(2.5), "table emptied", table="employees")
    assert get(client, TRUNCATE) == (200, {"dry_run": False, "rows": FULL})
    assert count(database) == EMPTY


@pytest.mark.parametrize(
    ("emptied", "empty", "full"),
    [
        ("employees", "employees", "jobs, departments"),
        ("jobs", "employees, jobs", "departments"),
    ],
)
def test_a_truncation_that_fails_half_way_says_so(
    client: Client,
    database: Database,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    emptied: str,
    empty: str,
    full: str,
) -> None:
    """A truncation that fails half way is 500 and names empty tables, full ones and the backup."""
    kill = functools.partial(faults.kill_sessions, database)
    faults.after_emptying(environment, kill, emptied, full.split(",")[0])
    status, answer = get(client, f"{TRUNCATE}?backup_first=true")
    (manifest,) = faults.manifests(bucket)
    backup = f"gs://{bucket.name}/{manifest.removesuffix('manifest.json')}"
    assert (status, answer["error"]) == (
        500,
        {
            "code": "partly_emptied",
            "message": (
                f"the truncation failed half way; empty: {empty}; still full: {full};"
                f" all rows are in the backup {backup}"
            ),
        },
    )
    assert count(database) == FULL | dict.fromkeys(empty.split(", "), 0)


def test_a_truncation_is_finished_although_its_process_is_killed(database: Database) -> None:
    """A process that is killed when the first table is empty leaves three empty tables."""
    killed = subprocess.run(
        [sys.executable, PROJECT / "tests/support/killed_truncation.py"],
        env={**os.environ, **database.environment},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    faults.wait_until(lambda: not faults.sessions(database))
    assert count(database) == EMPTY


def test_a_connection_lost_after_the_last_table_is_no_failure(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A truncation that loses its connection after the last table is empty succeeds."""
    faults.at_event(
        environment, lambda: faults.kill_sessions(database), "table emptied", table="departments"
    )
    assert get(client, TRUNCATE) == (200, {"dry_run": False, "rows": FULL})
    assert count(database) == EMPTY


@pytest.mark.slow
def test_a_prepared_transaction_without_a_session(client: Client, database: Database) -> None:
    """A prepared XA transaction without a session makes a truncation 409; every row stays."""
    with database.connect() as other, other.cursor() as cursor:
        cursor.execute("XA START 'lost'")
        cursor.execute("UPDATE jobs SET job = 'changed'")
        cursor.execute("XA END 'lost'")
        cursor.execute("XA PREPARE 'lost'")
    try:
        for url in (f"{TRUNCATE}?dry_run=true", TRUNCATE):
            status, answer = get(client, url)
            assert (status, answer["error"]["code"]) == (409, "busy")
    finally:
        database.execute("XA ROLLBACK 'lost'")
    assert count(database) == FULL


def test_compressed_tables_that_the_server_keeps_read_only(
    client: Client, database: Database
) -> None:
    """A compressed table under innodb_read_only_compressed is named, and every row stays."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL has no innodb_read_only_compressed")
    database.execute("SET GLOBAL innodb_read_only_compressed = OFF")
    database.execute("ALTER TABLE jobs ROW_FORMAT = COMPRESSED")
    database.execute("SET GLOBAL innodb_read_only_compressed = ON")
    try:
        refused(client, database, "misconfigured", "table jobs is compressed")
    finally:
        database.execute("SET GLOBAL innodb_read_only_compressed = OFF")


FOREIGN_KEYS = [
    ["departments ADD head INT UNSIGNED, ADD FOREIGN KEY (head) REFERENCES employees (id)"],
    ["employees ADD boss INT UNSIGNED, ADD FOREIGN KEY (boss) REFERENCES employees (id)"],
    [
        "departments ADD head INT UNSIGNED, ADD FOREIGN KEY (head) REFERENCES employees (id)",
        "jobs ADD best INT UNSIGNED, ADD FOREIGN KEY (best) REFERENCES employees (id)",
        "departments ADD main INT UNSIGNED, ADD FOREIGN KEY (main) REFERENCES jobs (id)",
        "jobs ADD home INT UNSIGNED, ADD FOREIGN KEY (home) REFERENCES departments (id)",
    ],
]


@pytest.mark.parametrize("changes", FOREIGN_KEYS, ids=["backwards", "to itself", "cycles"])
def test_foreign_keys_among_the_three(
    client: Client, database: Database, bucket: Bucket, changes: list[str]
) -> None:
    """Foreign keys among the three tables in any direction do not stop a truncation."""
    for change in changes:
        database.execute(f"ALTER TABLE {change}")
    assert get(client, f"{TRUNCATE}?dry_run=true") == (200, {"dry_run": True, "rows": FULL})
    assert get(client, f"{TRUNCATE}?backup_first=true")[0] == 200
    assert count(database) == EMPTY


def test_a_backup_that_could_not_be_loaded_truncates_nothing(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """`backup_first` refuses a table of another engine, because a restore could not fill it."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_job")
    database.execute("ALTER TABLE jobs ENGINE = MyISAM")
    status, answer = get(client, f"{TRUNCATE}?backup_first=true")
    assert (status, answer["error"]["code"]) == (500, "misconfigured")
    assert answer["error"]["message"].startswith("table jobs is not InnoDB but MyISAM")
    assert (count(database), bucket.blobs()) == (FULL, {})


def test_a_lost_client_holds_the_locks_for_a_minute(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """The session that holds the locks has an idle limit of one minute."""
    seen: list[Any] = []
    environment.setattr(
        truncation,
        "_empty",
        lambda _, connection, *__: seen.extend(select(connection, "SELECT @@wait_timeout")),
    )
    assert get(client, TRUNCATE)[0] == 200
    assert seen == [(60,)]


def test_the_locks_are_kept_alive(database: Database) -> None:
    """A session that `keep_alive` pings outlives its idle limit, and ends once the pings stop."""
    settings = read_settings(database.environment)
    connection = login.connect(settings, Deadline(10), wait_timeout=1)
    for _ in range(10):
        time.sleep(0.25)
        keep_alive(connection)
    assert select(connection, "SELECT 1") == [(1,)]
    time.sleep(2.5)
    with pytest.raises(pymysql.err.Error):
        select(connection, "SELECT 1")
