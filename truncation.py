"""A truncation: checks, locks, then empties the three tables."""

from collections.abc import Callable

import pymysql

import db
from hiring.core import logs
from hiring.core.connection import Connection
from hiring.core.deadline import Deadline
from hiring.core.settings import Settings

LOCKED_FOR_READING = 1099


def truncate(
    settings: Settings,
    deadline: Deadline,
    *,
    dry_run: bool,
    while_locked: Callable[[Connection, dict[str, int]], None] | None = None,
) -> dict[str, int]:
    """Empties the three tables and restarts their ids at 1.

    The order: every check, every lock, `while_locked`, then the tables, referencing ones first.
    Writers wait meanwhile. A server that dies between two tables leaves the later ones full;
    another call empties them.

    Args:
        settings: of the database.
        deadline: when to give up.
        dry_run: check and count, but change nothing.
        while_locked: called with the connection that holds the locks, and the rows of each table;
            if it raises, nothing is truncated.

    Returns:
        The rows that each table had.

    Raises:
        Misconfigured: a table is not a base table, another table refers to one of the three, or
            the account may not empty one of them.
        Busy: a table could not be locked in time.
        DatabaseUnavailable, TimedOut: as they say.
    """
    with db.own_connection(
        settings,
        deadline,
        net_write_timeout=db.LOCKED_NET_WRITE_SECONDS,
        wait_timeout=db.LOCKED_IDLE_SECONDS,
    ) as connection:
        db.check_base_tables(connection)
        db.check_not_referenced(connection)
        db.lock_tables(connection, "READ")
        _check_may_truncate(connection)
        if dry_run:
            return db.count_rows(connection)
        db.lock_tables(connection, "WRITE")
        # Checked again: before the locks, something may have changed.
        db.check_base_tables(connection)
        db.check_not_referenced(connection)
        rows = db.count_rows(connection)
        logs.event("tables locked", rows=rows)
        if while_locked:
            while_locked(connection, rows)
        _empty(connection, deadline)
        return rows


def _check_may_truncate(connection: Connection) -> None:
    """Asks the server whether the account may empty each table, whatever grants it that.

    Under this session's own read lock a TRUNCATE changes nothing: the server checks the privilege,
    then refuses with error 1099 because of the lock. A missing privilege is another error.
    """
    for table in db.TABLES:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE TABLE {db.quote(table)}")
        except pymysql.err.Error as error:
            if error.args[0] != LOCKED_FOR_READING:
                raise


def _empty(connection: Connection, deadline: Deadline) -> None:
    with connection.cursor() as cursor:
        # With its checks on, the server refuses to empty a table that another refers to, even
        # one that the account may not see. They are on for employees, which none of the three
        # refers to, and off for the tables that employees refers to.
        for table, checks in zip(reversed(db.TABLES), (1, 0, 0), strict=True):
            deadline.remaining()
            cursor.execute(f"SET SESSION foreign_key_checks = {checks}")
            cursor.execute(f"TRUNCATE TABLE {db.quote(table)}")
            logs.event("table emptied", table=table)
