"""MariaDB's system-versioned tables: reports show current rows, everything else refuses them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Database, Loader
from support import count, get, insert_names
from werkzeug.test import Client

REASON = (
    "employees is a system-versioned table: its history is in no backup, and the server does not"
    " truncate it"
)


@pytest.fixture(autouse=True)
def rows(database: Database) -> None:
    """Two departments, a job and an employee."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL has no system-versioned tables")
    insert_names(database)
    database.insert("employees", [(1, "Ana", "2021-02-03", 1, 1)])


@pytest.fixture
def long_ago(database: Database) -> Iterator[None]:
    """All sessions begin with the rows of system-versioned tables as they once were."""
    database.execute("SET GLOBAL system_versioning_asof = '2001-01-01 00:00:00'")
    yield
    database.execute("SET GLOBAL system_versioning_asof = DEFAULT")


def test_a_system_versioned_table_is_refused(
    client: Client,
    database: Database,
    run_restore: Loader,
    take_backup: Callable[..., dict[str, Any]],
) -> None:
    """A backup, a truncation and a load refuse it with the reason, and every row stays."""
    backup = take_backup()["backup"]
    database.execute("ALTER TABLE employees ADD SYSTEM VERSIONING")
    for url in ("/backup-data", "/truncate-tables", "/truncate-tables?dry_run=true"):
        assert get(client, url) == (500, {"error": {"code": "misconfigured", "message": REASON}})
    for options in (["--replace"], ["--replace", "--dry-run"]):
        loaded = run_restore(backup, *options)
        assert (loaded.status, loaded.error) == (2, f"nothing was loaded: {REASON}")
    assert count(database) == {"departments": 2, "jobs": 1, "employees": 1}


def test_reports_show_current_rows(client: Client, database: Database, long_ago: None) -> None:
    """A report shows current rows, whatever moment the server sets for all sessions."""
    database.execute("ALTER TABLE employees ADD SYSTEM VERSIONING")
    assert database.execute("SELECT COUNT(*) FROM employees") == [(0,)]
    status, answer = get(client, "/quarterly-hired?format=json")
    assert (status, answer) == (
        200,
        [{"department": "Sales", "job": "Clerk", "Q1": 1, "Q2": 0, "Q3": 0, "Q4": 0}],
    )


def test_a_backup_holds_current_rows(
    client: Client, database: Database, long_ago: None, take_backup: Callable[..., dict[str, Any]]
) -> None:
    """A backup has every row, whatever moment the server sets for all sessions."""
    assert [table["rows"] for table in take_backup()["tables"]] == [2, 1, 1]
