"""A table that a restore creates is the table that was backed up, or the restore says so."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stored_backup
from conftest import ACCOUNT, Bucket, Database, Loader

from local.database import DatabaseServer
from restore import table_creation

Backup = Callable[..., dict[str, Any]]

HINDRANCES = {
    "explicit_defaults_for_timestamp": (
        "OFF",
        ["ALTER TABLE jobs ADD changed TIMESTAMP NOT NULL DEFAULT '2021-01-01'"],
        ["ALTER TABLE jobs ALTER changed DROP DEFAULT"],
    ),
    "innodb_strict_mode": ("ON", [], ["ALTER TABLE jobs ROW_FORMAT=FIXED"]),
    "sql_generate_invisible_primary_key": (
        "ON",
        [],
        ["ALTER TABLE jobs MODIFY id INT UNSIGNED, DROP PRIMARY KEY, ADD UNIQUE (id)"],
    ),
    "restrict_fk_on_non_standard_key": (
        "ON",
        ["ALTER TABLE jobs ADD code INT, ADD KEY (code)"],
        ["ALTER TABLE departments ADD code INT, ADD FOREIGN KEY (code) REFERENCES jobs (code)"],
    ),
}
"""A variable's value, and the statements that make a table which does not fit it."""


@pytest.fixture
def hindered(
    request: pytest.FixtureRequest, server: DatabaseServer, database: Database
) -> Iterator[str]:
    """Makes a table that does not fit the server's global value of a variable; names both."""
    name: str = request.param
    value, *statements = HINDRANCES[name]
    with server.connect() as connection, connection.cursor() as cursor:
        if not cursor.execute("SHOW GLOBAL VARIABLES LIKE %s", (name,)):
            pytest.skip("the server has no such variable")
        ((_, before),) = cursor.fetchall()
        cursor.execute(f"USE {database.name}")
        fitting = "OFF" if value == "ON" else "ON"
        cursor.execute(f"SET SESSION sql_mode = '', foreign_key_checks = 0, {name} = {fitting}")
        for statement in [*statements[0], *statements[1]]:
            cursor.execute(statement)
        cursor.execute(f"SET GLOBAL {name} = {value}")
        yield f"{name} = {value}"
        cursor.execute(f"SET GLOBAL {name} = {before}")


def created(database: Database) -> list[str]:
    """What SHOW CREATE TABLE prints for each table of a database."""
    return [
        database.execute(f"SHOW CREATE TABLE {name}")[0][1]
        for (name,) in database.execute("SHOW TABLES")
    ]


@pytest.fixture
def may_set_variables(server: DatabaseServer, database: Database) -> Iterator[None]:
    """Lets the account set every variable of a session; only MySQL asks for a privilege."""
    with server.connect() as connection:
        if not server.is_mariadb:
            connection.query(f"GRANT SESSION_VARIABLES_ADMIN ON *.* TO {ACCOUNT}")
        yield
        if not server.is_mariadb:
            connection.query(f"REVOKE SESSION_VARIABLES_ADMIN ON *.* FROM {ACCOUNT}")


@pytest.mark.usefixtures("may_set_variables")
@pytest.mark.parametrize("hindered", HINDRANCES, indirect=True)
def test_a_variable_does_not_change_the_table(
    database: Database,
    empty_database: Database,
    run_restore: Loader,
    take_backup: Backup,
    hindered: str,
) -> None:
    """A table is created as it was, whatever the server's default of a variable is."""
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    assert loaded.status == 0, f"{hindered}: {loaded.error}"
    assert created(empty_database) == created(database)


@pytest.mark.parametrize(
    "hindered", ["innodb_strict_mode", "sql_generate_invisible_primary_key"], indirect=True
)
def test_a_variable_that_cannot_be_set_is_named(
    server: DatabaseServer,
    empty_database: Database,
    run_restore: Loader,
    take_backup: Backup,
    environment: pytest.MonkeyPatch,
    hindered: str,
) -> None:
    """A variable in the way that the account may not set is named, and no table stays."""
    if hindered.startswith("innodb") and not server.is_mariadb:
        pytest.skip("MySQL creates the table all the same")
    if server.is_mariadb:  # every account may set it there, but not to this value
        environment.setitem(table_creation.VARIABLES, "innodb_strict_mode", "'no'")
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    said = ("in the way may be what DB_USER may not set:", hindered)
    assert (loaded.status, [each in loaded.error for each in said]) == (2, [True, True])
    assert created(empty_database) == []


