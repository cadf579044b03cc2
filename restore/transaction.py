"""The transaction of a load: checks that it is safe, locks, the present rows, the commit."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator

import pymysql

import db
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.errors import Misconfigured
from hiring.mysql.connection import Connection, is_mariadb
from hiring.mysql.statements import execute, quote, select
from hiring.settings import Settings
from hiring.tables import TABLES
from restore import constraints
from restore.plan import Plan, Unfinished, next_id

TRIGGERS = """
SELECT event_object_table, trigger_name
FROM information_schema.triggers
WHERE event_object_schema = DATABASE() AND event_object_table IN %s
"""
COLUMN_DEFAULTS = """
SELECT column_default
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name IN %s AND column_default LIKE '%%val(%%'
"""
SEQUENCE = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|\b(?:next|last|set)val\(((?:`(?:[^`]|``)+`\.)?`(?:[^`]|``)+`)", re.DOTALL
)
"""A text, or a sequence in MariaDB's printed form of a column's default."""


def missing_tables(connection: Connection) -> list[str]:
    """The missing ones of the three tables, referenced ones first."""
    there = {name for name, *_ in select(connection, db.TABLE_KINDS, TABLES)}
    return [table for table in TABLES if table not in there]


def check_tables(settings: Settings, deadline: Deadline, plan: Plan) -> list[Table]:
    """Checks the tables before anything is changed; returns those of the plan that exist.

    Raises Misconfigured if the load would not be safe.
    """
    with db.own_connection(settings, deadline) as connection:
        missing = missing_tables(connection)
        for name in missing:
            if name not in plan.tables:
                raise Misconfigured(
                    f"table {name} is missing, and --table {plan.tables[0]} neither creates nor"
                    " fills it: create it, or restore all three tables"
                )
        there = [name for name in plan.tables if name not in missing]
        existing = [name for name in TABLES if name not in missing]
        _check_loadable(connection, existing)
        db.check_sees(connection, "TRIGGER", existing)
        if plan.replace:
            db.check_sees(connection, "REFERENCES")
        else:
            check_empty(connection, there)
        return [read_table(connection, name) for name in there]


def _check_loadable(connection: Connection, tables: Iterable[str] = TABLES) -> None:
    """Checks that the tables keep inserted rows unchanged and can roll them back."""
    db.check_base_tables(connection, "InnoDB", tables)
    for table, trigger in select(connection, TRIGGERS, TABLES):
        raise Misconfigured(f"table {table} has a trigger, {trigger}, which a load would fire")
    db.check_not_referenced(connection)


def check_empty(connection: Connection, tables: Iterable[str]) -> None:
    """Raises Misconfigured, which names them, if any of the tables hold rows."""
    if full := [table for table in tables if db.has_rows(connection, table)]:
        raise Misconfigured(f"{', '.join(full)} already hold rows; --replace replaces them")


@contextlib.contextmanager
def loading(
    settings: Settings, deadline: Deadline, sql_mode: str, plan: Plan
) -> Iterator[Connection]:
    """A connection with exclusive use of the three tables; those of the plan are empty.

    `SET autocommit = 0`, then LOCK TABLES: START TRANSACTION would release the locks
    (https://dev.mysql.com/doc/refman/8.4/en/lock-tables.html). An exception rolls back what was not
    committed. Foreign keys are not checked row by row: `constraints.check` does, before the commit.

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
        _check_loadable(connection)
        try:
            if not plan.replace:
                check_empty(connection, plan.tables)
            for table in plan.tables if plan.replace else ():
                # TRUNCATE would commit. No row of another table goes by ON DELETE CASCADE.
                execute(connection, f"DELETE FROM {quote(table)}")
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


def commit(
    connection: Connection, next_ids: dict[str, int], committing: Callable[[], None]
) -> None:
    """Calls `committing`, commits, and sets the tables' next ids, which no transaction can.

    Raises Unfinished if it is unknown whether the rows are committed, or a next id is not set.
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
            ((_, create_table),) = select(connection, f"SHOW CREATE TABLE {quote(table)}")
            if next_id(create_table) != wanted:
                execute(connection, f"ALTER TABLE {quote(table)} AUTO_INCREMENT = %s", wanted)
        except Exception as error:
            raise Unfinished(
                f"all rows are loaded, but the next id of {table} could not be set to {wanted}:"
                f" {error.args[-1] if error.args else error!r}"
            ) from error
