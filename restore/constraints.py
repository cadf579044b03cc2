"""Finds rows that break a foreign key, or a CHECK constraint of MariaDB, after a load.

The server checks neither during a load. A constraint that was added while its checks were off may
have rows that break it; a restore brings them back.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hiring.errors import RowRefused
from hiring.mysql.connection import Connection, is_mariadb
from hiring.mysql.statements import quote, select
from hiring.progress import status
from hiring.tables import TABLES
from hiring.terminal import counted

FOREIGN_KEYS = """
SELECT table_schema, table_name, constraint_name, referenced_table_schema, referenced_table_name,
    column_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema = DATABASE() AND table_name IN %s AND referenced_table_name IS NOT NULL
ORDER BY table_name, constraint_name, ordinal_position
"""

CHECKS = """
SELECT table_name, constraint_name, check_clause
FROM information_schema.check_constraints
WHERE constraint_schema = DATABASE() AND table_name IN %s
ORDER BY table_name, constraint_name
"""
"""MariaDB's CHECK constraints, including those of columns, which have the column's name."""


@dataclass(frozen=True)
class Constraint:
    """A foreign key or a CHECK constraint of one of the three tables.

    Attributes:
        rows: FROM and WHERE for rows that break it.
        values: the same, with each value of a foreign key once.
        definition: in a CREATE TABLE; None for a foreign key to a fourth table.
        columns: of a foreign key.
        lock: the part of LOCK TABLES for a foreign key's parent.
    """

    table: str
    verb: str
    broken: str
    rows: str
    values: str
    definition: str | None
    columns: tuple[str, ...] = ()
    lock: str = ""


def foreign_keys(connection: Connection) -> list[Constraint]:
    """The foreign keys of the three tables."""
    keys: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for *key, column, parent_column in select(connection, FOREIGN_KEYS, TABLES):
        keys.setdefault(tuple(key), []).append((column, parent_column))
    found = []
    for number, ((schema, name, key, parent_schema, parent), pairs) in enumerate(keys.items()):
        columns, parent_columns = zip(*pairs, strict=True)
        own, others = list(map(quote, columns)), list(map(quote, parent_columns))
        # Under LOCK TABLES each use of a table needs its own lock, by an alias of its own.
        table, alias = quote(name), f"parent_{number}"
        source = f"{quote(parent_schema)}.{quote(parent)} AS {alias}"
        matches = (
            f"{alias}.{other} = {table}.{each}" for each, other in zip(own, others, strict=True)
        )
        # A NULL refers to nothing.
        refers = (f"{table}.{each} IS NOT NULL" for each in own)
        missing = (
            f"LEFT JOIN {source} ON {' AND '.join(matches)}"
            f" WHERE {' AND '.join(refers)} AND {alias}.{others[0]} IS NULL"
        )
        definition = (
            f"FOREIGN KEY ({', '.join(own)}) REFERENCES {quote(parent)} ({', '.join(others)})"
        )
        found.append(
            Constraint(
                name,
                "refer",
                f"to a row of {parent} that is not there (foreign key {key})",
                f"FROM {table} {missing}",
                f"FROM (SELECT DISTINCT {', '.join(own)} FROM {table}) AS {table} {missing}",
                definition if parent_schema == schema and parent in TABLES else None,
                columns,
                f"{source} READ",
            )
        )
    return found


def _checks(connection: Connection) -> list[Constraint]:
    """The CHECK constraints that MariaDB does not check during a load."""
    found = []
    for table, name, clause in select(connection, CHECKS, TABLES) if is_mariadb(connection) else ():
        # A clause that is NULL is not false. It may depend on the whole row.
        rows = f"FROM {quote(table)} WHERE NOT ({clause})"
        broken = f"the CHECK constraint {name}"
        found.append(Constraint(table, "break", broken, rows, rows, f"CHECK ({clause})"))
    return found


def check(connection: Connection, backed_up: Mapping[str, str], filled: Collection[str]) -> None:
    """Checks that no rows break a constraint, except those that a backup had already.

    `backed_up` has the CREATE TABLE of each table of a backup. Rows that break a constraint in it
    broke it when they were backed up: they stay, with a warning. Unless all tables were filled, no
    row may break a foreign key, because the rows of the others are of another time. For other rows
    it raises RowRefused, which names each constraint, and how many rows break it.
    """
    refused = []
    checks = [each for each in _checks(connection) if each.table in filled]
    for each in [*foreign_keys(connection), *checks]:
        # Millions of rows refer to few others: MariaDB takes seconds to look each row up.
        own = [f"{quote(each.table)}.{quote(column)}" for column in each.columns]
        example = select(connection, f"SELECT {', '.join(own) or 1} {each.values} LIMIT 1")
        if not example:
            continue
        ((rows,),) = select(connection, f"SELECT COUNT(*) {each.rows}")
        verb = f"{each.verb}s" if rows == 1 else each.verb
        reason = f"{counted(rows, 'row')} of {each.table} {verb} {each.broken}"
        may_stay = not each.columns or set(filled) == set(TABLES)
        if may_stay and each.definition and each.definition in backed_up.get(each.table, ""):
            status("rows that broke a constraint are restored", "WARNING", reason=reason)
            continue
        if each.columns:
            pairs = map("{} {}".format, each.columns, example[0])
            reason += f", such as {', '.join(pairs)}"
        refused.append(f"table {each.table}: {reason}")
    if refused:
        raise RowRefused("; ".join(refused))