@pytest.fixture
def copy(
    tmp_path: Path, server: DatabaseServer, database: Database, bucket: Bucket, take_backup: Backup
) -> Path:
    """A copy of a backup with one job, whose schema.sql another server could have printed."""
    database.insert("jobs", [(1, "Clerk")])
    copy = stored_backup.download(bucket, take_backup(), tmp_path)
    schema = (copy / "schema.sql").read_text()
    printed, other = "int unsigned", "int(10) unsigned"
    if server.is_mariadb:
        printed, other = other, printed
    assert printed in schema
    stored_backup.rewrite(copy, "schema.sql", schema.replace(printed, other).encode())
    return copy


def from_version(copy: Path, version: str) -> Path:
    """Says that a server of this version printed the statements."""
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["server_version"] = version
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def test_another_table_is_an_error_or_a_warning(
    empty_database: Database, run_restore: Loader, copy: Path
) -> None:
    """A table that is created otherwise is an error on the same version, else a warning."""
    loaded = run_restore(copy, DB_NAME=empty_database.name)
    assert (loaded.status, created(empty_database)) == (2, [])
    assert "table departments is not created as it was: '`id` int" in loaded.error
    loaded = run_restore(from_version(copy, "5.7.44"), DB_NAME=empty_database.name)
    assert loaded.status == 0, loaded.error
    warnings = [line for line in loaded.log if line["message"] == "table created otherwise"]
    assert [line["table"] for line in warnings] == ["departments", "jobs", "employees"]
    assert {line["before"].startswith("`id` int") for line in warnings} == {True}
    assert all(line["before"] != line["after"] for line in warnings)


def test_created_tables_go_if_the_load_fails(
    empty_database: Database, run_restore: Loader, copy: Path
) -> None:
    """A load that fails after it created tables removes these, and no other."""
    schema = (copy / "schema.sql").read_text().replace("`job` varchar(255)", "`job` varchar(2)")
    stored_backup.rewrite(from_version(copy, "5.7.44"), "schema.sql", schema.encode())
    loaded = run_restore(copy, DB_NAME=empty_database.name)
    assert (loaded.status, created(empty_database)) == (4, []), loaded.error
    empty_database.execute(
        "CREATE TABLE departments (id INT UNSIGNED PRIMARY KEY, department TEXT)"
    )
    before = created(empty_database)
    loaded = run_restore(copy, DB_NAME=empty_database.name)
    assert (loaded.status, created(empty_database)) == (4, before), loaded.error


def test_a_character_set_that_is_printed_otherwise(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A column whose collation the server prints only when it is declared is the same column."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_job")
    database.execute("DROP TABLE jobs")
    database.execute(
        "CREATE TABLE jobs (id INT UNSIGNED PRIMARY KEY) SELECT 1 AS id, 'Clerk' AS job,"
        " CONVERT('a' USING latin1) AS note, CONVERT('a' USING cp1251) AS other"
    )
    database.execute("ALTER TABLE jobs ADD more CHAR(3) COLLATE latin1_bin")
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    assert loaded.status == 0, loaded.error
    assert empty_database.execute("SELECT id, note FROM jobs") == [(1, "a")]


def test_a_column_without_its_default_is_created_so(
    database: Database, take_backup: Backup, run_restore: Loader
) -> None:
    """A column that lost its default, which its CREATE TABLE does not tell, has none again."""
    database.execute("ALTER TABLE jobs ADD code INT, ADD name VARCHAR(9) COMMENT 'a'")
    database.execute("ALTER TABLE jobs ALTER code DROP DEFAULT, ALTER name DROP DEFAULT")
    database.insert("jobs", [(1, "Clerk", None, "x")])
    before = created(database)
    backup = take_backup()["backup"]
    database.execute("DROP TABLE employees, jobs, departments")
    loaded = run_restore(backup)
    assert (loaded.status, loaded.log[-1]["severity"]) == (0, "INFO")
    assert created(database) == before


