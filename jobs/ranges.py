"""Splits a table into ranges of its primary key, of about the same number of rows."""

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

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


class Range(NamedTuple):
    """A part of a table's rows: each row meets the condition of exactly one range."""

    table: Table
    number: int
    condition: str


def split(connection: Connection, table: Table, rows: int, most: int) -> list[Range]:
    """Splits a table of so many rows, by its key's first column, into ranges of `most` at most."""
    conditions = ["TRUE"]
    if rows > most and (bounds := list(_bounds(connection, table, most))):
        column = quote(table.primary_key[0])
        conditions = [
            f"{column} < {bounds[0]}",
            *(
                f"{column} >= {low} AND {column} < {high}"
                for low, high in itertools.pairwise(bounds)
            ),
            f"{column} >= {bounds[-1]}",
        ]
    return [Range(table, number, condition) for number, condition in enumerate(conditions)]


def _bounds(connection: Connection, table: Table, most: int) -> Iterator[str]:
    """The first value of each range except the first, as SQL, found one after the other."""
    key = next((each for each in table.columns if each.name in table.primary_key[:1]), None)
    if key is None or not ORDERED.match(key.mysql_type):
        logs.event("table not split", "WARNING", table=table.name)
        return
    select_key = f"SELECT {quote(key.name)} FROM {quote(table.name)}"
    condition, skipped = "TRUE", most
    while found := select(
        connection,
        f"{select_key} WHERE {condition} ORDER BY {quote(key.name)} LIMIT 1 OFFSET {skipped}",
    ):
        yield (bound := _literal(connection, found[0][0]))
        # Greater, not at least: many rows may share the key's first column, and bounds must rise.
        condition, skipped = f"{quote(key.name)} > {bound}", most - 1


def _literal(connection: Connection, value: Any) -> str:
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    with connection.cursor() as cursor:
        return str(cursor.mogrify("%s", (value,)))
