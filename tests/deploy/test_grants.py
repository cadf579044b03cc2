"""Each function works with exactly the rights in `grants.sql`, and these allow nothing else."""

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from conftest import Database, Loader, forget_settings
from werkzeug.test import Client

import manage

GRANTS = re.sub("--.*", "", (Path(__file__).parents[2] / "deploy/grants.sql").read_text())
STATEMENTS = [statement.strip() for statement in GRANTS.split(";") if statement.strip()]
REPORTS, BACKUP, TRUNCATION = "hiring_reports", "hiring_backup", "hiring_truncation"
USERS = sorted({re.findall(r" TO (\w+)@", statement)[0] for statement in STATEMENTS})
OF_FUNCTIONS = [each for each in STATEMENTS if re.search(" TO hiring_(rep|back|trunc)", each)]
PASSWORD = "only for tests"
DENIED = {1044, 1142, 1227, 1370}  # no right to a database, to a table, to an action, to a routine

ROWS = {"departments": 2, "jobs": 1, "employees": 2}


@pytest.fixture
def grant(database: Database) -> Iterator[Callable[[list[str]], None]]:
    """Creates the users and runs the given statements of `grants.sql` for them."""
    database.insert("departments", [(1, "Sales"), (2, "O'Neill's")])
    database.insert("jobs", [(1, "Clerk")])
    database.insert(
        "employees",
        [(1, "Ana", "2021-02-03 04:05:06", 1, 1), (2, "Bo", "2021-11-03 04:05:06", 1, 1)],
    )

    def grant(statements: list[str]) -> None:
        for user in USERS:
            database.execute(f"CREATE USER {user}@'%%' IDENTIFIED BY %s", (PASSWORD,))
        for statement in statements:
            statement = statement.replace("hiring_drill.", f"`{database.name}_drill`.")
            database.execute(statement.replace("hiring.", f"{database.name}."))

    yield grant
    for user in USERS:
        database.execute(f"DROP USER IF EXISTS {user}@'%'")


@pytest.fixture
def granted(grant: Callable[[list[str]], None]) -> None:
    """Creates the users with all rights of `grants.sql`."""
    grant(STATEMENTS)


@pytest.fixture
def call(environment: pytest.MonkeyPatch, client: Client) -> Any:
    """Calls a function as one of the users; returns the status and the answer."""

    def call(user: str, path: str) -> Any:
        forget_settings()
        environment.setenv("DB_USER", user)
        environment.setenv("DB_PASS", PASSWORD)
        response = client.get(path)
        return response.status_code, response.json

    return call


