"""Columns of some rows: as the server prints them, and as numbers and pieces of bytes.

`split` finds where each value of each column lies; no value is copied. Numbers are then made from
their digits: the last digit of all rows, the digit before it of all rows, and so on. What is
neither a number nor a time is converted value by value in `mapping`: the only place with the rules.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pymysql import err

from hiring.avro import mapping
from hiring.avro.buffers import Mask, Part, joined
from hiring.avro.schema import Column
from hiring.avro.times import WIDTHS, plain_times
from hiring.mysql.packets import HEADER_BYTES, Ints, Rows

Floats = npt.NDArray[np.float64]
ASCII = 0x7F
"""The highest code of ASCII."""
DECODED_ROWS = 2048
"""Rows whose text is decoded at a time; decoded text takes up to four times the memory."""
NULL = 0xFB
WIDE = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""First byte of a value longer than 250 bytes, and the number of bytes of length after it.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html
"""


@dataclass(frozen=True)
class Values(Part):
    """One column of some rows: where each value lies in the packets. A NULL has the length 0."""

    nulls: Mask = field(kw_only=True)

    def get(self, row: int) -> bytes | None:
        """One value, as the server prints it."""
        if self.nulls[row]:
            return None
        start = self.starts[row]
        return self.source[start : start + self.lengths[row]].tobytes()


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


def split(rows: Rows, columns: int) -> list[Values]:
    """The columns of rows; raises pymysql.err.InternalError if a row has more or fewer."""
    split = []
    at = rows.starts
    for _ in range(columns):
        first = rows.packets.take(at, mode="clip")
        at = at + 1
        lengths = first.astype(np.int64)
        nulls = first == NULL
        lengths[nulls] = 0
        if first.max() > NULL:
            for mark, width in WIDE.items():
                wide = np.flatnonzero(first == mark)
                places = at[wide, None] + np.arange(width)
                digits = rows.packets.take(places, mode="clip").astype(np.int64)
                lengths[wide] = (digits << np.arange(0, 8 * width, 8)).sum(axis=1)
                at[wide] += width
        split.append(Values(rows.packets, at, lengths, nulls=nulls))
        at = at + lengths
    if not np.array_equal(at, rows.ends):
        raise err.InternalError("a row does not have the columns that the statement selects")
    return split


