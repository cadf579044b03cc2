"""A backup loads into the other kind of server, and any values load into the same one.

Needs MariaDB and MySQL: MYSQLD names one, and the other is searched for in the usual folders.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import every_type
import pytest
from conftest import ACCOUNT, PASSWORD, PROJECT, Bucket, Database, Loader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_backup import records

from local.database import PROGRAM_FOLDERS, DatabaseServer

TABLES = ("departments", "jobs", "employees")
Backup = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def other_server(
    server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DatabaseServer]:
    """A running server of the other kind."""
    program = "mysqld" if server.is_mariadb else "mariadbd"
    # The last folder is the one in which .ci/run installs MySQL beside Debian's MariaDB.
    folders = [os.environ["PATH"], *PROGRAM_FOLDERS, str(PROJECT / ".local/mysql/bin")]
    found = os.environ.get("OTHER_MYSQLD") or shutil.which(program, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"there is no {program} here; OTHER_MYSQLD may name one")
    other = DatabaseServer(tmp_path_factory.mktemp("other"), program=found)
    if other.is_mariadb == server.is_mariadb:
        pytest.skip(f"{found} is a server of the same kind")
    other.start()
    yield other
    other.stop()


@pytest.fixture
def other_database(other_server: DatabaseServer) -> Iterator[Database]:
    """A fresh database on the other server, with schema.sql loaded."""
    database = Database(other_server, f"other_{uuid.uuid4().hex[:12]}")
    other_server.create_database(database.name)
    other_server.create_account(ACCOUNT, PASSWORD, database.name)
    database.run_script(PROJECT / "restore/schema.sql")
    yield database
    database.execute(f"DROP DATABASE {database.name}")


@pytest.fixture(params=["there", "back"])
def source_and_target(
    request: pytest.FixtureRequest, database: Database, other_database: Database
) -> tuple[Database, Database]:
    """Both databases, in each order."""
    there = request.param == "there"
    return (database, other_database) if there else (other_database, database)


def test_a_backup_loads_into_the_other_kind_of_server(
    source_and_target: tuple[Database, Database],
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
) -> None:
    """A backup with every type that both kinds of server have loads into the other one."""
    source, target = source_and_target
    source.insert("departments", [(1, "Sales"), (7, "O'Neill's \\ café")])
    for each in (source, target):
        every_type.create(each, columns=every_type.COLUMNS | every_type.GENERATED)
    every_type.fill(source)
    answer = take_backup(source)
    loaded = run_restore(answer["backup"], **target.environment)
    assert loaded.status == 0, loaded.error
    assert loaded.outcomes["employees"] == (6, 6, 0, "")
    again = take_backup(target)
    for table in TABLES:
        assert by_id(records(bucket, again, table)) == by_id(records(bucket, answer, table))


def by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by id, with normalised JSON: only MySQL adds spaces."""
    rows = [
        {name: every_type.compact_json(name, value) for name, value in row.items()} for row in rows
    ]
    return sorted(rows, key=lambda row: row["id"])


def test_tables_missing_on_the_other_server_are_created_or_named(
    source_and_target: tuple[Database, Database], run_restore: Loader, take_backup: Backup
) -> None:
    """Missing tables are created, or the error says why the operator must create them."""
    source, target = source_and_target
    if not source.server.is_mariadb:
        source.execute("ALTER TABLE jobs CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin")
    backup = take_backup(source)["backup"]
    for table in reversed(TABLES):
        target.execute(f"DROP TABLE {table}")
    loaded = run_restore(backup, **target.environment)
    if source.server.is_mariadb:
        assert loaded.status == 0
        return
    assert loaded.status == 2
    assert "is missing, and this server (" in loaded.error
    assert loaded.error.endswith("create the table, then load again")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ROWS = st.lists(
    st.tuples(
        st.none() | TEXT,
        st.none() | st.binary(max_size=60),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.none() | st.decimals(-(10**35) + 1, 10**35 - 1, places=30, allow_nan=False),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.integers(0, 2**64 - 1),
    ),
    max_size=8,
)
ANY_COLUMNS = {
    "text_": "TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "blob_": "BLOB",
    "double_": "DOUBLE",
    "float_": "FLOAT",
    "widest": "DECIMAL(65,30)",
    "big": "BIGINT",
    "big_unsigned": "BIGINT UNSIGNED",
}


@pytest.mark.slow
@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=ROWS)
def test_any_value_is_restored(
    database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: list[tuple[Any, ...]],
) -> None:
    """Any texts, bytes, floats and numbers come back unchanged from a backup."""
    every_type.create(database, columns=ANY_COLUMNS)
    columns = ", ".join(ANY_COLUMNS)
    places = ", ".join(["%s"] * len(ANY_COLUMNS))
    for row in rows:
        database.execute(f"INSERT INTO employees ({columns}) VALUES ({places})", row)
    answer = take_backup()
    assert run_restore(answer["backup"], "--replace").status == 0
    again = take_backup()
    assert records(bucket, again, "employees") == records(bucket, answer, "employees")
    assert len(records(bucket, again, "employees")) == len(rows)