@contextlib.contextmanager
def session(database: Database, user: str) -> Iterator[pymysql.cursors.Cursor]:
    with (
        database.connect(user=user, password=PASSWORD) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def allowed(database: Database, user: str, statements: list[str]) -> list[str]:
    """The statements that the server does not refuse for a missing right."""
    done = []
    for statement in statements:
        with session(database, user) as cursor:
            try:
                cursor.execute(statement)
            except pymysql.err.Error as error:
                if error.args[0] in DENIED:
                    continue
        done.append(statement)
    return done


def count_rows(database: Database) -> dict[str, int]:
    return {table: database.execute(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ROWS}


@contextlib.contextmanager
def referring_table(database: Database, where: str) -> Iterator[str]:
    """Creates a fourth table that refers to employees, in the same database or in another."""
    other = f"other_{uuid.uuid4().hex[:8]}"
    name = f"{database.name if where == 'same' else other}.bonuses"
    database.execute(f"CREATE DATABASE {other}")
    database.execute(
        f"CREATE TABLE {name} (employee INT UNSIGNED,"
        f" FOREIGN KEY (employee) REFERENCES {database.name}.employees (id))"
    )
    try:
        yield name
    finally:
        database.execute(f"DROP TABLE {name}")
        database.execute(f"DROP DATABASE {other}")


def what_works(database: Database, call: Callable[..., Any]) -> dict[str, bool]:
    """Whether each function works for its own user."""
    works = {
        path: call(user, path)[0] == 200
        for user, path in [
            (REPORTS, "/quarterly-hired?format=json"),
            (REPORTS, "/hiring-by-department?format=json"),
            (BACKUP, "/backup-data"),
            (TRUNCATION, "/truncate-tables?dry_run=true"),
        ]
    }
    with referring_table(database, "another"):
        refused = call(TRUNCATION, "/truncate-tables?dry_run=true")[0] == 500
    return works | {"refuse to orphan rows": refused}


def test_every_function_works_with_its_users_rights(
    database: Database, granted: None, call: Callable[..., Any]
) -> None:
    """Reports, backup and truncation each work as a user of their own."""
    assert what_works(database, call) == {
        "/quarterly-hired?format=json": True,
        "/hiring-by-department?format=json": True,
        "/backup-data": True,
        "/truncate-tables?dry_run=true": True,
        "refuse to orphan rows": True,
    }
    assert count_rows(database) == ROWS


@pytest.mark.parametrize("left_out", OF_FUNCTIONS)
def test_no_grant_is_more_than_needed(
    database: Database, grant: Callable[[list[str]], None], call: Callable[..., Any], left_out: Any
) -> None:
    """Without any single grant, a function fails or a table that refers to ours is missed."""
    grant([statement for statement in STATEMENTS if statement != left_out])
    assert not all(what_works(database, call).values())


@pytest.mark.parametrize("backup_first", ["false", "true"])
def test_the_truncation_works_with_its_users_rights(
    database: Database, granted: None, call: Callable[..., Any], backup_first: Any
) -> None:
    """The user of the truncation can empty the tables, with a backup first and without."""
    assert call(TRUNCATION, f"/truncate-tables?backup_first={backup_first}")[0] == 200
    assert count_rows(database) == dict.fromkeys(ROWS, 0)


@pytest.mark.parametrize("where", ["same", "another"])
def test_the_truncation_sees_every_table_that_refers_to_the_three(
    database: Database, granted: None, call: Callable[..., Any], where: Any
) -> None:
    """A truncation names a table that refers to ours, even if the user may not read it."""
    with referring_table(database, where) as name:
        status, answer = call(TRUNCATION, "/truncate-tables")
        with session(database, TRUNCATION) as cursor, pytest.raises(pymysql.err.Error) as refused:
            cursor.execute(f"SELECT * FROM {name}")
    assert (status, answer["error"]["code"]) == (500, "misconfigured")
    assert name in answer["error"]["message"]
    assert refused.value.args[0] in DENIED
    assert count_rows(database) == ROWS


OF_DRILL = [each for each in STATEMENTS if "TO hiring_drill@" in each]
DRILL_RIGHTS = re.findall("[A-Z ]+(?=,| ON)", OF_DRILL[0].removeprefix("GRANT"))


# ALTER sets a next id, which most tables have from their creation; MariaDB asks for no REFERENCES.
@pytest.mark.slow
@pytest.mark.parametrize(
    "left_out", ["", *(each for each in DRILL_RIGHTS if each not in (" ALTER", " REFERENCES"))]
)
def test_a_drill_works_with_its_users_rights_and_no_fewer(
    database: Database,
    grant: Callable[[list[str]], None],
    call: Callable[..., Any],
    left_out: str,
) -> None:
    """A drill works with the scratch database alone; without one of these rights it fails."""
    rights = ",".join(each for each in DRILL_RIGHTS if each != left_out)
    drill = OF_DRILL[0].replace(",".join(DRILL_RIGHTS), rights)
    grant([each for each in STATEMENTS if each not in OF_DRILL] + [drill])
    assert call(BACKUP, "/backup-data")[0] == 200
    forget_settings()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DB_USER", "hiring_drill")
        assert (manage.main(["drill"]) == 0) == (not left_out)


@pytest.mark.parametrize("hindrance", ["foreign key", "trigger", "unseen"])
def test_the_operators_user_sees_what_makes_a_load_unsafe(
    database: Database,
    grant: Callable[[list[str]], None],
    take_backup: Callable[..., dict[str, Any]],
    run_restore: Loader,
    hindrance: str,
) -> None:
    """Its load refuses a trigger, a foreign key from elsewhere, and not to see every such key."""
    everywhere = "GRANT REFERENCES ON *.* TO hiring_operate@'%'"
    grant([each for each in STATEMENTS if (hindrance, each) != ("unseen", everywhere)])
    source = take_backup()["backup"]
    with referring_table(database, "another") as name:
        if hindrance == "trigger":
            database.execute(f"DROP TABLE {name}")
            database.execute(f"CREATE TABLE {name} (employee INT)")
            logs = f"FOR EACH ROW INSERT INTO {name} VALUES (OLD.id)"
            database.execute(f"CREATE TRIGGER log_it AFTER DELETE ON employees {logs}")
        options = ["--replace", "--yes"]
        loaded = run_restore(source, *options, DB_USER="hiring_operate", DB_PASS=PASSWORD)
        assert database.execute(f"SELECT * FROM {name}") == []
    words = {
        "foreign key": f"the rows of {name} would be orphaned",
        "trigger": "table employees has a trigger, log_it",
        "unseen": "an administrator can GRANT REFERENCES ON *.* to it",
    }
    assert loaded.status == 2
    assert words[hindrance] in loaded.error
    assert count_rows(database) == ROWS


CHANGING = [
    "INSERT INTO jobs VALUES (9, 'x')",
    "REPLACE INTO jobs VALUES (1, 'x')",
    "UPDATE employees SET name = 'x'",
    "DELETE FROM employees",
    "ALTER TABLE employees ADD COLUMN x INT",
    "ALTER TABLE employees AUTO_INCREMENT = 99",
    "CREATE TABLE x (id INT)",
    "CREATE INDEX x ON employees (name)",
    "CREATE VIEW x AS SELECT 1",
    "RENAME TABLE employees TO x",
    "CREATE TRIGGER x BEFORE INSERT ON jobs FOR EACH ROW SET @x = 1",
    "GRANT SELECT ON employees TO hiring_reports@'%'",
]
EMPTYING = [
    "TRUNCATE TABLE employees",
    "DROP TABLE employees",
    "LOCK TABLES employees WRITE",
    "LOCK TABLES employees READ",
]


@pytest.mark.parametrize("user", [REPORTS, BACKUP])
def test_reports_and_backup_can_change_nothing(
    database: Database, granted: None, call: Callable[..., Any], user: str
) -> None:
    """These users can neither change nor lock a table, nor truncate with the function."""
    assert allowed(database, user, CHANGING + EMPTYING) == []
    status, answer = call(user, "/truncate-tables")
    assert (status, answer["error"]["code"]) == (500, "misconfigured")
    assert count_rows(database) == ROWS


def test_the_truncation_can_empty_the_tables_but_not_write_them(
    database: Database, granted: None
) -> None:
    """The truncation's user can neither write a row, nor alter a table or add a foreign key."""
    reference = "ALTER TABLE jobs ADD FOREIGN KEY (id) REFERENCES departments (id)"
    assert allowed(database, TRUNCATION, [*CHANGING, reference]) == []
    assert count_rows(database) == ROWS
