"""Creates missing tables as their source declares them, and removes them if the load fails."""

import contextlib
import itertools
import re
from collections.abc import Iterator

import pymysql

import db
from hiring.deadline import Deadline
from hiring.errors import BadSource, BundleError, Misconfigured
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import MISCONFIGURED, translate
from hiring.mysql.statements import execute, quote, select
from hiring.progress import status
from hiring.settings import Settings
from hiring.tables import TABLES
from restore.plan import NEXT_ID, Plan, Unfinished

VARIABLES = {
    "explicit_defaults_for_timestamp": "ON",
    "innodb_strict_mode": "OFF",
    "restrict_fk_on_non_standard_key": "OFF",
    "sql_generate_invisible_primary_key": "OFF",
}
"""Session variables, and the values with which a table becomes what its statement says.

With others, the server adds ON UPDATE or a column, or refuses a row format or a foreign key.
"""
COLUMN = re.compile(r"`(?:[^`]|``)+`")
CHARACTER_SET = re.compile(r" CHARACTER SET (\w+)( COLLATE \w+)?")
DEFAULT_COLLATIONS = """
SELECT character_set_name, collation_name
FROM information_schema.collations
WHERE is_default = 'Yes'
"""
REMOVAL_SECONDS = 60


def missing_tables(connection: Connection) -> list[str]:
    """The missing ones of the three tables, referenced ones first."""
    there = {name for name, *_ in select(connection, db.TABLE_KINDS, TABLES)}
    return [table for table in TABLES if table not in there]


@contextlib.contextmanager
def tables_created(
    settings: Settings, deadline: Deadline, plan: Plan, statements: dict[str, str]
) -> Iterator[None]:
    """Creates the missing ones of the three tables; if the load inside fails, they go again.

    Args:
        settings: of the database.
        deadline: when to give up.
        plan: of the load.
        statements: those of the plan that may run.

    Raises:
        BadSource: there is no statement for a table.
        Misconfigured: the server refuses a statement, or makes another table of it.
    """
    created: list[str] = []
    try:
        # Foreign keys may point to a table that is created later.
        with db.own_connection(settings, deadline, foreign_key_checks=0) as connection:
            missing = missing_tables(connection)
            hindrances = _set_variables(connection) if missing else ""
            for name in missing:
                if name not in statements:
                    raise BadSource(f"table {name} is missing, and {plan.origin} has no such table")
                _create(connection, name, statements[name], plan.origin, hindrances)
                created.append(name)
            for name in created:
                _compare(connection, name, statements[name], plan.printed_by, hindrances)
                status("table created", table=name)
        yield
    except Unfinished:
        raise
    except BaseException:
        if created:
            _remove(settings, created)
        raise


def _set_variables(connection: Connection) -> str:
    """Sets VARIABLES; returns a sentence about those that the account may not set, for messages."""
    left = []
    known = "SHOW SESSION VARIABLES WHERE variable_name IN %s"
    for name, value in select(connection, known, list(VARIABLES)):
        if value != VARIABLES[name]:
            try:
                execute(connection, f"SET SESSION {name} = {VARIABLES[name]}")
            except pymysql.err.Error:
                left.append(f"{name} = {value}")
    return f"; in the way may be what DB_USER may not set: {', '.join(left)}" if left else ""


def _create(
    connection: Connection, table: str, statement: str, origin: str, hindrances: str
) -> None:
    try:
        execute(connection, statement)
    except pymysql.err.Error as error:
        if error.args[0] not in MISCONFIGURED and translate(error):
            raise
        raise Misconfigured(
            f"table {table} is missing, and this server ({connection.server_version}) refuses the"
            f" statement of {origin}: {error.args[1]}{hindrances}; create the table, then load"
            " again"
        ) from error


def _compare(
    connection: Connection, table: str, statement: str, printed_by: str | None, hindrances: str
) -> None:
    """Compares a table with the statement of a server that made it, but for AUTO_INCREMENT."""
    if printed_by is None:
        return
    differing = _differing(connection, table, statement)
    for before, after in differing:
        # A column that lost its default prints none; a new one gets the default NULL.
        if after.replace(" DEFAULT NULL", "", 1) == before and (column := COLUMN.match(before)):
            execute(connection, f"ALTER TABLE {quote(table)} ALTER {column[0]} DROP DEFAULT")
    if differing:
        differing = _differing(connection, table, statement)
    if not differing:
        return
    before, after = differing[0]
    if connection.server_version == printed_by:
        raise Misconfigured(
            f"table {table} is not created as it was: {before or 'nothing'!r} became"
            f" {after or 'nothing'!r}{hindrances}"
        )
    status("table created otherwise", "WARNING", table=table, before=before, after=after)


def _differing(connection: Connection, table: str, statement: str) -> list[tuple[str, str]]:
    """The lines of a statement and of the table that was created by it, where they differ."""
    ((_, created),) = select(connection, f"SHOW CREATE TABLE {quote(table)}")
    defaults = dict(select(connection, DEFAULT_COLLATIONS))
    lines = itertools.zip_longest(
        _lines(statement, defaults), _lines(created, defaults), fillvalue=""
    )
    return [pair for pair in lines if pair[0] != pair[1]]


def _lines(statement: str, defaults: dict[str, str]) -> list[str]:
    """The lines of a statement, with every character set as its collation.

    MySQL prints either or both, depending on the statement that made the column.
    """
    if found := NEXT_ID.search(statement):
        statement = statement[: found.start(1)] + statement[found.end(1) :]
    statement = CHARACTER_SET.sub(
        lambda found: found[2] or f" COLLATE {defaults.get(found[1], found[1])}", statement
    )
    return [line.strip().removesuffix(",") for line in statement.strip().splitlines()]


def _remove(settings: Settings, tables: list[str]) -> None:
    """Removes created tables, unless somebody has written rows into them meanwhile."""
    locks = ", ".join(f"{quote(table)} WRITE" for table in tables)
    try:
        with db.own_connection(
            settings, Deadline(REMOVAL_SECONDS), foreign_key_checks=0
        ) as connection:
            execute(connection, f"LOCK TABLES {locks}")
            empty = [
                quote(table)
                for table in tables
                if not select(connection, f"SELECT 1 FROM {quote(table)} LIMIT 1")
            ]
            if empty:
                execute(connection, f"DROP TABLE {', '.join(empty)}")
    except (BundleError, pymysql.err.Error) as error:
        status("created tables stay", "WARNING", tables=tables, reason=str(error))
