"""Loads into tables or servers that restrict rows: constraints, ids, the binary log."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ACCOUNT, PASSWORD, PROJECT, Database, Loader
from support import content, insert_names

from local.database import DatabaseServer

Backup = Callable[..., dict[str, Any]]
RESTORED = "rows that broke a constraint are restored"


@pytest.fixture(autouse=True)
def rows(database: Database) -> None:
    """Inserts two departments, a job and three employees."""
    insert_names(database)
    database.insert(
        "employees",
        [(number, name, "2021-02-03", 1, 1) for number, name in enumerate(("Ana", "Bo", "Cy"), 1)],
    )


def warnings(log: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The message and the reason of each warning."""
    return [(line["message"], line["reason"]) for line in log if line["severity"] == "WARNING"]


# Foreign keys


def orphan(database: Database) -> None:
    """Removes the department that every employee refers to."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        cursor.execute("DELETE FROM departments WHERE id = 1")


def test_rows_that_broke_a_foreign_key_are_restored_with_a_warning(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Rows without their referenced row are restored as they were; a warning names the key."""
    orphan(database)
    before = content(database)
    backup = take_backup()["backup"]
    for target, options in ((empty_database, []), (database, ["--replace"])):
        loaded = run_restore(backup, *options, DB_NAME=target.name)
        assert loaded.status == 0, loaded.error
        assert content(target) == before
        reason = (
            "3 rows of employees refer to a row of departments that is not there"
            " (foreign key employees_department)"
        )
        assert warnings(loaded.log) == [(RESTORED, reason)]


