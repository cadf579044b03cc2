"""Finds rows that break a foreign key or a CHECK constraint after a load.

During a load the server checks no foreign key, so that rows may come in any order, and MariaDB
checks no CHECK constraint. A constraint that was added while its checks were off may have rows that
break it; a restore brings them back.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from hiring.errors import RowRefused
from hiring.mysql.connection import Connection
from hiring.mysql.session import is_mariadb
from hiring.mysql.statements import execute, quote, select
from hiring.progress import status
from hiring.tables import TABLES

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
"""MariaDB's CHECK constraints, including those of columns."""


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key of one of the three tables.

    Attributes:
        table: the referencing table.
        name: of the constraint.
        parent: schema and name of the referenced table.
        columns: pairs of a column and the parent's column.
        alias: of the parent; under LOCK TABLES each use of a table needs its own lock.
        within: whether the parent is one of the three.
    """

    table: str
    name: str
    parent: tuple[str, str]
    columns: tuple[tuple[str, str], ...]
    alias: str
    within: bool

    @property
    def lock(self) -> str:
        """The parent's part of LOCK TABLES."""
        schema, table = self.parent
        return f"{quote(schema)}.{quote(table)} AS {self.alias} READ"

    @property
    def broken_rows(self) -> str:
        """FROM and WHERE for rows without their referenced row; a NULL references nothing."""
        return self._broken(quote(self.table))

    @property
    def broken_values(self) -> str:
        """FROM and WHERE for the values of such rows, each one once."""
        table = quote(self.table)
        columns = ", ".join(quote(column) for column, _ in self.columns)
        return self._broken(f"(SELECT DISTINCT {columns} FROM {table}) AS {table}")

    def _broken(self, rows: str) -> str:
        schema, parent = self.parent
        table = quote(self.table)
        pairs = [
            (f"{table}.{quote(column)}", f"{self.alias}.{quote(parent_column)}")
            for column, parent_column in self.columns
        ]
        refers = " AND ".join(f"{column} IS NOT NULL" for column, _ in pairs)
        matches = " AND ".join(f"{parent_column} = {column}" for column, parent_column in pairs)
        return (
            f"FROM {rows}"
            f" LEFT JOIN {quote(schema)}.{quote(parent)} AS {self.alias} ON {matches}"
            f" WHERE {refers} AND {pairs[0][1]} IS NULL"
        )

    @property
    def broken(self) -> str:
        """The words of a message about rows that break it."""
        return f"refer to a row of {self.parent[1]} that is not there (foreign key {self.name})"

    def example(self, connection: Connection) -> str:
        """An example of a missing row, such as `department_id 7`."""
        columns = [column for column, _ in self.columns]
        own = ", ".join(f"{quote(self.table)}.{quote(column)}" for column in columns)
        (values,) = select(connection, f"SELECT {own} {self.broken_values} LIMIT 1")
        return ", ".join(f"{column} {value}" for column, value in zip(columns, values, strict=True))

    def is_in(self, create_table: str) -> bool:
        """Whether a CREATE TABLE has the same foreign key among the three tables."""
        own, parents = (
            ", ".join(quote(column) for column in columns)
            for columns in zip(*self.columns, strict=True)
        )
        definition = f"FOREIGN KEY ({own}) REFERENCES {quote(self.parent[1])} ({parents})"
        return self.within and definition in create_table


@dataclass(frozen=True)
class Check:
    """A CHECK constraint of one of the three tables; that of a column has the column's name."""

    table: str
    name: str
    clause: str

    @property
    def broken_rows(self) -> str:
        """FROM and WHERE for rows for which the clause is false; NULL is not false."""
        return f"FROM {quote(self.table)} WHERE NOT ({self.clause})"

    @property
    def broken_values(self) -> str:
        """The same as `broken_rows`: a clause may depend on the whole row."""
        return self.broken_rows

    @property
    def broken(self) -> str:
        """The words of a message about rows that break it."""
        return f"break the CHECK constraint {self.name}"

    def is_in(self, create_table: str) -> bool:
        """Whether a CREATE TABLE has the same constraint."""
        return f"CHECK ({self.clause})" in create_table


def foreign_keys(connection: Connection) -> list[ForeignKey]:
    """The foreign keys of the three tables."""
    columns: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for *key, column, parent_column in select(connection, FOREIGN_KEYS, TABLES):
        columns.setdefault(tuple(key), []).append((column, parent_column))
    return [
        ForeignKey(
            table,
            name,
            (parent_schema, parent),
            tuple(pairs),
            alias=f"parent_{number}",
            within=parent_schema == schema and parent in TABLES,
        )
        for number, ((schema, table, name, parent_schema, parent), pairs) in enumerate(
            columns.items()
        )
    ]


def leave_unchecked(connection: Connection) -> None:
    """Lets the session insert rows that break a CHECK constraint.

    MySQL cannot do that and does not need it: it never adds a constraint that a row breaks.
    """
    if is_mariadb(connection):
        execute(connection, "SET SESSION check_constraint_checks = 0")


def check(connection: Connection, backed_up: Mapping[str, str], filled: Collection[str]) -> None:
    """Checks that no rows break a constraint, except those that a backup had already.

    Args:
        connection: that filled the tables.
        backed_up: the CREATE TABLE of each table of a backup. Rows that break a constraint in it
            broke it when they were backed up: they stay, with a warning.
        filled: the tables that were filled. Unless all were, no row may break a foreign key,
            because the rows of the others are of another time.

    Raises:
        RowRefused: other rows break a constraint; the message names each one, the number of rows,
            and a missing row as an example.
    """
    refused = []
    for constraint in _constraints(connection):
        is_check = isinstance(constraint, Check)
        if is_check and constraint.table not in filled:
            continue
        # Millions of rows refer to few others: MariaDB takes seconds to look each row up.
        if not select(connection, f"SELECT 1 {constraint.broken_values} LIMIT 1"):
            continue
        ((rows,),) = select(connection, f"SELECT COUNT(*) {constraint.broken_rows}")
        reason = f"{rows} rows of {constraint.table} {constraint.broken}"
        may_stay = is_check or set(filled) == set(TABLES)
        if may_stay and constraint.is_in(backed_up.get(constraint.table, "")):
            status("rows that broke a constraint are restored", "WARNING", reason=reason)
            continue
        if isinstance(constraint, ForeignKey):
            reason += f", such as {constraint.example(connection)}"
        refused.append(f"table {constraint.table}: {reason}")
    if refused:
        raise RowRefused("; ".join(refused))


def _constraints(connection: Connection) -> Iterator[ForeignKey | Check]:
    yield from foreign_keys(connection)
    if is_mariadb(connection):
        for row in select(connection, CHECKS, TABLES):
            yield Check(*row)
