"""A drill on a server whose disk is full says so, and leaves the tables as they were."""

from collections.abc import Callable
from typing import Any

import pytest
from conftest import Bucket, Database
from full_disk import fill, server, small  # noqa: F401 - fixtures
from support import insert_names
from test_drill import checksums, databases, drill, scratch  # noqa: F401 - fixtures

Backup = Callable[..., dict[str, Any]]
Drill = Callable[..., tuple[int, dict[str, Any]]]
REASON = "the database server is not available: its disk is full, or a table has reached its limit"
LOST = "the database server is not available: the connection was lost"
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("left", [0, 300_000, 8_000_000])
def test_a_drill_on_a_full_disk(
    database: Database,
    bucket: Bucket,
    scratch: str,
    take_backup: Backup,
    drill: Drill,
    left: int,
) -> None:
    """With no space, or too little for the rows, it is status 5; the next one is good.

    MariaDB may end itself where it cannot create a table.
    """
    insert_names(database)
    rows = [(number, f"{number:0200}", "2021-01-01", 1, 1) for number in range(1, 40_000)]
    database.insert("employees", rows)
    backup = take_backup()["backup"]
    before = checksums(database)
    filler = fill(database.server, left)
    status, record = drill()
    assert status == 5
    if record:
        assert record["backup"] == backup
        assert record["result"] in (REASON, LOST)
    assert record or not left
    filler.unlink()
    database.server.kill()
    database.server.start()
    assert checksums(database) == before
    status, record = drill()
    assert (status, record["result"]) == (0, "good")
    assert (checksums(database), databases(database)) == (before, {database.name})
