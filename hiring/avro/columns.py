"""Columns of rows to load or compare, from Avro, from CSV or from the server."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiring.avro import mapping
from hiring.avro.buffers import Mask, Part, joined
from hiring.avro.parsing import Floats, Values, decimals, floats
from hiring.avro.schema import Column
from hiring.avro.times import whole_numbers
from hiring.mysql.packets import Ints


@dataclass(frozen=True)
class ColumnChunk:
    """One column of some rows.

    Attributes:
        nulls: the rows that hold NULL.
        numbers: whole numbers, floats, days or microseconds since 1970; None for other types.
        content: texts, bytes, or decimals as Avro encodes them; for `odd` rows the printed value.
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
    kind = column.type
    odd = np.zeros(len(values.starts), np.bool_)
    printed = Part(values.packets, values.starts, values.lengths)
    if kind in (mapping.STRING, mapping.BYTES):
        return ColumnChunk(values.nulls, None, printed)
    numbers: Ints | Floats | None = whole_numbers(column, values, odd)
    if kind in (mapping.FLOAT, mapping.DOUBLE):
        numbers = floats(column, values, odd).astype(np.float64)
    if numbers is None:
        return ColumnChunk(values.nulls, None, decimals(column, values, odd))
    return ColumnChunk(values.nulls, numbers, printed, odd if odd.any() else None)


def from_rows(
    columns: Sequence[Column], rows: Sequence[Sequence[bytes | None]]
) -> list[ColumnChunk]:
    """The columns of rows given as MySQL prints them; a column with other values is all `odd`."""
    found = []
    for place, column in enumerate(columns):
        printed = [row[place] for row in rows]
        nulls = np.fromiter((value is None for value in printed), np.bool_, len(printed))
        found.append(from_printed(column, joined([value or b"" for value in printed]), nulls))
    return found


def from_printed(column: Column, printed: Part, nulls: Mask) -> ColumnChunk:
    """A column given as MySQL prints it; with any other value all of it is `odd`."""
    packets = printed.source if len(printed.source) else np.zeros(1, np.uint8)
    values = Values(packets, printed.starts, printed.lengths, nulls)
    try:
        return from_values(column, values)
    except (ValueError, ArithmeticError):
        # MySQL prints no such value for this column: the server decides what it becomes.
        return ColumnChunk(nulls, None, Part(values.packets, values.starts, values.lengths), ~nulls)
