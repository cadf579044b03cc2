"""What decides in a restore is the row that is read back: accepted, named, or warned of."""

from collections.abc import Callable
from typing import Any

import pytest
from conftest import Database, Loader
from support import content, for_all_sessions, insert_names

Backup = Callable[..., dict[str, Any]]


def execute(database: Database, *statements: str) -> None:
    """Runs statements in one session that accepts any value."""
    with database.connect(init_command="SET sql_mode = ''") as connection:
        for statement in statements:
            connection.query(statement)


def warnings(loaded: Any) -> list[dict[str, Any]]:
    """The warnings of a load, without the fields that any line may have."""
    fields = ("message", "record", "reason", "table", "column", "rows")
    return [
        {name: line[name] for name in fields if name in line}
        for line in loaded.log
        if line["severity"] == "WARNING"
    ]


@pytest.mark.parametrize(
    "more",
    ["", ", ADD later DATE AS (DATE_ADD(d, INTERVAL 1 DAY)) STORED, ADD KEY (later)"],
    ids=["plain", "generated"],
)
def test_an_invalid_record_beside_a_warning_is_restored(
    database: Database,
    empty_database: Database,
    run_restore: Loader,
    take_backup: Backup,
    more: str,
) -> None:
    """An invalid record that reads back as it was is restored, whatever the server warns of."""
    execute(
        database,
        f"ALTER TABLE jobs ADD d DATE, ADD e ENUM('a','b') NOT NULL{more}",
        "INSERT INTO jobs (id, job, d, e) VALUES (1, 'Clerk', '0000-00-00', ''),"
        " (2, 'Clerk', '2021-01-01', ''), (3, 'Clerk', '2021-02-00', 'b')",
    )
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    assert (loaded.status, loaded.outcomes["jobs"]) == (0, (3, 3, 0, "")), loaded.error
    assert warnings(loaded) == []
    assert content(empty_database) == content(database)


def test_an_invalid_record_that_is_changed_is_left_out(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """An invalid record that the table cannot hold is named and left out; all others return."""
    execute(
        database,
        "ALTER TABLE jobs ADD d DATE",
        "INSERT INTO jobs VALUES (1, 'Translator', '0000-00-00'), (2, 'Clerk', NULL),"
        " (3, 'Clerk', '0000-00-00')",
    )
    backup = take_backup()["backup"]
    assert run_restore(backup, DB_NAME=empty_database.name).status == 0
    execute(empty_database, "DELETE FROM jobs", "ALTER TABLE jobs MODIFY job VARCHAR(5)")
    loaded = run_restore(backup, "--table", "jobs", DB_NAME=empty_database.name)
    where = f"{backup}invalid/jobs.jsonl"
    assert (loaded.status, loaded.outcomes["jobs"]) == (0, (3, 2, 1, where))
    assert warnings(loaded) == [
        {
            "message": "invalid record rejected",
            "record": f"{where} line 1",
            "reason": "table jobs: column job of the row with id 1 was 'Translator' and is 'Trans'",
        }
    ]
    assert empty_database.execute("SELECT id FROM jobs ORDER BY id") == [(2,), (3,)]


def test_a_generated_column_with_other_values_is_a_warning(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A generated column that is computed otherwise is restored with a warning that counts rows."""
    execute(
        database,
        "SET SESSION div_precision_increment = 10",
        "ALTER TABLE jobs ADD n INT, ADD share DECIMAL(20,10) AS (n / 3) STORED,"
        " ADD d DATE, ADD same INT AS (n + 1) STORED",
        "INSERT INTO jobs (id, job, n, d) VALUES (1, 'Clerk', 1, NULL),"
        " (2, 'Cook', 2, '0000-00-00'), (3, 'Chef', 3, NULL)",
    )
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    assert (loaded.status, loaded.outcomes["jobs"]) == (0, (3, 3, 0, "")), loaded.error
    assert warnings(loaded) == [
        {
            "message": "generated column has other values",
            "table": "jobs",
            "column": "share",
            "rows": 2,
        }
    ]


@pytest.mark.parametrize("has_key", [True, False])
def test_a_row_that_is_changed_is_named(
    database: Database,
    empty_database: Database,
    run_restore: Loader,
    take_backup: Backup,
    has_key: bool,
) -> None:
    """A restore that the server changes a row of names its key, its column and both values."""
    insert_names(database)
    if not has_key:
        execute(database, "ALTER TABLE employees MODIFY id INT, DROP PRIMARY KEY")
    execute(
        database,
        "ALTER TABLE employees MODIFY datetime DATETIME(3)",
        "INSERT INTO employees VALUES (1, 'Ana', '2021-01-01', 1, 1),"
        " (2, 'Bo', '2021-02-03 04:05:06.4', 1, 1), (3, 'Cy', NULL, 1, 1)",
    )
    backup = take_backup()["backup"]
    assert run_restore(backup, DB_NAME=empty_database.name).status == 0
    execute(empty_database, "ALTER TABLE employees MODIFY datetime DATETIME(0)")
    before = content(empty_database)
    loaded = run_restore(backup, "--replace", DB_NAME=empty_database.name)
    row = "a row is not there: id 2, name 'Bo', datetime '2021-02-03 04:05:06.400000'"
    named = (
        "column datetime of the row with id 2 was '2021-02-03 04:05:06.400000'"
        " and is '2021-02-03 04:05:06'"
        if has_key
        else f"{row}, department_id 1, job_id 1"
    )
    assert loaded.status == 4
    assert loaded.error == (
        "nothing was loaded: table employees does not hold the rows that were inserted: 3"
        f" inserted, 3 found; {named}; the database gave no warning"
    )
    assert content(empty_database) == before


def test_a_hidden_primary_key_is_restored(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """The primary key that MySQL has added is restored, also where the server hides it."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB adds no primary key")
    execute(
        database,
        "SET sql_generate_invisible_primary_key = ON",
        "DROP TABLE employees, departments",
        "CREATE TABLE departments (id INT, department VARCHAR(20))",
        "CREATE TABLE employees (id INT, name INT, datetime DATE, department_id INT, job_id INT,"
        " row_of BIGINT UNSIGNED, FOREIGN KEY (row_of) REFERENCES departments (my_row_id))",
        "INSERT INTO departments VALUES (1, 'gone'), (2, 'Sales')",
        "DELETE FROM departments WHERE id = 1",
        "INSERT INTO employees (id, row_of) VALUES (1, 2)",
    )
    with for_all_sessions(database, "show_gipk_in_create_table_and_information_schema", "OFF"):
        loaded = run_restore(take_backup()["backup"], "--replace")
    assert (loaded.status, warnings(loaded)) == (0, [])
    assert database.execute("SELECT my_row_id, id FROM departments") == [(2, 2)]