def are_utf8(rows: Rows, columns: list[Values]) -> bool:
    """Whether all values are UTF-8. False may also mean that one is too long to tell.

    Looks at all bytes at once. What is between the values is replaced by blanks where it is not
    ASCII, so that no character reaches from one value into the next.
    """
    if max(int(values.lengths.max()) for values in columns) >= NULL:
        return False
    between = [rows.starts[1:] - 1]  # the packets' numbers
    if (rows.ends - rows.starts).max() > ASCII:
        between += [rows.starts[1:] - before for before in range(2, HEADER_BYTES + 1)]
    for values in columns:
        if values.nulls.any() or values.lengths.max() > ASCII:
            between.append(values.starts - 1)
    first = rows.starts[0]
    text = rows.packets[first : rows.ends[-1]].copy()
    for places in between:
        text[places - first] = ord(" ")
    if text.max() <= ASCII:
        return True
    cuts = [*(rows.starts[::DECODED_ROWS] - first).tolist(), len(text)]
    try:
        for start, end in itertools.pairwise(cuts):
            str(text[start:end].data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def one_by_one(column: Column, values: Values, wanted: Mask) -> Iterator[tuple[int, Any]]:
    """Converts wanted values with `mapping`; yields (row, value), None for an invalid value."""
    packets = values.source.data
    rows = np.flatnonzero(wanted)
    ends = values.starts + values.lengths
    spans = zip(rows.tolist(), values.starts[rows].tolist(), ends[rows].tolist(), strict=True)
    for row, start, end in spans:
        try:
            yield row, column.type.convert(bytes(packets[start:end]))
        except mapping.InvalidValue:
            yield row, None


def from_values(column: Column, values: Values) -> ColumnChunk:
    """The column of values as the server prints them; raises ValueError if a number is none."""
    match column.type.avro:
        case "string" | "bytes":
            return ColumnChunk(values.nulls, None, values)
        case "int" | "long":
            return ColumnChunk(values.nulls, _integers(column, values), values)
        case "float" | "double":
            return ColumnChunk(values.nulls, _floats(column, values), values)
        case {"logicalType": "decimal"}:
            return ColumnChunk(values.nulls, None, _decimals(column, values))
    numbers, odd = _times(column, values)
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


# Numbers and times

SHORT_DIGITS = 9
"""Number of digits that always fit into 32 bits."""
INTEGER_DIGITS = 19
"""Number of digits of the longest BIGINT, which fits into 64 bits."""
DECIMAL_DIGITS = 18
"""The most digits of which every number fits into 64 bits."""


def _numbers(values: Values, most: int, scale: int = 0) -> Ints | None:
    """The printed numbers without their point: `-12.34` is -1234 for a scale of 2. NULL is 0.

    None if a number has more than `most` places without the sign. Raises ValueError if one is none.
    """
    negative = (values.source.take(values.starts, mode="clip") == ord("-")) & (values.lengths > 0)
    lengths = values.lengths - negative
    longest = int(lengths.max())
    if longest > most:
        return None
    kind = np.dtype(np.uint32 if longest <= SHORT_DIGITS else np.uint64)
    numbers = np.zeros(len(lengths), kind)
    at = values.starts + values.lengths
    power = 1
    for place in range(longest):
        at -= 1
        if scale and place == scale:
            continue  # the point
        digit = values.source.take(at, mode="clip") - np.uint8(ord("0"))
        digit *= lengths > place
        if digit.max() > 9:
            raise ValueError("the server printed a number with other characters than digits")
        numbers += digit.astype(kind) * kind.type(power)
        power *= 10
    signed = numbers.astype(np.int64)
    return np.where(negative, -signed, signed) if negative.any() else signed


def _converted(column: Column, values: Values, found: Any) -> Any:
    """What `found` holds for a NULL, with all other values in their places."""
    for row, value in one_by_one(column, values, ~values.nulls):
        found[row] = value
    return found


def _integers(column: Column, values: Values) -> Ints:
    numbers = _numbers(values, INTEGER_DIGITS)
    if numbers is None:
        numbers = _converted(column, values, np.zeros(len(values.starts), np.int64))
    return numbers


def _floats(column: Column, values: Values) -> Floats:
    """Numbers of a FLOAT or a DOUBLE, those of a FLOAT with its 32 bits only."""
    kind = mapping.FLOATS[column.type.primitive]
    numbers: Floats = _converted(column, values, np.zeros(len(values.starts), kind))
    return numbers.astype(np.float64)


def _decimals(column: Column, values: Values) -> Part:
    """Unscaled numbers in two's complement, big-endian, in as many bytes as `mapping` takes."""
    assert isinstance(column.type.avro, dict)
    scale = column.type.avro["scale"]
    points = values.source.take(values.starts + values.lengths - scale - 1, mode="clip")
    if scale and not (values.nulls | (points == ord("."))).all():
        raise ValueError("the server printed a DECIMAL without its point")
    numbers = _numbers(values, DECIMAL_DIGITS, scale)
    if numbers is None:
        return joined(_converted(column, values, [b""] * len(values.starts)))
    lengths = np.ones(len(numbers), np.int64)
    for bits in range(8, 64, 8):
        lengths += np.abs(numbers) >> (bits - 1) > 0
    lengths[values.nulls] = 0
    source = numbers.astype(">i8").view(np.uint8)
    return Part(source, np.arange(8, len(source) + 8, 8) - lengths, lengths)


def _times(column: Column, values: Values) -> tuple[Ints, Mask]:
    """Days since 1970-01-01 for a DATE, else microseconds, NULL is 0; and which are invalid."""
    width = int(values.lengths.max())
    numbers = np.zeros(len(values.starts), np.int64)
    plain, invalid = np.zeros((2, len(values.starts)), np.bool_)
    if width in WIDTHS:
        numbers, plain = plain_times(values, width)
    for row, value in one_by_one(column, values, ~plain & ~values.nulls):
        numbers[row], invalid[row] = value or 0, value is None
    return numbers, invalid
