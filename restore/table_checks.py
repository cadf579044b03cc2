"""Checks that a load may fill the three tables, and could take everything back."""

from collections.abc import Iterable

import db
from hiring.errors import Misconfigured
from hiring.mysql.connection import Connection
from hiring.mysql.statements import quote, select
from hiring.tables import TABLES
from restore.plan import Plan
from restore.table_creation import missing_tables

TRIGGERS = """
SELECT event_object_table, trigger_name
FROM information_schema.triggers
WHERE event_object_schema = DATABASE() AND event_object_table IN %s
"""

FULL_TEXT_IDS = """
SELECT table_name
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name IN %s AND column_name = 'FTS_DOC_ID'
  AND EXISTS (
    SELECT 1
    FROM information_schema.statistics
    WHERE statistics.table_schema = columns.table_schema
      AND statistics.table_name = columns.table_name AND index_type = 'FULLTEXT'
  )
"""
"""The tables whose full-text indexes use a column of their own for InnoDB's document ids.

https://dev.mysql.com/doc/refman/8.4/en/innodb-fulltext-index.html
"""


def check_tables(connection: Connection, plan: Plan) -> list[str]:
    """Checks the tables that exist, before anything is changed.

    Returns:
        Those of the plan's tables that exist.

    Raises:
        Misconfigured: the load would not be safe; the message says why.
    """
    missing = missing_tables(connection)
    for name in missing:
        if name not in plan.tables:
            raise Misconfigured(
                f"table {name} is missing, and --table {plan.tables[0]} neither creates nor"
                " fills it: create it, or restore all three tables"
            )
    there = [name for name in plan.tables if name not in missing]
    check_loadable(connection, [name for name in TABLES if name not in missing])
    if plan.replace:
        _check_replaceable(connection, there)
    else:
        check_empty(connection, there)
    return there


def check_loadable(connection: Connection, tables: Iterable[str] = TABLES) -> None:
    """Checks that the tables keep inserted rows unchanged and can roll them back.

    Raises:
        Misconfigured: a table is not an InnoDB table, has a trigger, or is referred to by another
            table; the message names which.
    """
    db.check_base_tables(connection, "InnoDB", tables)
    for table, trigger in select(connection, TRIGGERS, TABLES):
        raise Misconfigured(f"table {table} has a trigger, {trigger}, which a load would fire")
    db.check_not_referenced(connection)


def check_empty(connection: Connection, tables: Iterable[str]) -> None:
    """Checks that the tables hold no row.

    Raises:
        Misconfigured: some do; the message names them.
    """
    if full := [table for table in tables if _has_rows(connection, table)]:
        raise Misconfigured(f"{', '.join(full)} already hold rows; --replace replaces them")


def _check_replaceable(connection: Connection, tables: Iterable[str]) -> None:
    """Checks that rows can be deleted and inserted again in one transaction.

    Raises:
        Misconfigured: a full-text index takes none of its former document ids; the message names
            the table.
    """
    full_text = {table for (table,) in select(connection, FULL_TEXT_IDS, TABLES)}
    for table in full_text.intersection(tables):
        if _has_rows(connection, table):
            raise Misconfigured(
                f"table {table} has a full-text index on the column FTS_DOC_ID, which takes no"
                " value a second time; truncate the table, then load without --replace"
            )


def _has_rows(connection: Connection, table: str) -> bool:
    return bool(select(connection, f"SELECT EXISTS (SELECT 1 FROM {quote(table)})")[0][0])