@pytest.mark.parametrize(
    "change",
    [
        ["ALTER TABLE employees DROP INDEX employees_job"],
        ["ALTER TABLE jobs MODIFY id INT UNSIGNED NOT NULL, DROP PRIMARY KEY"],
        ["ALTER TABLE employees DROP INDEX employees_department, DROP INDEX employees_job"],
    ],
)
def test_a_foreign_key_without_its_index_is_created_so(
    database: Database, take_backup: Backup, run_restore: Loader, change: list[str]
) -> None:
    """A foreign key of MariaDB whose index was dropped, here or there, has none again."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL drops no such index")
    database.execute("INSERT INTO jobs VALUES (1, 'Clerk')")
    with database.connect(init_command="SET foreign_key_checks = 0") as connection:
        for statement in change:
            connection.query(statement)
    before = created(database)
    backup = take_backup()["backup"]
    database.execute("DROP TABLE employees, jobs, departments")
    loaded = run_restore(backup)
    assert loaded.status == 0, loaded.error
    assert created(database) == before


@pytest.fixture
def when_created(environment: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Has a function called with each comparison's arguments, after a table is created."""
    compare = table_creation._compare

    def install(act: Callable[..., None]) -> None:
        def both(*arguments: Any) -> None:
            compare(*arguments)
            act(*arguments)

        environment.setattr(table_creation, "_compare", both)

    return install


def test_created_tables_with_rows_stay_and_are_named(
    empty_database: Database,
    run_restore: Loader,
    take_backup: Backup,
    when_created: Callable[[Callable[..., None]], None],
) -> None:
    """A new table into which somebody writes rows is refused, stays, and is named in the log."""

    def write(*_: Any) -> None:
        empty_database.execute("INSERT IGNORE INTO jobs VALUES (1, 'Clerk')")

    when_created(write)
    for options in ([], ["--replace"]):
        loaded = run_restore(take_backup()["backup"], *options, DB_NAME=empty_database.name)
        assert (loaded.status, "jobs already hold rows" in loaded.error) == (2, True), loaded.error
        (stay,) = (line for line in loaded.log if line["message"] == "created tables stay")
        assert (stay["tables"], stay["reason"]) == (["jobs"], "they hold rows by now")
        assert empty_database.execute("SHOW TABLES") == [("jobs",)]
        assert empty_database.execute("SELECT * FROM jobs") == [(1, "Clerk")]
        empty_database.execute("DROP TABLE jobs")


def test_a_created_table_is_checked_at_once(
    empty_database: Database,
    run_restore: Loader,
    take_backup: Backup,
    when_created: Callable[[Callable[..., None]], None],
) -> None:
    """A new table that became another engine's is refused and removed, before any row is read."""

    def change(*arguments: Any) -> None:
        if "employees" in arguments:
            for key in ("employees_department", "employees_job"):
                empty_database.execute(f"ALTER TABLE employees DROP FOREIGN KEY {key}")
            empty_database.execute("ALTER TABLE employees ENGINE = MyISAM")

    when_created(change)
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    assert (loaded.status, "employees is not InnoDB but MyISAM" in loaded.error) == (2, True)
    assert empty_database.execute("SHOW TABLES") == []


@pytest.mark.parametrize("version", ["", "5.7.44", "restore/schema.sql"])
def test_a_statement_that_does_more_is_refused_whatever_the_manifest_says(
    empty_database: Database, run_restore: Loader, copy: Path, version: str
) -> None:
    """A CREATE TABLE that reads something does not run, whoever the manifest says printed it."""
    schema = (copy / "schema.sql").read_text()
    changed = schema.replace(";\n\n", "\nAS SELECT 1 AS id, 'Clerk' AS job;\n\n", 1)
    stored_backup.rewrite(copy, "schema.sql", changed.encode())
    for options in ([], ["--dry-run"]):
        loaded = run_restore(from_version(copy, version), *options, DB_NAME=empty_database.name)
        assert (loaded.status, created(empty_database)) == (3, [])
        assert "schema.sql does not create it alone" in loaded.error
