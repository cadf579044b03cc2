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
from support import some
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


@pytest.mark.parametrize("replace", [True, False])
def test_a_load_that_may_not_see_a_trigger_does_not_fire_it(
    database: Database,
    grant: Callable[[list[str]], None],
    take_backup: Callable[..., dict[str, Any]],
    run_restore: Loader,
    replace: bool,
) -> None:
    """Without TRIGGER on a table, a load is refused before it fires a trigger that MySQL hides."""
    on = " ON hiring.employees"
    grant([each.replace(f", TRIGGER{on}", on) for each in STATEMENTS])
    source = take_backup()["backup"]
    if not replace:
        for table in reversed(ROWS):
            database.execute(f"DELETE FROM {table}")
    before = count_rows(database)
    database.execute("CREATE TABLE payroll (employee INT)")
    database.execute("INSERT INTO payroll VALUES (1)")
    event = "DELETE" if replace else "INSERT"
    database.execute(
        f"CREATE TRIGGER tidy AFTER {event} ON employees FOR EACH ROW DELETE FROM payroll"
    )
    options = ["--replace", "--yes"] if replace else []
    loaded = run_restore(source, *options, DB_USER="hiring_operate", DB_PASS=PASSWORD)
    assert database.execute("SELECT * FROM payroll") == [(1,)]
    seen = "table employees has a trigger, tidy"
    unseen = f"an administrator can GRANT TRIGGER ON `{database.name}`.`employees` to it"
    assert loaded.status == 2
    assert (seen if database.server.is_mariadb else unseen) in loaded.error
    assert count_rows(database) == before


TRIGGER_RIGHTS = {
    "none": ([], False),
    "everywhere": (["TRIGGER ON *.*"], True),
    "the database": (["ALL ON `ESCAPED`.*"], True),
    "a pattern": (["TRIGGER ON `START%`.*"], True),
    "other databases": (["TRIGGER ON `ESCAPEDx`.*", r"TRIGGER ON `START\%`.*"], False),
    "a pattern behind a name": (["TRIGGER ON `START%`.*", "SELECT ON `ESCAPED`.*"], False),
    "two tables": (["TRIGGER ON NAME.jobs", "ALL ON NAME.departments"], False),
    "each table": (
        ["TRIGGER ON NAME.jobs", "ALL ON NAME.departments", "TRIGGER ON NAME.employees"],
        True,
    ),
    "each table, with columns": (
        ["SELECT (id), TRIGGER ON NAME.employees", "ALL ON NAME.departments", "ALL ON NAME.jobs"],
        True,
    ),
}
"""Grants, and whether they show the triggers of all three tables."""


@pytest.mark.parametrize("by_role", some([False, True]))
@pytest.mark.parametrize("partial_revokes", some(["OFF", "ON"]))
@pytest.mark.parametrize(("grants", "sees"), TRIGGER_RIGHTS.values(), ids=TRIGGER_RIGHTS)
def test_where_the_right_to_see_triggers_may_stand(
    database: Database,
    grant: Callable[[list[str]], None],
    take_backup: Callable[..., dict[str, Any]],
    run_restore: Loader,
    grants: list[str],
    sees: bool,
    partial_revokes: str,
    by_role: bool,
) -> None:
    """A load is refused unless TRIGGER, from whichever grant, shows every trigger on the tables."""
    is_mariadb = database.server.is_mariadb
    source = take_backup()["backup"]
    if partial_revokes == "ON":
        if is_mariadb:
            pytest.skip("MariaDB has no partial revokes")
        # Names of databases are no patterns then.
        sees = sees and not ("%" in grants[0] or "ESCAPED" in grants[0])
        database.execute("SET GLOBAL partial_revokes = ON")
    grant(["GRANT SELECT, INSERT, DELETE, REFERENCES, LOCK TABLES ON *.* TO hiring_operate@'%'"])
    grantee = "hiring_operate@'%'"
    try:
        if by_role:
            database.execute("CREATE ROLE viewer")
            database.execute(f"GRANT viewer TO {grantee}")
            to = "FOR" if is_mariadb else "TO"
            database.execute(f"SET DEFAULT ROLE viewer {to} {grantee}")
            grantee = "viewer"
        escape = r"\_"
        names = {
            "ESCAPED": database.name.replace("_", escape),
            "START": database.name[:-3].replace("_", escape),
            "NAME": database.name,
        }
        for each in grants:
            for word, name in names.items():
                each = each.replace(word, name)
            database.execute(f"GRANT {each} TO {grantee}")
        user = {"DB_USER": "hiring_operate", "DB_PASS": PASSWORD}
        loaded = run_restore(source, "--replace", "--dry-run", **user)
        database.execute("CREATE TRIGGER x BEFORE INSERT ON employees FOR EACH ROW SET @x = 1")
        with session(database, "hiring_operate") as cursor:
            shown = cursor.execute(f"SHOW TRIGGERS FROM {database.name}")
    finally:
        database.execute("DROP ROLE IF EXISTS viewer")
        if not is_mariadb:
            database.execute("SET GLOBAL partial_revokes = OFF")
    assert loaded.status == (0 if sees else 2)
    assert sees or "an administrator can GRANT TRIGGER ON" in loaded.error
    assert shown or not sees


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
