"""A server whose disk is full says so, answers what needs no space, and loses no row."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Database, Loader
from support import count, get, insert_names
from werkzeug.test import Client

from local.database import DatabaseServer

REASON = "the database server is not available: its disk is full, or a table has reached its limit"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """A server on a disk of its own, for this module alone."""
    disk = tmp_path_factory.mktemp("disk")
    mounted = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(disk)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    server = DatabaseServer(disk)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def server(small: DatabaseServer) -> DatabaseServer:
    """The server of the fixture `database`."""
    return small


@pytest.fixture
def full(server: DatabaseServer, database: Database) -> Iterator[None]:
    """Inserts rows and fills the disk."""
    insert_names(database)
    filler = server.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1_000_000)):
                pass
        except OSError:
            pass
    yield
    filler.unlink()


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
