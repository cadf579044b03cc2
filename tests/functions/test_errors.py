"""Each error that the functions may answer, caused for real: its answer and its log lines."""

import dataclasses
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ACCOUNT, PASSWORD, Bucket, Bundle, Database
from faults import sessions, wait_until
from support import for_all_sessions
from werkzeug.test import Client

import db
import reports
from hiring.mysql import login
from hiring.storage import storage_client
from local.database import DatabaseServer

URLS = ("/quarterly-hired", "/hiring-by-department", "/backup-data", "/truncate-tables")


def get(client: Client, url: str, **options: Any) -> tuple[int, str, str]:
    """The status, the code and the message of an error."""
    response = client.get(url, **options)
    error = json.loads(response.get_data())["error"]
    return response.status_code, error["code"], error["message"]


@pytest.fixture(autouse=True)
def no_secrets(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Checks that each log line of a test is a JSON object without the password."""
    yield
    for line in capfd.readouterr().err.splitlines():
        assert PASSWORD not in line
        assert {"severity", "message"} <= set(json.loads(line))


@pytest.mark.parametrize("url", URLS)
def test_missing_password(client: Client, environment: pytest.MonkeyPatch, url: str) -> None:
    """A missing DB_PASS is 500 for every function, and the message names it."""
    environment.delenv("DB_PASS")
    assert get(client, url) == (
        500,
        "misconfigured",
        "DB_PASS is not set; for example DB_PASS=secret (it may be empty)",
    )


def test_missing_bucket_setting(client: Client, environment: pytest.MonkeyPatch) -> None:
    """A missing GCS_PATH is 500 for a backup, also for `backup_first`; everything else works."""
    environment.delenv("GCS_PATH")
    error = (
        500,
        "misconfigured",
        "GCS_PATH is not set; for example GCS_PATH=my-bucket/hiring",
    )
    assert get(client, "/backup-data") == error
    assert get(client, "/truncate-tables?backup_first=true") == error
    assert client.get("/quarterly-hired").status_code == 200
    assert client.get("/truncate-tables").status_code == 200


@pytest.mark.parametrize("url", URLS)
def test_wrong_password(client: Client, environment: pytest.MonkeyPatch, url: str) -> None:
    """A refused login is 503 with Retry-After and the reason."""
    environment.setenv("DB_PASS", "wrong")
    response = client.get(url)
    assert response.headers["Retry-After"] == "10"
    assert get(client, url) == (
        503,
        "database_unavailable",
        "the database server is not available: it refuses the login of DB_USER",
    )


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("ACCOUNT LOCK", "the account of DB_USER is locked"),
        ("PASSWORD EXPIRE", "the password of DB_USER has expired"),
    ],
)
def test_an_account_that_cannot_log_in(
    client: Client, database: Database, url: str, change: str, reason: str
) -> None:
    """A locked account or an expired password is 503 with the reason."""
    database.execute(f"ALTER USER {ACCOUNT} {change}")
    assert get(client, url) == (
        503,
        "database_unavailable",
        f"the database server is not available: {reason}",
    )


def test_a_server_in_offline_mode(client: Client, database: Database) -> None:
    """A server in offline mode is 503 with the reason."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB has no offline mode")
    database.execute("SET GLOBAL offline_mode = 1")
    try:
        answer = get(client, "/quarterly-hired")
    finally:
        database.execute("SET GLOBAL offline_mode = 0")
    assert answer == (
        503,
        "database_unavailable",
        "the database server is not available: it is in offline mode",
    )


