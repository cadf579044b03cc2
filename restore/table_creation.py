"""Creates missing tables as their source declares them, and sets the counters of tables."""

import re

import pymysql

import db
from hiring.deadline import Deadline
from hiring.errors import BadSource, Misconfigured
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import MISCONFIGURED, is_about_the_statement
from hiring.mysql.statements import quote, select
from hiring.progress import status
from hiring.settings import Settings
from hiring.tables import TABLES


def missing_tables(connection: Connection) -> list[str]:
    """The missing ones of the three tables, referenced ones first."""
    there = {name for name, *_ in select(connection, db.TABLE_KINDS, TABLES)}
    return [table for table in TABLES if table not in there]


def create_missing_tables(
    settings: Settings, deadline: Deadline, statements: dict[str, str], origin: str
) -> None:
    """Creates the missing ones of the three tables.

    Args:
        settings: of the database.
        deadline: when to give up.
        statements: the CREATE TABLE of each table.
        origin: of the statements, for messages.

    Raises:
        BadSource: there is no statement for a table.
        Misconfigured: the server refuses a statement.
    """
    # Foreign keys may point to a table that is created later.
    with db.own_connection(settings, deadline, foreign_key_checks=0) as connection:
        for name in missing_tables(connection):
            if name not in statements:
                raise BadSource(f"table {name} is missing, and {origin} has no such table")
            _create(connection, name, statements[name], origin)
            status("table created", table=name)


def _create(connection: Connection, table: str, statement: str, origin: str) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except pymysql.err.Error as error:
        if error.args[0] not in MISCONFIGURED and not is_about_the_statement(error):
            raise
        raise Misconfigured(
            f"table {table} is missing, and this server ({connection.server_version}) refuses the"
            f" statement of {origin}: {error.args[1]}; create the table, then load again"
        ) from error


# Counters


def next_id(create_table: str) -> int:
    """The id of a table's next row, from its SHOW CREATE TABLE."""
    # The table's options follow the columns' closing `)`; text after a quote could be a comment's.
    found = re.search(r"^\)[^'\n]*? AUTO_INCREMENT=(\d+)", create_table, re.MULTILINE)
    return int(found[1]) if found else 1


def set_next_id(connection: Connection, table: str, wanted: int) -> None:
    """Sets the id of the table's next row; commits."""
    ((_, create_table),) = select(connection, f"SHOW CREATE TABLE {quote(table)}")
    if next_id(create_table) != wanted:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {quote(table)} AUTO_INCREMENT = %s", (wanted,))
