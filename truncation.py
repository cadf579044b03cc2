"""A truncation: checks, locks, then empties the three tables."""

import contextlib
from collections.abc import Callable

import pymysql

import db
from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import BundleError, Misconfigured, PartlyEmptied
from hiring.mysql import login
from hiring.mysql.connection import Connection, is_mariadb
from hiring.mysql.statements import execute, quote, select
from hiring.settings import Settings
from hiring.tables import TABLES

LOCKED_FOR_READING = 1099
EMPTY_SECONDS = 25
"""Time limit for emptying one table: shorter than the time that a function reserves."""


def truncate(
    settings: Settings,
    deadline: Deadline,
    *,
    dry_run: bool,
    while_locked: Callable[[Connection, dict[str, int]], str] | None = None,
) -> dict[str, int]:
    """Empties the three tables, restarts their ids at 1, and returns the rows that each had.

    The order: every check, every lock, `while_locked`, then the tables. Writers wait meanwhile.
    `while_locked` gets the rows of each table, and returns the address of a backup.
    Without autocommit, LOCK TABLES takes InnoDB's own table locks too, which wait for a prepared XA
    transaction that no session holds any more.

    Once the first table is being emptied, no deadline stops the others. A dry run changes nothing.

    Raises:
        Misconfigured: a table is not a base table, another table refers to one of the three or
            may do so unseen, or the account or the server does not let one of them be emptied.
        Busy, DatabaseUnavailable, TimedOut: as they say; no row is gone.
        PartlyEmptied: emptying failed after the first table was empty.
        Exception: whatever `while_locked` raises; no row is gone.
    """
    with db.own_connection(
        settings, deadline, **db.LOCK_LIMITS, autocommit=0, multi_statements=True
    ) as connection:
        db.check_base_tables(connection)
        db.check_sees(connection, "REFERENCES")
        db.check_not_referenced(connection)
        if is_mariadb(connection):
            for (table,) in select(connection, READ_ONLY, TABLES):
                raise Misconfigured(
                    f"table {table} is compressed, which the server keeps read only"
                )
        db.lock_tables(connection, "READ")
        _check_may_truncate(connection)
        if dry_run:
            execute(connection, "UNLOCK TABLES")  # counting millions of rows takes seconds
            return db.count_rows(connection)
        db.lock_tables(connection, "WRITE")
        # Checked again: before the locks, something may have changed.
        db.check_base_tables(connection)
        db.check_not_referenced(connection)
        rows = db.count_rows(connection)
        logs.event("tables locked", rows=rows)
        backup = while_locked(connection, rows) if while_locked else None
        order = _order(connection)
        deadline.remaining()
        _empty(settings, connection, order, backup)
        return rows


READ_ONLY = """
SELECT table_name
FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name IN %s AND row_format = 'Compressed'
  AND EXISTS (
      SELECT 1
      FROM information_schema.global_variables
      WHERE variable_name = 'innodb_read_only_compressed' AND variable_value = 'ON'
  )
"""
"""Compressed tables that MariaDB does not empty:
https://mariadb.com/kb/en/innodb-system-variables/#innodb_read_only_compressed
"""


def _check_may_truncate(connection: Connection) -> None:
    """Asks the server whether the account may empty each table, whatever grants it that.

    Under this session's own read lock a TRUNCATE changes nothing: the server checks the privilege,
    then refuses with error 1099 because of the lock. A missing privilege is another error.
    """
    for table in TABLES:
        try:
            execute(connection, f"TRUNCATE TABLE {quote(table)}")
        except pymysql.err.Error as error:
            if error.args[0] != LOCKED_FOR_READING:
                raise


REFERENCED = """
SELECT DISTINCT referenced_table_name
FROM information_schema.key_column_usage
WHERE table_schema = DATABASE() AND table_name IN %s
  AND referenced_table_schema = DATABASE() AND referenced_table_name <> table_name
"""
"""The ones of the three tables that another of the three refers to."""


def _order(connection: Connection) -> list[tuple[str, int]]:
    """The tables in the order of emptying, each with the value of `foreign_key_checks` for it.

    With its checks on, the server refuses to empty a table that another refers to, even one that
    the account may not see. The first table has them on, unless one of the three refers to it:
    then nothing is empty yet. The others have them off, since the first one may refer to them.
    """
    referenced = {table for (table,) in select(connection, REFERENCED, TABLES)}
    tables = list(reversed(TABLES))
    first = next((table for table in tables if table not in referenced), None)
    tables.sort(key=lambda table: table != first)
    return [(table, int(table == first)) for table in tables]


EMPTY = "SET SESSION foreign_key_checks = {checks}; TRUNCATE TABLE {table}"


def _empty(
    settings: Settings, connection: Connection, order: list[tuple[str, int]], backup: str | None
) -> None:
    """Empties the tables: one query, which the server finishes even if this process is killed."""
    statements = [EMPTY.format(checks=checks, table=quote(table)) for table, checks in order]
    tables = [table for table, _ in order]
    empty: list[str] = []
    try:
        with connection.cursor() as cursor:
            connection.deadline = Deadline(EMPTY_SECONDS)
            cursor.execute("; ".join(statements))
            for table in tables:
                cursor.nextset()
                empty.append(table)
                logs.event("table emptied", table=table)
                connection.deadline = Deadline(EMPTY_SECONDS)
                cursor.nextset()
    except Exception as error:
        if not empty and connection.open:
            raise  # the server refused the first statement and ran none of the others
        # A lost connection says nothing about the statements that were under way.
        hold_rows = dict.fromkeys(empty, False) | _hold_rows(
            settings, connection, tables[len(empty) :]
        )
        if all(hold_rows.values()):
            raise
        if any(holds is not False for holds in hold_rows.values()):
            raise PartlyEmptied(hold_rows, backup) from error


def _hold_rows(
    settings: Settings, connection: Connection, tables: list[str]
) -> dict[str, bool | None]:
    """Whether each table holds rows; None where the server does not answer.

    The connection is asked first, because it may still hold the locks. If it is lost, a new one
    waits for those locks, and so for the end of the statements that the server still runs.
    """
    ways: list[Callable[[], contextlib.AbstractContextManager[Connection]]] = [
        lambda: contextlib.nullcontext(connection),
        lambda: db.own_connection(settings, Deadline(login.CONNECT_SECONDS)),
    ]
    for way in ways:
        with contextlib.suppress(pymysql.err.Error, BundleError), way() as asked:
            return {table: db.has_rows(asked, table) for table in tables}
    return dict.fromkeys(tables)
