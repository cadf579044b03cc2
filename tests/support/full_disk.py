"""A server on a small disk of its own, and a disk that is full."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Database
from support import insert_names

from local.database import DatabaseServer


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


def fill(server: DatabaseServer, left: int = 0) -> Path:
    """Fills the disk of a server, but for some bytes; returns the file that does."""
    filler = server.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1_000_000)):
                pass
        except OSError:
            pass
        file.truncate(file.tell() - left)
    return filler


@pytest.fixture
def full(server: DatabaseServer, database: Database) -> Iterator[None]:
    """Inserts rows and fills the disk."""
    insert_names(database)
    filler = fill(server)
    yield
    filler.unlink()
