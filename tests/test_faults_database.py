"""The database breaks: at whatever moment, the answer is right and in time, and nothing is lost."""

import contextlib
import dataclasses
import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faults
import pymysql
import pytest
from conftest import ACCOUNT, PASSWORD, Bucket, Database, Loader
from faults import EMPTY, FULL, TRUNCATE
from forwarder import Forwarder
from support import count, error, get
from werkzeug.test import Client

import db
import reports
from loading import target
from local.database import DatabaseServer

UNAVAILABLE = (503, "database_unavailable")
TIMED_OUT = (504, "timed_out")
REPORT = "/quarterly-hired"

# PyMySQL does not close a unix socket that it could not connect.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

Act = Callable[[], object]
Moment = Callable[[pytest.MonkeyPatch, Act], None]


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """A server of this module's own, to be killed."""
    server = DatabaseServer(tmp_path_factory.mktemp("fragile"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(fragile: DatabaseServer) -> DatabaseServer:
    """It is what `database` is on."""
    return fragile


@pytest.fixture(autouse=True)
def rows(database: Database) -> Iterator[None]:
    """Rows to lose; afterwards the server runs, and no thread and no connection is left."""
    faults.fill(database)
    threads = faults.started_threads()
    yield
    gc.collect()
    if not database.server.is_running:
        database.server.start()
    faults.wait_until(lambda: faults.started_threads() <= threads)
    # One is the report connection that this thread keeps.
    faults.wait_until(lambda: len(faults.sessions(database)) <= 1)


def slow_report(environment: pytest.MonkeyPatch) -> None:
    """A report that takes minutes, and is known by its text."""
    statement = (
        "SELECT COUNT(SIN(a.id + b.id + c.id + d.id + e.id + f.id)) FROM employees AS a"
        + "".join(f" JOIN employees AS {name}" for name in "bcdef")
        + " WHERE %(start)s < %(end)s"
    )
    slow = dataclasses.replace(reports.QUARTERLY_HIRED, template=statement)
    environment.setattr(reports, "QUARTERLY_HIRED", slow)


@contextlib.contextmanager
def during_the_report(database: Database, act: Act) -> Iterator[None]:
    """Does something, in a thread, when the slow report runs."""

    def wait() -> None:
        faults.wait_until(lambda: bool(running(database)))
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join(60)


def running(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(
        "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT COUNT(SIN%%'"
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
        pytest.param(moment, marks=pytest.mark.slow)
        for moment in (as_it_begins, between_two_tables, before_the_reports)
    ),
]


def under_the_locks(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.at_event(environment, act, "tables locked")


def after_employees(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.at_event(environment, act, "table emptied", table="employees")


def after_jobs(environment: pytest.MonkeyPatch, act: Act) -> None:
    faults.at_event(environment, act, "table emptied", table="jobs")


# Killed


@pytest.mark.parametrize("end", ["kill", pytest.param("stop", marks=pytest.mark.slow)])
def test_the_server_ends_in_a_report(
    client: Client, database: Database, environment: pytest.MonkeyPatch, end: str
) -> None:
    """Killed or shut down, the report is 503; the next one, with the server back, succeeds."""
    with environment.context() as slow:
        slow_report(slow)
        with during_the_report(database, getattr(database.server, end)):
            assert error(client, REPORT) == UNAVAILABLE
    database.server.start()
    assert client.get(REPORT).status_code == 200


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_server_is_killed_in_a_backup(
    client: Client,
    database: Database,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    moment: Moment,
) -> None:
    """It is 503, no object is left, and the next backup is whole."""
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
        pytest.param(after_jobs, FULL | {"employees": 0, "jobs": 0}, marks=pytest.mark.slow),
    ],
)
def test_the_server_is_killed_in_a_truncation(
    client: Client,
    database: Database,
    environment: pytest.MonkeyPatch,
    moment: Moment,
    left: dict[str, int],
) -> None:
    """A server killed before the first table is 503, afterwards 500; calling again empties all."""
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
    """`backup_first` is 503 with a whole backup and every row."""
    with environment.context() as patch:
        faults.at_event(patch, database.server.kill, "backup stored")
        assert error(client, f"{TRUNCATE}?backup_first=true") == UNAVAILABLE
    database.server.start()
    assert count(database) == FULL
    assert len(faults.manifests(bucket)) == 1


def test_the_server_is_killed_in_a_load(
    client: Client,
    database: Database,
    environment: pytest.MonkeyPatch,
    take_backup: Callable[[], dict[str, Any]],
    run_load: Loader,
) -> None:
    """It ends with the status of a database that fails, and the rows are as they were."""
    backup = take_backup()["backup"]
    insert = target.insert

    def killing(connection: Any, statement: bytes) -> str | None:
        if database.server.is_running:
            warning = insert(connection, statement)
            database.server.kill()
            return warning
        return insert(connection, statement)

    with environment.context() as patch:
        patch.setattr(target, "insert", killing)
        assert run_load(backup, "--replace").status == 5
    database.server.start()
    assert count(database) == FULL
    assert run_load(backup, "--replace").status == 0
    assert count(database) == FULL


# An administrator


@pytest.mark.parametrize("what", ["CONNECTION", "QUERY"])
def test_an_administrator_stops_a_report(
    client: Client, database: Database, environment: pytest.MonkeyPatch, what: str
) -> None:
    """KILL and KILL QUERY are 503, and the report no longer runs."""
    slow_report(environment)
    with during_the_report(database, lambda: faults.kill_sessions(database, what)):
        assert error(client, REPORT) == UNAVAILABLE
    faults.wait_until(lambda: running(database) == [])


def test_an_administrator_ends_a_backup(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """KILL is 503, and no object is left."""
    faults.in_the_rows(environment, lambda: faults.kill_sessions(database))
    assert error(client, "/backup-data") == UNAVAILABLE
    assert bucket.blobs() == {}


@pytest.mark.parametrize("what", ["CONNECTION", "QUERY"])
def test_an_administrator_ends_a_truncation(
    client: Client, database: Database, environment: pytest.MonkeyPatch, what: str
) -> None:
    """KILL is 503 with every row there; KILL QUERY meets no query and stops nothing."""
    under_the_locks(environment, lambda: faults.kill_sessions(database, what))
    if what == "CONNECTION":
        assert error(client, TRUNCATE) == UNAVAILABLE
        assert count(database) == FULL
    else:
        status, _ = get(client, TRUNCATE)
        assert (status, count(database)) in [(200, EMPTY), (503, FULL)]


def check_read_only(client: Client, database: Database) -> None:
    """Reports and backups work; a truncation is 500, and every row is there."""
    assert client.get(REPORT).status_code == 200
    assert get(client, "/backup-data")[0] == 200
    assert error(client, TRUNCATE) == (500, "misconfigured")
    assert count(database) == FULL


def test_a_server_that_is_read_only(client: Client, database: Database) -> None:
    """A replica, say, gives reports and backups; a truncation is 500 and changes nothing."""
    database.execute("SET GLOBAL read_only = 1")
    try:
        check_read_only(client, database)
    finally:
        database.execute("SET GLOBAL read_only = 0")


def test_a_database_that_is_read_only(client: Client, database: Database) -> None:
    """It is as a server that is."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB has no read only databases")
    database.execute(f"ALTER SCHEMA {database.name} READ ONLY = 1")
    try:
        check_read_only(client, database)
    finally:
        database.execute(f"ALTER SCHEMA {database.name} READ ONLY = 0")


def test_tables_that_are_read_only(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """As on a server that was started on read-only files."""
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
    """Error 1040 is 503 with its reason and Retry-After; later the next request succeeds."""
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
    """Error 1226 is 503 and changes nothing."""
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
    """Error 1203 is 503 with its reason."""
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
    """The functions reach the server through it; connecting may take a second."""
    network = Forwarder(tmp_path / "network", database.server.port)
    environment.setenv("DB_SOCKET", str(tmp_path / "network"))
    environment.setattr(db, "CONNECT_SECONDS", 1)
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
    """It is 503 after the time that connecting may take."""
    network.stall()
    with within(4):
        assert error(client, url) == UNAVAILABLE


def test_a_network_that_stalls_between_two_reports(client: Client, network: Forwarder) -> None:
    """The kept connection is given up as fast as a new one would be."""
    assert client.get(REPORT).status_code == 200
    network.stall()
    with within(5):
        assert error(client, REPORT) == UNAVAILABLE


def test_a_network_that_stalls_in_a_report(
    client: Client, network: Forwarder, environment: pytest.MonkeyPatch
) -> None:
    """It is 504 after the report's limit, and a little more for the server to say so itself."""
    environment.setattr(db, "REPORT_SECONDS", 1)
    environment.setattr(db, "READ_SLACK_SECONDS", 1)
    run = reports.run

    def stalled(*arguments: Any) -> Any:
        network.stall()
        return run(*arguments)

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
    """It is 504 when the function's own limit has come, and no object is left."""
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "33")
    moment(environment, network.stall)
    with within(3 + 3):
        assert error(client, "/backup-data") == TIMED_OUT
    assert bucket.blobs() == {}


def test_a_stall_late_in_a_truncation_does_not_outlast_the_limit(
    client: Client, network: Forwarder, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """The limit counts from the request, not from the statement that stalls."""
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
    """The server lets the tables go by itself, with every row; the caller's answer is 504."""
    environment.setattr(db, "LOCKED_IDLE_SECONDS", 2)
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "32")
    under_the_locks(environment, network.stall)
    assert error(client, TRUNCATE) == TIMED_OUT
    # The network is still stalled: the server has not heard that the client gave up.
    with within(5):
        database.execute("INSERT INTO jobs VALUES (2, 'Manager')")
    assert count(database) == FULL | {"jobs": 2}


def test_a_lost_backup_does_not_hold_changes_up_for_ever(
    client: Client, network: Forwarder, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """The server ends a silent snapshot by itself, and with it the locks against ALTER."""
    assert db.SNAPSHOT_IDLE_SECONDS == 600
    environment.setattr(db, "SNAPSHOT_IDLE_SECONDS", 2)
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
    """Ten bytes a second are as good as none: it is 503 after the time that connecting may take."""
    network.bytes_per_second = 10
    with within(6):
        assert error(client, url) == UNAVAILABLE


def test_a_network_that_drips_in_a_report(
    client: Client, network: Forwarder, environment: pytest.MonkeyPatch
) -> None:
    """It is 504 after the report's limit, though no single byte is waited for so long."""
    environment.setattr(db, "REPORT_SECONDS", 1)
    environment.setattr(db, "READ_SLACK_SECONDS", 1)
    run = reports.run

    def dripping(*arguments: Any) -> Any:
        network.bytes_per_second = 10
        return run(*arguments)

    environment.setattr(reports, "run", dripping)
    with within(6):
        assert error(client, REPORT) == TIMED_OUT