@pytest.mark.parametrize(("name", "value"), [("DB_NAME", "hiring "), ("DB_HOST", "a..b")])
def test_an_impossible_name_is_misconfigured(
    client: Client, environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A name that no database or host can have is 500 `misconfigured`."""
    if name == "DB_HOST":
        environment.delenv("DB_SOCKET")
    environment.setenv(name, value)
    assert get(client, "/quarterly-hired")[:2] == (500, "misconfigured")


def test_unknown_database(client: Client, environment: pytest.MonkeyPatch) -> None:
    """A database that the account cannot find is 500, and the message names it."""
    environment.setenv("DB_NAME", "nowhere")
    status, code, message = get(client, "/quarterly-hired")
    assert (status, code, "nowhere" in message) == (500, "misconfigured", True)


# PyMySQL does not close a unix socket that it could not connect.
no_socket = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@no_socket
@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("name", ["DB_SOCKET", "DB_HOST"])
def test_no_server(client: Client, environment: pytest.MonkeyPatch, url: str, name: str) -> None:
    """A server that cannot be reached, by socket or by TCP, is 503."""
    environment.delenv("DB_SOCKET")
    environment.setenv("DB_PORT", "1")
    environment.setenv(name, "/nowhere/mysqld.sock" if name == "DB_SOCKET" else "127.0.0.1")
    assert get(client, url)[:2] == (503, "database_unavailable")


@pytest.mark.parametrize("url", ["/quarterly-hired", "/hiring-by-department"])
def test_missing_table_or_column(client: Client, database: Database, url: str) -> None:
    """A missing column or table makes a report 500, and the message names it."""
    database.execute("ALTER TABLE employees RENAME COLUMN datetime TO hired_at")
    status, code, message = get(client, url)
    assert (status, code, "datetime" in message) == (500, "misconfigured", True)
    database.execute("DROP TABLE employees")
    status, code, message = get(client, url)
    assert (status, code, "employees" in message) == (500, "misconfigured", True)


def test_missing_privilege(client: Client, database: Database) -> None:
    """A table that the account may not read is 500, and the message names it."""
    database.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {ACCOUNT}")
    database.execute(f"GRANT SELECT ON {database.name}.departments TO {ACCOUNT}")
    database.execute(f"GRANT SELECT ON {database.name}.jobs TO {ACCOUNT}")
    for url in ("/quarterly-hired", "/backup-data"):
        status, code, message = get(client, url)
        assert (status, code, "employees" in message) == (500, "misconfigured", True)


def test_no_account_is_named(client: Client, database: Database) -> None:
    """The message about a missing privilege does not name the database account."""
    database.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {ACCOUNT}")
    database.execute(f"GRANT SELECT ON {database.name}.departments TO {ACCOUNT}")
    for url in ("/quarterly-hired", "/backup-data", "/truncate-tables"):
        _, code, message = get(client, url)
        assert (code, ACCOUNT in message, "@" in message) == ("misconfigured", False, False)


def test_a_table_without_transactions(client: Client, database: Database) -> None:
    """A backup of a table without transactions is 500, and the message names its engine."""
    database.execute("DROP TABLE employees")
    database.execute("CREATE TABLE employees (id INT) ENGINE = MyISAM")
    assert get(client, "/backup-data") == (
        500,
        "misconfigured",
        "table employees is not InnoDB but MyISAM: it has no transactions",
    )


def test_a_name_that_is_looked_up_for_ever(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A name server that does not answer costs no longer than connecting may take."""
    hold = threading.Event()
    environment.setenv("DB_SOCKET", "")
    environment.setenv("DB_HOST", "database.example")
    with environment.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: hold.wait(30))
        patch.setattr(login, "CONNECT_SECONDS", 1)
        started = time.monotonic()
        answer = get(client, "/hiring-by-department")
    hold.set()
    assert time.monotonic() - started < 10
    assert answer == (
        503,
        "database_unavailable",
        (
            "the database server is not available: it can't be reached at database.example:3306:"
            " timed out"
        ),
    )


