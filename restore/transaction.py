"""The transaction of a load: locks, the present rows, the commit."""

import contextlib
import re
from collections.abc import Callable, Iterator

import pymysql

import db
from hiring.deadline import Deadline
from hiring.mysql.connection import Connection
from hiring.mysql.session import is_mariadb
from hiring.mysql.statements import execute, quote, select
from hiring.settings import Settings
from hiring.tables import TABLES
from restore import constraints
from restore.plan import Plan, Unfinished, next_id
from restore.table_checks import check_empty, check_loadable

LOAD_SECONDS = 24 * 3600
"""Time limit of a load, which no platform limits; a load that works takes less than a day."""

COLUMN_DEFAULTS = """
SELECT column_default
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name IN %s AND column_default LIKE '%%val(%%'
"""
SEQUENCE = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|\b(?:next|last|set)val\(((?:`(?:[^`]|``)+`\.)?`(?:[^`]|``)+`)", re.DOTALL
)
"""A text, or a sequence in MariaDB's printed form of a column's default."""


@contextlib.contextmanager
def loading(
    settings: Settings, deadline: Deadline, sql_mode: str, plan: Plan
) -> Iterator[Connection]:
    """A connection with exclusive use of the three tables; those of the plan are empty.

    `SET autocommit = 0`, then LOCK TABLES: START TRANSACTION would release the locks
    (https://dev.mysql.com/doc/refman/8.4/en/lock-tables.html). An exception rolls back what was not
    committed; the end of the block releases the locks. The server does not check foreign keys row
    by row, so rows may come in any order; `constraints.check` checks them before the commit.

    Raises:
        Busy: the tables could not be locked in time.
        Misconfigured: as `check_tables`, repeated under the locks.
        DatabaseUnavailable, TimedOut: the database failed inside the block.
    """
    with db.own_connection(
        settings,
        deadline,
        **db.LOCK_LIMITS,
        foreign_key_checks=0,
        autocommit=0,
        sql_mode=sql_mode,
    ) as connection:
        parents = [key.lock for key in constraints.foreign_keys(connection)]
        db.lock_tables(connection, "WRITE", *parents, *_sequence_locks(connection))
        check_loadable(connection)
        try:
            if plan.replace:
                _empty(connection, plan.tables)
            else:
                check_empty(connection, plan.tables)
            yield connection
        except BaseException:
            with contextlib.suppress(pymysql.err.Error):
                connection.rollback()
            raise


def _sequence_locks(connection: Connection) -> list[str]:
    """The parts of LOCK TABLES for the sequences that give columns their defaults.

    MariaDB uses them in every INSERT, even if it gives a value for each column.
    """
    if not is_mariadb(connection):
        return []
    defaults = select(connection, COLUMN_DEFAULTS, TABLES)
    found = {match[1] for (text,) in defaults for match in SEQUENCE.finditer(text) if match[1]}
    return [f"{sequence} WRITE" for sequence in sorted(found)]


def _empty(connection: Connection, tables: tuple[str, ...]) -> None:
    """Deletes all rows of tables inside the transaction; TRUNCATE would commit it.

    Rows of other tables stay, also those of a foreign key with ON DELETE CASCADE: the server does
    not check foreign keys on this connection.
    """
    for table in tables:
        execute(connection, f"DELETE FROM {quote(table)}")


def commit(
    connection: Connection, next_ids: dict[str, int], committing: Callable[[], None]
) -> None:
    """Commits, and sets the ids of the tables' next rows, which no transaction can.

    Args:
        connection: of `loading`.
        next_ids: by table.
        committing: called just before.

    Raises:
        Unfinished: it is unknown whether the rows are committed, or a next id is not set.
    """
    committing()
    try:
        connection.commit()
    except (Exception, KeyboardInterrupt) as error:
        raise Unfinished(
            "the load was interrupted or lost its connection at its commit; all rows are loaded or"
            " none: look at the tables"
        ) from error
    for table, wanted in next_ids.items():
        try:
            _set_next_id(connection, table, wanted)
        except Exception as error:
            raise Unfinished(
                f"all rows are loaded, but the next id of {table} could not be set to {wanted}:"
                f" {error.args[-1] if error.args else error!r}"
            ) from error


def _set_next_id(connection: Connection, table: str, wanted: int) -> None:
    ((_, create_table),) = select(connection, f"SHOW CREATE TABLE {quote(table)}")
    if next_id(create_table) != wanted:
        execute(connection, f"ALTER TABLE {quote(table)} AUTO_INCREMENT = %s", wanted)
