"""Columns of some rows: as numbers and pieces of bytes, whatever the rows come from and become."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiring.avro.buffers import Mask, Part, joined
from hiring.avro.parsing import Floats, Values, decimals, floats, integers
from hiring.avro.schema import Column
from hiring.avro.times import times
from hiring.mysql.packets import Ints


@dataclass(frozen=True)
class ColumnChunk:
    """One column of some rows.

    Attributes:
        nulls: the rows that hold NULL.
        numbers: whole numbers, floats, days or microseconds since 1970; None for other types.
        content: texts, bytes, or decimals as Avro encodes them; the printed value of a time.
        odd: rows whose value does not fit the column's type, such as 0000-00-00; None if there is
            no such row.
    """

    nulls: Mask
    numbers: Ints | Floats | None
    content: Part | None
    odd: Mask | None = None


def from_values(column: Column, values: Values) -> ColumnChunk:
    """The column of values as the server prints them.

    Raises:
        ValueError: a value in a column of numbers is not a number.
    """
    match column.type.avro:
        case "string" | "bytes":
            return ColumnChunk(values.nulls, None, values)
        case "int" | "long":
            return ColumnChunk(values.nulls, integers(column, values), values)
        case "float" | "double":
            return ColumnChunk(values.nulls, floats(column, values), values)
        case {"logicalType": "decimal"}:
            return ColumnChunk(values.nulls, None, decimals(column, values))
    numbers, odd = times(column, values)
    return ColumnChunk(values.nulls, numbers, values, odd if odd.any() else None)


def from_rows(
    columns: Sequence[Column], rows: Sequence[Sequence[bytes | None]]
) -> list[ColumnChunk]:
    """The columns of rows given as MySQL prints them; a column with other values is all `odd`."""
    found = []
    for place, column in enumerate(columns):
        printed = [row[place] for row in rows]
        nulls = np.array([value is None for value in printed], np.bool_)
        part = joined([value or b"" for value in printed])
        values = Values(part.source, part.starts, part.lengths, nulls=nulls)
        try:
            found.append(from_values(column, values))
        except (ValueError, ArithmeticError):
            # MySQL prints no such value for this column: the server decides what it becomes.
            found.append(ColumnChunk(nulls, None, values, ~nulls))
    return found