def test_no_google_credentials(
    client: Client, database: Database, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Missing Google credentials are 500, and the message says how to get them."""
    environment.delenv("STORAGE_EMULATOR_HOST")
    environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    environment.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    environment.setenv("NO_GCE_CHECK", "true")
    assert get(client, "/backup-data") == (
        500,
        "misconfigured",
        (
            "there are no usable Google credentials for Cloud Storage: run"
            " `gcloud auth application-default login`, or let GOOGLE_APPLICATION_CREDENTIALS name a"
            " file of credentials"
        ),
    )


def test_missing_bucket(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A bucket that does not exist is 502, and the message names it."""
    environment.setenv("GCS_PATH", "no-such-bucket/hiring")
    assert get(client, "/backup-data") == (
        502,
        "storage_failed",
        "Cloud Storage bucket no-such-bucket refused or failed: status 404",
    )


def test_no_cloud_storage(client: Client, environment: pytest.MonkeyPatch) -> None:
    """Cloud Storage that cannot be reached is 502 after some retries, and nothing asks on."""
    threads = set(threading.enumerate())
    environment.setattr(storage_client, "RETRY_SECONDS", 1)
    environment.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    status, code, _ = get(client, "/backup-data")
    assert (status, code) == (502, "storage_failed")
    assert set(threading.enumerate()) == threads


def test_a_locked_table_is_busy(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A table locked by somebody else makes each function 409 after the lock wait."""
    assert login.LOCK_WAIT_SECONDS == 5
    environment.setattr(login, "LOCK_WAIT_SECONDS", 1)
    with database.connect() as other:
        other.cursor().execute("LOCK TABLES employees WRITE")
        for url in URLS:
            started = time.monotonic()
            assert get(client, url) == (
                409,
                "busy",
                "could not lock the tables in time; try again later",
            )
            assert time.monotonic() - started < 4


def test_a_slow_query(client: Client, database: Database, environment: pytest.MonkeyPatch) -> None:
    """A query beyond its time limit is 504 and is stopped on the server."""
    database.insert("departments", [(number, "x") for number in range(1, 2001)])
    slow = dataclasses.replace(
        reports.QUARTERLY_HIRED,
        template="SELECT SUM(SIN(a.id + b.id + c.id)) FROM departments AS a"
        " JOIN departments AS b JOIN departments AS c WHERE %(start)s < %(end)s",
    )
    environment.setattr(reports, "QUARTERLY_HIRED", slow)
    environment.setattr(db, "REPORT_SECONDS", 1)
    started = time.monotonic()
    assert get(client, "/quarterly-hired") == (
        504,
        "timed_out",
        "the query ran past its time limit and was stopped",
    )
    assert time.monotonic() - started < 4
    running = (
        "SELECT info FROM information_schema.processlist"
        " WHERE info LIKE CONCAT('%SUM(', 'SIN(%')"  # which this statement does not hold
    )
    # The server answers a moment before it lets go of the statement, which would run for minutes.
    wait_until(lambda: database.execute(running) == [], seconds=5)
    environment.undo()


def test_a_backup_past_the_functions_time_limit(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """A backup past the function's time limit is 504 and leaves no object."""
    database.insert("departments", [(1, "Sales")])
    bucket.storage.fail("jobs.avro", method="PUT", action="delay", seconds=2)
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "31")
    assert get(client, "/backup-data") == (
        504,
        "timed_out",
        "stopped after 1 s, the time limit",
    )
    assert bucket.blobs() == {}


def test_an_unexpected_error_is_logged(
    client: Client, environment: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unexpected error is 500 with its traceback in the log, not in the answer."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret of the answer")

    environment.setattr(reports, "run", broken)
    assert get(client, "/quarterly-hired") == (
        500,
        "internal",
        "internal error; the log has the details",
    )
    (line, _) = capfd.readouterr().err.splitlines()
    assert "ZeroDivisionError: the secret of the answer" in json.loads(line)["stack_trace"]


def test_log_lines_are_grouped_by_trace(
    client: Client, environment: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each log line of a request has the request's trace, and no later request has it."""
    environment.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    client.get("/backup-data", headers={"X-Cloud-Trace-Context": "0af7651916cd43dd/1;o=1"})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert len(lines) > 3
    assert {line["logging.googleapis.com/trace"] for line in lines} == {
        "projects/my-project/traces/0af7651916cd43dd"
    }
    client.get("/quarterly-hired")
    (line,) = capfd.readouterr().err.splitlines()
    assert "logging.googleapis.com/trace" not in json.loads(line)


@pytest.mark.slow
@no_socket
def test_a_server_that_restarts(
    client: Client, environment: pytest.MonkeyPatch, tmp_path: Path, database: Database
) -> None:
    """A killed server is 503 until it runs again; a restart between reports goes unnoticed."""
    server = DatabaseServer(tmp_path / "server")
    server.start()
    try:
        server.create_database("hiring")
        server.create_account("bundle", PASSWORD, "hiring")
        server.run_script(Path(__file__).parents[2] / "restore/schema.sql", "hiring")
        environment.setenv("DB_SOCKET", str(server.socket))
        environment.setenv("DB_USER", "bundle")
        environment.setenv("DB_NAME", "hiring")
        assert client.get("/quarterly-hired").status_code == 200
        server.stop()
        server.start()
        assert client.get("/quarterly-hired").status_code == 200
        server.kill()
        assert get(client, "/quarterly-hired")[:2] == (503, "database_unavailable")
        assert get(client, "/backup-data")[:2] == (503, "database_unavailable")
        server.start()
        assert client.get("/quarterly-hired").status_code == 200
    finally:
        server.stop()


def test_reports_reuse_their_connection(client: Client, database: Database) -> None:
    """Reports of one thread share a connection, which is replaced if the server closes it."""
    for _ in range(5):
        assert client.get("/quarterly-hired").status_code == 200
    (first,) = sessions(database)
    database.execute(f"KILL {first}")
    assert client.get("/quarterly-hired").status_code == 200
    (second,) = sessions(database)
    assert second != first


def test_an_idle_connection_that_the_server_closed(client: Client, database: Database) -> None:
    """A report succeeds although the server closed its idle connection (error 4031 on MySQL)."""
    ((before,),) = database.execute("SELECT @@GLOBAL.wait_timeout")
    database.execute("SET GLOBAL wait_timeout = 1")
    try:
        assert client.get("/quarterly-hired").status_code == 200
        assert len(sessions(database)) == 1
        time.sleep(1.5)
        assert sessions(database) == []
    finally:
        database.execute(f"SET GLOBAL wait_timeout = {before}")
    assert client.get("/quarterly-hired").status_code == 200


def test_a_password_of_any_characters(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A password may contain quotes, backslashes and characters that Latin-1 does not have."""
    password = "пароль '\"\\ 😀"
    database.execute(f"ALTER USER {ACCOUNT} IDENTIFIED BY %s", (password,))
    environment.setenv("DB_PASS", password)
    assert client.get("/quarterly-hired").status_code == 200


def test_many_callers_at_once(bundle: Bundle, database: Database) -> None:
    """Thirty simultaneous requests for a report over HTTP are all answered."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    database.insert("employees", [(1, "Ada", "2021-02-03 04:05:06", 1, 1)])
    bundle.start()
    answers: list[requests.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(bundle.get("/quarterly-hired?format=json")))
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = {"department": "Sales", "job": "Clerk", "Q1": 1, "Q2": 0, "Q3": 0, "Q4": 0}
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, [expected])] * 30


@pytest.mark.parametrize("url", URLS)
def test_a_failing_init_connect_is_named(client: Client, database: Database, url: str) -> None:
    """A server whose init_connect fails is 503, and the message says so."""
    with for_all_sessions(database, "init_connect", "no statement at all"):
        assert get(client, url) == (
            503,
            "database_unavailable",
            "the database server is not available: its init_connect fails",
        )


@pytest.mark.parametrize(
    "init_connect",
    ["START TRANSACTION", "SET autocommit = 0", "USE information_schema", "LOCK TABLES jobs READ"],
)
def test_what_init_connect_leaves_open_is_ended(
    client: Client, database: Database, init_connect: str
) -> None:
    """Whatever init_connect leaves open, reports show each new row and a truncation succeeds."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    with for_all_sessions(database, "init_connect", init_connect):
        for number in (1, 2):
            database.insert("employees", [(number, "Ada", "2021-02-03", 1, 1)])
            (row,) = json.loads(client.get("/quarterly-hired?format=json").get_data())
            assert row["Q1"] == number
        answer = json.loads(client.get("/backup-data").get_data())
        assert [table["rows"] for table in answer["tables"]] == [1, 1, 2]
        assert client.get("/truncate-tables").status_code == 200
    assert database.execute("SELECT COUNT(*) FROM employees") == [(0,)]


def test_a_report_shows_no_uncommitted_row(client: Client, database: Database) -> None:
    """A report shows no uncommitted row, even if READ UNCOMMITTED is the server's default."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    name = "tx_isolation" if database.server.is_mariadb else "transaction_isolation"
    with for_all_sessions(database, name, "READ-UNCOMMITTED"), database.connect() as other:
        other.begin()
        other.cursor().execute("INSERT INTO employees VALUES (1, 'Ada', '2021-02-03', 1, 1)")
        assert client.get("/quarterly-hired?format=json").json == []
        other.rollback()