def test_rows_that_break_a_newer_foreign_key_are_refused(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Rows that break a foreign key newer than the backup are refused, and the old rows stay."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    database.execute("UPDATE employees SET department_id = 9 WHERE id = 3")
    backup = take_backup()["backup"]
    database.execute("DELETE FROM employees")
    database.execute(
        "ALTER TABLE employees ADD CONSTRAINT employees_department FOREIGN KEY (department_id)"
        " REFERENCES departments (id)"
    )
    before = content(database)
    loaded = run_restore(backup, "--replace")
    assert loaded.status == 4
    assert loaded.error == (
        "nothing was loaded: table employees: 1 row of employees refers to a row of departments"
        " that is not there (foreign key employees_department), such as department_id 9"
    )
    assert content(database) == before


def test_rows_that_miss_a_row_of_a_fourth_table_are_refused(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Rows without their row of a fourth table are refused, because no backup has that table."""
    database.execute("CREATE TABLE sites (id INT PRIMARY KEY) ENGINE = InnoDB")
    database.execute("INSERT INTO sites VALUES (1)")
    database.execute("ALTER TABLE jobs ADD site INT DEFAULT 1")
    database.execute("ALTER TABLE jobs ADD FOREIGN KEY (site) REFERENCES sites (id)")
    backup = take_backup()["backup"]
    database.execute("UPDATE jobs SET site = NULL")
    database.execute("DELETE FROM sites")
    before = content(database)
    loaded = run_restore(backup, "--replace")
    assert (loaded.status, "a row of sites that is not there" in loaded.error) == (4, True)
    assert content(database) == before


def test_a_missing_fourth_table_is_named(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A fourth table that a foreign key needs is named, by the backup and by the restore."""
    database.execute("CREATE TABLE sites (id INT PRIMARY KEY) ENGINE = InnoDB")
    database.execute("ALTER TABLE jobs ADD site INT, ADD FOREIGN KEY (site) REFERENCES sites (id)")
    manifest = take_backup()
    warning = "no restore fills table jobs without `sites`, which no backup has"
    assert manifest["schema"]["warnings"] == [warning]
    loaded = run_restore(manifest["backup"], DB_NAME=empty_database.name)
    assert loaded.status == 2
    assert f"Table '{empty_database.name}.sites' doesn't exist" in loaded.error
    assert empty_database.execute("SHOW TABLES") == []


# CHECK constraints

CHECK = (
    "ALTER TABLE employees ADD CONSTRAINT known CHECK (name <> 'O''Neill \\\\ %' AND name <> 'Bo')"
)


def test_rows_that_broke_a_check_are_restored_with_a_warning(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Rows older than a CHECK constraint are restored as they were; a warning names it."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL adds no CHECK constraint that a row breaks")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET check_constraint_checks = 0")
        cursor.execute(CHECK)
        cursor.execute("ALTER TABLE jobs MODIFY job VARCHAR(99) CHECK (job LIKE '%x%')")
    before = content(database)
    backup = take_backup()["backup"]
    for target, options in ((empty_database, []), (database, ["--replace"])):
        loaded = run_restore(backup, *options, DB_NAME=target.name)
        assert loaded.status == 0, loaded.error
        assert content(target) == before
        assert warnings(loaded.log) == [
            (RESTORED, "1 row of employees breaks the CHECK constraint known"),
            (RESTORED, "1 row of jobs breaks the CHECK constraint job"),
        ]


def test_rows_that_break_a_newer_check_are_refused(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Rows that break a CHECK constraint newer than the backup are refused, naming it."""
    backup = take_backup()["backup"]
    database.execute("UPDATE employees SET name = 'Bob' WHERE id = 2")
    database.execute(CHECK)
    before = content(database)
    loaded = run_restore(backup, "--replace")
    assert loaded.status == 4
    assert loaded.error.startswith("nothing was loaded: table employees: "), loaded.error
    assert "known" in loaded.error
    assert content(database) == before


def test_rows_of_a_check_that_is_not_enforced_are_restored(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A NOT ENFORCED constraint of MySQL is restored with the rows that break it."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB has no NOT ENFORCED")
    database.execute(f"{CHECK} NOT ENFORCED")
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    assert loaded.status == 0, loaded.error
    assert content(empty_database) == content(database)


# Sequences


def test_a_default_from_a_sequence_uses_up_no_value(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A load into a column whose default is a sequence works and uses up none of its values."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL has no sequences")
    database.execute("CREATE SEQUENCE `the ``ids`")
    database.execute("ALTER TABLE jobs MODIFY id INT UNSIGNED DEFAULT (NEXTVAL(`the ``ids`) + 50)")
    database.execute("ALTER TABLE jobs ADD note VARCHAR(99) DEFAULT 'nextval(`no`.`such`)'")
    database.execute("INSERT INTO jobs (job) VALUES ('Cook')")
    database.execute("CREATE USER operator@'%%' IDENTIFIED BY %s", (PASSWORD,))
    rights = "SELECT, INSERT, DELETE, LOCK TABLES, TRIGGER"
    database.execute(f"GRANT {rights} ON {database.name}.* TO operator@'%'")
    database.execute("GRANT REFERENCES ON *.* TO operator@'%'")
    before = content(database)
    backup = take_backup()["backup"]
    try:
        loaded = run_restore(backup, "--replace", DB_USER="operator")
    finally:
        database.execute("DROP USER operator@'%'")
    assert loaded.status == 0, loaded.error
    assert content(database) == before
    assert database.execute("SELECT NEXTVAL(`the ``ids`)") == [(2,)]


# Full-text indexes


@pytest.mark.slow
def test_document_ids_are_restored_into_empty_tables(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """FTS_DOC_ID values are restored into empty tables, and --replace is refused for them."""
    # MySQL 9.7 crashes on a SELECT from a table to which this column was added instantly.
    database.execute(
        "ALTER TABLE jobs ADD FTS_DOC_ID BIGINT UNSIGNED NOT NULL DEFAULT 30,"
        " ADD UNIQUE FTS_DOC_ID_INDEX (FTS_DOC_ID), ALGORITHM = COPY"
    )
    database.execute("INSERT INTO jobs VALUES (7, 'Cook', 10)")
    without_index = take_backup()["backup"]
    assert run_restore(without_index, "--replace").status == 0
    database.execute("ALTER TABLE jobs ADD FULLTEXT (job)")
    before = content(database)
    backup = take_backup()["backup"]
    loaded = run_restore(backup, DB_NAME=empty_database.name)
    assert loaded.status == 0, loaded.error
    assert content(empty_database) == before
    loaded = run_restore(backup, "--replace")
    assert (loaded.status, "table jobs: the database refuses a row: " in loaded.error) == (4, True)
    assert content(database) == before
    for table in ("employees", "jobs", "departments"):
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET foreign_key_checks = 0")
            cursor.execute(f"TRUNCATE {table}")
    assert run_restore(backup).status == 0
    assert content(database) == before


# The binary log


@pytest.fixture
def statement_log(tmp_path: Path) -> Iterator[Database]:
    """A database on a server that logs statements and whose sessions are READ COMMITTED."""
    options = ["--log-bin=binlog", "--server-id=1", "--binlog-format=STATEMENT"]
    server = DatabaseServer(tmp_path / "server", options=options)
    server.start()
    try:
        server.create_database("hiring")
        server.create_account(ACCOUNT, PASSWORD, "hiring")
        logged = Database(server, "hiring")
        logged.run_script(PROJECT / "restore/schema.sql")
        insert_names(logged)
        logged.execute("SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield logged
    finally:
        server.stop()


@pytest.mark.slow
def test_replace_works_on_a_server_that_logs_statements(
    database: Database, statement_log: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """--replace works on a server that logs statements and whose sessions are READ COMMITTED."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("INSERT INTO employees VALUES (300, 'Eve', '0000-00-00', 1, 1)")
    backup = take_backup()["backup"]
    loaded = run_restore(backup, "--replace", **statement_log.environment)
    assert loaded.status == 0, loaded.error
    assert loaded.outcomes["employees"] == (4, 4, 0, "")
    assert content(statement_log) == content(database)
