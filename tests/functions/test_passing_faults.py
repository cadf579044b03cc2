"""A table that is swapped and a disk that is full are said as such."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest
from conftest import ACCOUNT, PASSWORD, Database, Loader
from support import get, some
from werkzeug.test import Client

import db
from hiring.errors import DatabaseUnavailable
from hiring.mysql.server_errors import translate
from local.database import DatabaseServer

DISK_FULL = (
    "the database server is not available: its disk is full, or a table has reached its limit"
)
URLS = ("/quarterly-hired?format=json", "/backup-data", "/truncate-tables?dry_run=true")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("table", some(["employees", "jobs", "departments"]))
def test_a_table_that_is_swapped_is_busy(
    client: Client, database: Database, environment: pytest.MonkeyPatch, url: str, table: str
) -> None:
    """A table that is missing for a moment, as between two RENAME statements, is 409."""
    environment.setattr(db, "RENAME_SECONDS", 10)
    database.execute(f"RENAME TABLE {table} TO away")
    back = threading.Timer(0.5, database.execute, [f"RENAME TABLE away TO {table}"])
    back.start()
    try:
        status, answer = get(client, url)
    finally:
        back.join()
    assert (status, answer["error"]) == (
        409,
        {"code": "busy", "message": "a table was missing for a moment; try again later"},
    )
    assert get(client, url)[0] == 200


FULL = [
    (1114, "The table 'employees' is full"),
    (1021, "Disk full (/tmp/#sql_1); waiting for someone to free some space..."),
    (3, "Error writing file '/tmp/MY1' (OS errno 28 - No space left on device)"),
    (3, "Error writing file '/tmp/MY1' (Errcode: 28 \"No space left on device\")"),
    (1030, "Got error 28 from storage engine"),
    (1026, "Error writing file './hiring/jobs.frm' (errno: 28)"),
]


@pytest.mark.parametrize(("number", "message"), FULL)
def test_every_error_of_a_full_disk_is_known(number: int, message: str) -> None:
    """Whatever number the server gives it, a full disk is 503, and no fault of a statement."""
    error = pymysql.err.OperationalError(number, message)
    assert str(translate(error)) == DISK_FULL
    assert isinstance(translate(error), DatabaseUnavailable)


@pytest.fixture
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """A server whose tables have room for a few megabytes."""
    folder = tmp_path_factory.mktemp("small")
    room = ["--innodb-file-per-table=OFF", "--innodb-data-file-path=ibdata1:12M:autoextend:max:14M"]
    server = DatabaseServer(folder, options=room)
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
def test_a_restore_onto_a_full_disk(
    small_server: DatabaseServer,
    database: Database,
    take_backup: Callable[..., dict[str, Any]],
    run_restore: Loader,
) -> None:
    """A restore for which the server has no room is status 5, says so, and leaves no table."""
    database.execute("INSERT INTO jobs (job) VALUES (REPEAT('x', 255))")
    for _ in range(15):
        database.execute("INSERT INTO jobs (job) SELECT job FROM jobs")
    backup = take_backup()["backup"]
    small_server.create_database("small")
    small_server.create_account(ACCOUNT, PASSWORD, "small")
    loaded = run_restore(backup, DB_SOCKET=str(small_server.socket), DB_NAME="small")
    assert loaded.status == 5
    assert loaded.error.endswith(DISK_FULL)
    assert Database(small_server, "small").execute("SHOW TABLES") == []
