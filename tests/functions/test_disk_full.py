"""A server whose disk is full says so, answers what needs no space, and loses no row."""

from pathlib import Path

import pytest
from conftest import Database, Loader
from full_disk import full, server, small  # noqa: F401 - fixtures
from support import count, get
from werkzeug.test import Client

REASON = "the database server is not available: its disk is full, or a table has reached its limit"
pytestmark = pytest.mark.slow


def test_a_full_disk(
    client: Client, database: Database, full: None, run_import: Loader, tmp_path: Path
) -> None:
    """A report is 200; what needs space ends with the reason and leaves every row."""
    rows = count(database)
    assert client.get("/quarterly-hired").status_code == 200
    status, answer = get(client, "/backup-data")
    if database.server.is_mariadb:  # it writes a temporary table to describe the columns
        assert (status, answer["error"]["message"]) == (503, REASON)
    else:
        assert status == 200
    (tmp_path / "departments.csv").write_text(
        "".join(f"{number},{200 * 'x'}\n" for number in range(1, 60_000))
    )
    (tmp_path / "jobs.csv").write_text("1,Baker\n")
    (tmp_path / "employees.csv").write_text("1,Ada,2021-01-01T00:00:00Z,1,1\n")
    loaded = run_import(tmp_path, "--replace", "--yes")
    assert (loaded.status, loaded.error) == (5, f"nothing was loaded: {REASON}")
    assert count(database) == rows
    status, answer = get(client, "/truncate-tables")
    assert (status, answer["error"]["message"], count(database)) == (503, REASON, rows)
