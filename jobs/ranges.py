"""Splits a table into ranges of its primary key, of about the same number of rows."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hiring import logs
from hiring.avro.schema import Table
from hiring.mysql.connection import Connection
from hiring.mysql.statements import quote, select

ORDERED = re.compile(
    r"(tinyint|smallint|mediumint|int|bigint|decimal|year|date|datetime|timestamp"
    r"|char|varchar|binary|varbinary)\b"
)
"""MySQL types whose comparison with a literal has the order of ORDER BY.

An ENUM, for example, is ordered by its number but compared by its name: ranges would overlap.
"""

EVERYTHING = "TRUE"


@dataclass(frozen=True)
class Range:
    """A part of a table's rows.

    Attributes:
        table: its name.
        number: of the range in its table.
        condition: as SQL; each row of the table meets the condition of exactly one range.
    """

    table: str
    number: int
    condition: str


def split(connection: Connection, table: Table, rows: int, most: int) -> list[Range]:
    """Splits a table by the first column of its primary key.

    Args:
        connection: to find the bounds with.
        table: to split.
        rows: its number of rows.
        most: rows of a range, at most.
    """
    bounds = list(_bounds(connection, table, most)) if rows > most else []
    if not bounds:
        return [Range(table.name, 0, EVERYTHING)]
    column = quote(table.primary_key[0])
    conditions = [
        f"{column} < {bounds[0]}",
        *(f"{column} >= {low} AND {column} < {high}" for low, high in itertools.pairwise(bounds)),
        f"{column} >= {bounds[-1]}",
    ]
    return [Range(table.name, number, condition) for number, condition in enumerate(conditions)]


def _bounds(connection: Connection, table: Table, most: int) -> Iterator[str]:
    """The first value of each range except the first, as SQL, found one after the other."""
    key = next((each for each in table.columns if each.name in table.primary_key[:1]), None)
    if key is None or not ORDERED.match(key.mysql_type):
        logs.event("table not split", "WARNING", table=table.name)
        return
    column, name = quote(key.name), quote(table.name)
    condition, skipped = EVERYTHING, most
    while found := select(
        connection,
        f"SELECT {column} FROM {name} WHERE {condition} ORDER BY {column} LIMIT 1 OFFSET {skipped}",
    ):
        bound = _literal(connection, found[0][0])
        yield bound
        # Greater, not at least: many rows may share the key's first column, and bounds must rise.
        condition, skipped = f"{column} > {bound}", most - 1


def _literal(connection: Connection, value: Any) -> str:
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    with connection.cursor() as cursor:
        return str(cursor.mogrify("%s", (value,)))
