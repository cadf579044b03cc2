"""Creates missing tables as their source declares them, and removes them if the load fails."""

import contextlib
import itertools
import re
from collections.abc import Iterator

import pymysql

import db
from hiring.deadline import Deadline
from hiring.errors import BadSource, BundleError, Misconfigured
from hiring.mysql import create_table
from hiring.mysql.connection import Connection, is_mariadb
from hiring.mysql.server_errors import MISCONFIGURED, translate
from hiring.mysql.statements import execute, quote, select
from hiring.progress import status
from hiring.settings import RESERVED_SECONDS, Settings
from restore.plan import NEXT_ID, Plan, RestorePlan, Unfinished
from restore.transaction import check_empty, missing_tables

VARIABLES = {
    "explicit_defaults_for_timestamp": "ON",
    "innodb_strict_mode": "OFF",
    "restrict_fk_on_non_standard_key": "OFF",
    "sql_generate_invisible_primary_key": "OFF",
}
"""Session variables, and the values with which a table becomes what its statement says.

With others, the server adds ON UPDATE or a column, or refuses a row format or a foreign key.
"""
NAME = re.compile(r"`(?:[^`]|``)+`")
INDEX = re.compile(r"KEY (`(?:[^`]|``)+`) ")
CHARACTER_SET = re.compile(r" CHARACTER SET (\w+)( COLLATE \w+)?")
DEFAULT_COLLATIONS = """
SELECT character_set_name, collation_name
FROM information_schema.collations
WHERE is_default = 'Yes'
"""


@contextlib.contextmanager
def tables_created(settings: Settings, deadline: Deadline, plan: Plan) -> Iterator[None]:
    """Creates the missing ones of the three tables; if the load inside fails, they go again.

    Raises BadSource as `statement_of`, Misconfigured if the server refuses a statement, or makes
    another table of it.
    """
    created: list[str] = []
    try:
        # Foreign keys may point to a table that is created later. They come first: MariaDB takes
        # one that refers to columns without an index only while these do not exist.
        with db.own_connection(settings, deadline, foreign_key_checks=0) as connection:
            missing = missing_tables(connection)
            hindrances = _set_variables(connection) if missing else ""
            for name in reversed(missing):
                _create(connection, plan, name, hindrances)
                created.append(name)
            for name in missing:
                _compare(connection, plan, name, hindrances)
                status("table created", table=name)
            db.check_base_tables(connection, "InnoDB", missing)
            check_empty(connection, missing)
        yield
    except BaseException as error:
        if created and not isinstance(error, Unfinished):
            _remove(settings, created)
        raise


def statement_of(plan: Plan, table: str) -> str:
    """The statement that creates a missing table; BadSource if there is none, or it does more."""
    if table not in plan.statements:
        raise BadSource(f"table {table} is missing, and schema.sql does not create it")
    statement = plan.statements[table]
    # What a bucket holds runs with the operator's rights.
    if isinstance(plan, RestorePlan) and (fault := create_table.fault(table, statement)):
        raise BadSource(
            f"table {table} is missing, and {plan.backup.address}schema.sql does not create it"
            f" alone: {fault}; create the table, then load again"
        )
    return statement


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


def _create(connection: Connection, plan: Plan, table: str, hindrances: str) -> None:
    statement = statement_of(plan, table)
    try:
        execute(connection, statement)
    except pymysql.err.Error as error:
        if error.args[0] not in MISCONFIGURED and translate(error):
            raise
        raise Misconfigured(
            f"table {table} is missing, and this server ({connection.server_version}) refuses its"
            f" statement in schema.sql: {error.args[1]}{hindrances}; create the table, then load"
            " again"
        ) from error


def _compare(connection: Connection, plan: Plan, table: str, hindrances: str) -> None:
    """Makes a new table what it was, and compares both statements, but for AUTO_INCREMENT."""
    if not isinstance(plan, RestorePlan):
        return
    wanted, found = _lines(connection, plan.statements[table], table)
    indexes = {index[1] for line in wanted if (index := INDEX.match(line))}
    for line in found.copy() if is_mariadb(connection) else ():
        # It adds an index for a foreign key, which may have lost it.
        if (index := INDEX.match(line)) and index[1] not in indexes:
            execute(connection, f"ALTER TABLE {quote(table)} DROP INDEX {index[1]}")
            found.remove(line)
    for before, after in zip(wanted, found, strict=False):
        # A column that lost its default prints none; a new one gets the default NULL.
        lost_default = before != after and after.replace(" DEFAULT NULL", "", 1) == before
        if lost_default and (column := NAME.match(before)):
            execute(connection, f"ALTER TABLE {quote(table)} ALTER {column[0]} DROP DEFAULT")
    pairs = itertools.zip_longest(
        *_lines(connection, plan.statements[table], table), fillvalue="nothing"
    )
    before, after = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
    if before == after:
        return
    if connection.server_version == plan.backup.manifest.server_version:
        raise Misconfigured(
            f"table {table} is not created as it was: {before!r} became {after!r}{hindrances}"
        )
    status("table created otherwise", "WARNING", table=table, before=before, after=after)


def _lines(connection: Connection, statement: str, table: str) -> tuple[list[str], list[str]]:
    """The lines of a statement, and of the table that it created.

    Every character set becomes its collation: MySQL prints either or both.
    """
    defaults = dict(select(connection, DEFAULT_COLLATIONS))
    ((_, created),) = select(connection, f"SHOW CREATE TABLE {quote(table)}")

    def lines(text: str) -> list[str]:
        if found := NEXT_ID.search(text):
            text = text[: found.start(1)] + text[found.end(1) :]
        text = CHARACTER_SET.sub(
            lambda found: found[2] or f" COLLATE {defaults.get(found[1], found[1])}", text
        )
        return [line.strip().removesuffix(",") for line in text.strip().splitlines()]

    return lines(statement), lines(created)


def _remove(settings: Settings, tables: list[str]) -> None:
    """Removes created tables, unless somebody has written rows into them meanwhile."""
    locks = ", ".join(f"{quote(table)} WRITE" for table in tables)
    stay, reason = tables, "they hold rows by now"
    try:
        deadline = Deadline(RESERVED_SECONDS)
        with db.own_connection(settings, deadline, foreign_key_checks=0) as connection:
            execute(connection, f"LOCK TABLES {locks}")
            full = [table for table in tables if db.has_rows(connection, table)]
            if empty := [quote(table) for table in tables if table not in full]:
                execute(connection, f"DROP TABLE {', '.join(empty)}")
            stay = full
    except (BundleError, pymysql.err.Error) as error:
        reason = str(error)
    if stay:
        status("created tables stay", "WARNING", tables=stay, reason=reason)
