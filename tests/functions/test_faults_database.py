"""A database that breaks at any moment gets a right answer in time, and loses no row."""

import contextlib
import dataclasses
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faults
import pymysql
import pytest
from conftest import ACCOUNT, PASSWORD, Bucket, Database, Loader, forget_settings
from faults import EMPTY, FULL, TRUNCATE
from forwarder import Forwarder
from support import count, error, get
from werkzeug.test import Client

import db
import reports
from hiring.mysql import login
from local.database import DatabaseServer
from restore.row_inserter import RowInserter

UNAVAILABLE = (503, "database_unavailable")
TIMED_OUT = (504, "timed_out")
REPORT = "/quarterly-hired"

Act = Callable[[], object]
Moment = Callable[[pytest.MonkeyPatch, Act], None]


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """A server for this module alone, so that its tests may kill it."""
    server = DatabaseServer(tmp_path_factory.mktemp("fragile"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(fragile: DatabaseServer) -> DatabaseServer:
    """The server of the fixture `database`."""
    return fragile


@pytest.fixture(autouse=True)
def rows(database: Database) -> Iterator[None]:
    """Inserts rows; afterwards restarts the server and checks for threads and connections left."""
    faults.fill(database)
    threads = faults.started_threads()
    yield
    gc.collect()
    if not database.server.is_running:
        database.server.start()
    faults.wait_until(lambda: faults.started_threads() <= threads)
    # This thread keeps one connection for reports.
    faults.wait_until(lambda: len(faults.sessions(database)) <= 1)


def slow_report(environment: pytest.MonkeyPatch) -> None:
    """Replaces a report's statement with one that takes minutes and that `running` finds."""
    statement = (
        "SELECT COUNT(SIN(a.id + b.id + c.id + d.id + e.id + f.id)) FROM employees AS a"
        + "".join(f" JOIN employees AS {name}" for name in "bcdef")
        + " WHERE %(start)s < %(end)s"
    )
    slow = dataclasses.replace(reports.QUARTERLY_HIRED, template=statement)
    environment.setattr(reports, "QUARTERLY_HIRED", slow)


@contextlib.contextmanager
def during_the_report(database: Database, act: Act) -> Iterator[None]:
    """Calls `act` in a thread once the slow report runs."""

    def wait() -> None:
        faults.wait_until(lambda: bool(running(database)))
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join(60)


def running(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(
        "SELECT id FROM information_schema.processlist"
        " WHERE info LIKE CONCAT('%COUNT(', 'SIN(%')"  # which this statement does not hold
    )


# Moments of a backup and of a truncation


def as_it_begins(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.at_event(environment, act, "backup started")


def between_two_tables(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.at_event(environment, act, "rows stored", object="jobs.avro")


def before_the_reports(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.at_event(environment, act, "rows stored", object="employees.avro")


MOMENTS = [
    faults.in_the_rows,
    *(
        pytest.param(moment, marks=[pytest.mark.slow, pytest.mark.once])
        for moment in (as_it_begins, between_two_tables, before_the_reports)
    ),
]


def under_the_locks(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.at_event(environment, act, "tables locked")


def after_employees(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.after_emptying(environment, act, "employees", "jobs")


def after_jobs(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.after_emptying(environment, act, "jobs", "departments")


# Killed


@pytest.mark.parametrize(
    "end", ["kill", pytest.param("stop", marks=[pytest.mark.slow, pytest.mark.once])]
)
def test_the_server_ends_during_a_report(
    client: Client, database: Database, environment: pytest.MonkeyPatch, end: str
) -> None:
    """A report whose server is killed or shut down is 503; after a restart, reports succeed."""
    with environment.context() as slow:
        slow_report(slow)
        with during_the_report(database, getattr(database.server, end)):
            assert error(client, REPORT) == UNAVAILABLE
    database.server.start()
    assert client.get(REPORT).status_code == 200


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_server_is_killed_during_a_backup(
    client: Client,
    database: Database,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    moment: Moment,
) -> None:
    """A backup whose server is killed is 503 and leaves no object; the next backup is whole."""
    with environment.context() as patch:
        moment(patch, database.server.kill)
        assert error(client, "/backup-data") == UNAVAILABLE
    assert bucket.blobs() == {}
    database.server.start()
    status, answer = get(client, "/backup-data")
    assert status == 200
    faults.check_whole(bucket, answer)


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        (under_the_locks, FULL),
        (after_employees, FULL | {"employees": 0}),
        pytest.param(
            after_jobs,
            FULL | {"employees": 0, "jobs": 0},
            marks=[pytest.mark.slow, pytest.mark.once],
        ),
    ],
)
def test_the_server_is_killed_during_a_truncation(
    client: Client,
    database: Database,
    environment: pytest.MonkeyPatch,
    moment: Moment,
    left: dict[str, int],
) -> None:
    """A kill is 503 before the first table is empty and 500 after it; the next call empties all."""
    with environment.context() as patch:
        moment(patch, database.server.kill)
        expected = UNAVAILABLE if left == FULL else (500, "partly_emptied")
        assert error(client, TRUNCATE) == expected
    database.server.start()
    assert count(database) == left
    assert get(client, TRUNCATE) == (200, {"dry_run": False, "rows": left})
    assert count(database) == EMPTY


def test_the_server_is_killed_between_backup_and_truncation(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """A kill between the backup and the truncation is 503; backup and rows are all there."""
    with environment.context() as patch:
        faults.at_event(patch, database.server.kill, "backup stored")
        assert error(client, f"{TRUNCATE}?backup_first=true") == UNAVAILABLE
    database.server.start()
    assert count(database) == FULL
    assert len(faults.manifests(bucket)) == 1


@pytest.mark.slow
def test_the_server_is_killed_during_a_load(
    client: Client,
    database: Database,
    environment: pytest.MonkeyPatch,
    take_backup: Callable[[], dict[str, Any]],
    run_restore: Loader,
) -> None:
    """A load whose server is killed has exit status 5 and changes no row; the next one succeeds."""
    backup = take_backup()["backup"]
    insert = RowInserter.insert_statement

    def killing(inserter: RowInserter, statement: bytes) -> None:
        insert(inserter, statement)
        database.server.kill()

    with environment.context() as patch:
        patch.setattr(RowInserter, "insert_statement", killing)
        assert run_restore(backup, "--replace").status == 5
    database.server.start()
    assert count(database) == FULL
    assert run_restore(backup, "--replace").status == 0
    assert count(database) == FULL


# A failover


def test_a_backup_waits_for_a_server_that_fails_over(
    client: Client,
    database: Database,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A backup tries to connect for a minute; a report, a truncation and a dry run fail at once."""
    environment.setattr(db, "BACKUP_CONNECT_SECONDS", 60)
    environment.setattr(db, "PAUSE_SECONDS", 0.2)
    database.server.kill()
    for url in (REPORT, TRUNCATE, "/backup-data?dry_run=true"):
        with within(2):
            assert error(client, url) == UNAVAILABLE
    backed_up = threading.Event()

    def fail_over() -> None:
        time.sleep(1)
        database.server.start()
        backed_up.wait(60)  # the server ends with the thread that started it
        database.server.stop()

    failover = threading.Thread(target=fail_over)
    failover.start()
    capsys.readouterr()
    status, answer = get(client, "/backup-data")
    backed_up.set()
    failover.join()
    assert status == 200
    faults.check_whole(bucket, answer)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    reasons = [line["reason"] for line in told if line["message"] == "connecting again"]
    assert len(reasons) == len(set(reasons)) > 0


def test_a_backup_does_not_wait_where_waiting_does_not_help(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A refused login is tried no more often, and no time is left for waiting in a short limit."""
    environment.setattr(db, "BACKUP_CONNECT_SECONDS", 60)
    environment.setenv("DB_PASS", "wrong")
    with within(2):
        assert error(client, "/backup-data") == UNAVAILABLE
    forget_settings()
    environment.setenv("DB_SOCKET", "/no/such/socket")
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "31")
    with within(2):
        assert error(client, "/backup-data") == UNAVAILABLE


# An administrator


@pytest.mark.parametrize("what", ["CONNECTION", "QUERY"])
def test_an_administrator_stops_a_report(
    client: Client, database: Database, environment: pytest.MonkeyPatch, what: str
) -> None:
    """A report stopped by KILL or KILL QUERY is 503 and no longer runs on the server."""
    slow_report(environment)
    with during_the_report(database, lambda: faults.kill_sessions(database, what)):
        assert error(client, REPORT) == UNAVAILABLE
    faults.wait_until(lambda: running(database) == [])


def test_an_administrator_ends_a_backup(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """A backup ended by KILL is 503 and leaves no object."""
    faults.in_the_rows(environment, lambda: faults.kill_sessions(database))
    assert error(client, "/backup-data") == UNAVAILABLE
    assert bucket.blobs() == {}


@pytest.mark.parametrize("what", ["CONNECTION", "QUERY"])
def test_an_administrator_ends_a_truncation(
    client: Client, database: Database, environment: pytest.MonkeyPatch, what: str
) -> None:
    """A truncation that KILL or KILL QUERY hits under its locks is whole, or 503 with all rows."""
    under_the_locks(environment, lambda: faults.kill_sessions(database, what))
    if what == "CONNECTION":
        assert error(client, TRUNCATE) == UNAVAILABLE
        assert count(database) == FULL
    else:
        status, _ = get(client, TRUNCATE)
        assert (status, count(database)) in [(200, EMPTY), (503, FULL)]


def check_read_only(client: Client, database: Database) -> None:
    """Checks that reports and backups work, and that a truncation is 500 and keeps every row."""
    assert client.get(REPORT).status_code == 200
    assert get(client, "/backup-data")[0] == 200
    assert error(client, TRUNCATE) == (500, "misconfigured")
    assert count(database) == FULL


def test_a_read_only_server_still_answers_reports(client: Client, database: Database) -> None:
    """A read-only server, such as a replica, still answers reports and takes backups."""
    database.execute("SET GLOBAL read_only = 1")
    try:
        check_read_only(client, database)
    finally:
        database.execute("SET GLOBAL read_only = 0")


def test_a_read_only_database_still_answers_reports(client: Client, database: Database) -> None:
    """A read-only database still answers reports and takes backups; a truncation is 500."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB has no read only databases")
    database.execute(f"ALTER SCHEMA {database.name} READ ONLY = 1")
    try:
        check_read_only(client, database)
    finally:
        database.execute(f"ALTER SCHEMA {database.name} READ ONLY = 0")


def test_read_only_tables_still_answer_reports(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A server started on read-only files still answers reports and takes backups."""
    database.server.stop()
    read_only = DatabaseServer(database.server.folder, options=["--innodb-read-only"])
    read_only.start()
    try:
        environment.setenv("DB_SOCKET", str(read_only.socket))
        check_read_only(client, Database(read_only, database.name))
    finally:
        read_only.stop()


# Limits


def test_the_servers_connections_are_used_up(client: Client, database: Database) -> None:
    """A server without free connections is 503 with Retry-After, until one is free again."""
    ((limit,),) = database.execute("SELECT @@max_connections")
    database.execute("SET GLOBAL max_connections = 10")
    others: list[Any] = []
    try:
        with contextlib.suppress(pymysql.err.OperationalError):
            while len(others) < limit:
                others.append(database.connect(user=ACCOUNT, password=PASSWORD))
        assert 0 < len(others) < limit
        response = client.get(REPORT)
        assert response.headers["Retry-After"] == "10"
        for url in (REPORT, "/backup-data", TRUNCATE):
            status, answer = get(client, url)
            assert (status, answer["error"]["message"]) == (
                503,
                "the database server is not available: it has too many connections",
            )
    finally:
        for other in others:
            other.close()
        database.execute(f"SET GLOBAL max_connections = {limit}")
    faults.wait_until(lambda: client.get(REPORT).status_code == 200)
    assert count(database) == FULL


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("MAX_USER_CONNECTIONS 1", "DB_USER has used up a resource limit"),
        ("MAX_QUERIES_PER_HOUR 4", "DB_USER has used up a resource limit"),
    ],
)
def test_the_accounts_limits_are_used_up(
    client: Client, database: Database, limit: str, message: str
) -> None:
    """An account that used up its own limits is 503 with the reason and loses no row."""
    database.execute(f"ALTER USER {ACCOUNT} WITH {limit}")
    with database.connect(user=ACCOUNT, password=PASSWORD):
        for url in ("/backup-data", TRUNCATE):
            status, answer = get(client, url)
            assert (status, answer["error"]["message"]) == (
                503,
                f"the database server is not available: {message}",
            )
    assert count(database) == FULL


def test_the_servers_limit_for_each_account_is_used_up(client: Client, database: Database) -> None:
    """An account at the server's limit of connections for each account is 503 with the reason."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB takes this limit at its start only")
    with database.connect() as administrator, administrator.cursor() as cursor:
        cursor.execute("SET GLOBAL max_user_connections = 1")
        try:
            with database.connect(user=ACCOUNT, password=PASSWORD):
                status, answer = get(client, REPORT)
        finally:
            cursor.execute("SET GLOBAL max_user_connections = 0")
    assert (status, answer["error"]["message"]) == (
        503,
        "the database server is not available: DB_USER has too many connections",
    )


# A stalled network


@pytest.fixture
def network(
    tmp_path: Path, database: Database, environment: pytest.MonkeyPatch, client: Client
) -> Iterator[Forwarder]:
    """A network between the functions and their server; connecting times out after a second."""
    network = Forwarder(tmp_path / "network", database.server.port)
    environment.setenv("DB_SOCKET", str(tmp_path / "network"))
    environment.setattr(login, "CONNECT_SECONDS", 1)
    yield network
    network.close()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@pytest.mark.parametrize("url", [REPORT, "/backup-data", TRUNCATE])
def test_a_network_that_stalls_before_the_login(
    client: Client, network: Forwarder, url: str
) -> None:
    """A network that stalls before the login is 503 once the time for connecting is over."""
    network.stall()
    with within(4):
        assert error(client, url) == UNAVAILABLE


def test_a_network_that_stalls_between_two_reports(client: Client, network: Forwarder) -> None:
    """A report that finds its kept connection stalled is 503 within seconds."""
    assert client.get(REPORT).status_code == 200
    network.stall()
    with within(5):
        assert error(client, REPORT) == UNAVAILABLE


def test_a_network_that_stalls_in_a_report(
    client: Client, network: Forwarder, environment: pytest.MonkeyPatch
) -> None:
    """A network that stalls in a report is 504 at the report's limit."""
    environment.setattr(db, "REPORT_SECONDS", 1)
    run = reports.run

    def stalled(*arguments: Any, **options: Any) -> Any:
        network.stall()
        return run(*arguments, **options)

    environment.setattr(reports, "run", stalled)
    with within(5):
        assert error(client, REPORT) == TIMED_OUT


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_network_that_stalls_in_a_backup(
    client: Client,
    network: Forwarder,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    moment: Moment,
) -> None:
    """A network that stalls in a backup is 504 at the function's limit and leaves no object."""
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "33")
    moment(environment, network.stall)
    with within(3 + 3):
        assert error(client, "/backup-data") == TIMED_OUT
    assert bucket.blobs() == {}


@pytest.mark.slow
def test_a_stall_late_in_a_truncation_does_not_outlast_the_limit(
    client: Client, network: Forwarder, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A truncation's limit counts from the request, even if the network stalls late."""
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "34")

    def late() -> None:
        time.sleep(2.5)
        network.stall()

    under_the_locks(environment, late)
    with within(4 + 1.5):
        assert error(client, TRUNCATE) == TIMED_OUT


def test_a_network_that_stalls_under_the_locks(
    client: Client, network: Forwarder, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A network that stalls under the locks is 504; the server frees the tables, with all rows."""
    environment.setitem(db.LOCK_LIMITS, "wait_timeout", 2)
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "32")
    under_the_locks(environment, network.stall)
    assert error(client, TRUNCATE) == TIMED_OUT
    # The network still stalls: the server does not know that the client gave up.
    with within(5):
        database.execute("INSERT INTO jobs VALUES (2, 'Manager')")
    assert count(database) == FULL | {"jobs": 2}


def test_a_lost_backup_blocks_alter_table_only_for_a_while(
    client: Client, network: Forwarder, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """The server ends an idle snapshot, so that ALTER TABLE no longer waits for it."""
    assert db.SNAPSHOT_LIMITS["wait_timeout"] == 600
    environment.setitem(db.SNAPSHOT_LIMITS, "wait_timeout", 2)
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "32")
    between_two_tables(environment, network.stall)
    assert error(client, "/backup-data") == TIMED_OUT
    with within(5):
        database.execute("ALTER TABLE jobs ADD extra INT NULL")


# A network that drips


@pytest.mark.parametrize("url", [REPORT, "/backup-data", TRUNCATE])
def test_a_network_that_drips_before_the_login(
    client: Client, network: Forwarder, url: str
) -> None:
    """A login at ten bytes a second is 503 once the time for connecting is over."""
    network.bytes_per_second = 10
    with within(6):
        assert error(client, url) == UNAVAILABLE


def test_a_network_that_drips_in_a_report(
    client: Client, network: Forwarder, environment: pytest.MonkeyPatch
) -> None:
    """A report at ten bytes a second is 504 at its limit, although no read times out."""
    environment.setattr(db, "REPORT_SECONDS", 1)
    run = reports.run

    def dripping(*arguments: Any, **options: Any) -> Any:
        network.bytes_per_second = 10
        return run(*arguments, **options)

    environment.setattr(reports, "run", dripping)
    with within(6):
        assert error(client, REPORT) == TIMED_OUT
