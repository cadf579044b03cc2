"""Columns of printed values, and the numbers that they print, a column at a time.

`split` finds where each value of each column lies; no value is copied. Numbers and times are then
made from their digits: the last digit of all rows, the digit before it of all rows, and so on.
Everything else is converted value by value in `mapping`, the only place with the rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymysql import err

from hiring.export import mapping
from hiring.export.layout import Mask, Part, cells_from, joined
from hiring.export.packets import Bytes, Ints, Rows
from hiring.export.table import Column

NULL = 0xFB
WIDE = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""First byte of a value longer than 250 bytes, and the number of bytes of length after it.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html
"""


@dataclass(frozen=True)
class Values:
    """One column of some rows: where each value lies in the packets. A NULL has the length 0."""

    packets: Bytes
    starts: Ints
    lengths: Ints
    nulls: Mask

    def get(self, row: int) -> bytes | None:
        """One value, as the server prints it."""
        if self.nulls[row]:
            return None
        start = self.starts[row]
        return self.packets[start : start + self.lengths[row]].tobytes()


def split(rows: Rows, columns: int) -> list[Values]:
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
        split.append(Values(rows.packets, at, lengths, nulls))
        at = at + lengths
    if not np.array_equal(at, rows.ends):
        raise err.InternalError("a row does not have the columns that the statement selects")
    return split


def one_by_one(
    column: Column, values: Values, wanted: Mask, invalid: Mask
) -> Iterator[tuple[int, mapping.Primitive]]:
    """Converts wanted values with `mapping`; yields (row, value) and marks invalid rows."""
    packets = values.packets.data
    ends = values.starts + values.lengths
    rows = np.flatnonzero(wanted)
    for row, start, end in zip(
        rows.tolist(), values.starts[rows].tolist(), ends[rows].tolist(), strict=True
    ):
        try:
            yield row, column.type.convert(bytes(packets[start:end]))
        except mapping.InvalidValue:
            invalid[row] = True


INTEGER_DIGITS = 19
"""Number of digits of the longest BIGINT, which fits into 64 bits."""
DECIMAL_DIGITS = 18
"""The most digits of which every number fits into 64 bits."""


def _numbers(values: Values, most: int, scale: int = 0) -> Ints | None:
    """The printed numbers without their point: `-12.34` is -1234 for a scale of 2. NULL is 0.

    Returns:
        None if a number has more than `most` places, not counting the sign.

    Raises:
        ValueError: a value is not a number.
    """
    negative = (values.packets.take(values.starts, mode="clip") == ord("-")) & (values.lengths > 0)
    lengths = values.lengths - negative
    if lengths.max() > most:
        return None
    last = values.starts + values.lengths - 1
    numbers = np.zeros(len(last), np.int64)
    power = 1
    for place in range(lengths.max()):
        if scale and place == scale:
            continue  # the point
        digit = values.packets.take(last - place, mode="clip") - np.uint8(ord("0"))
        digit *= lengths > place
        if digit.max() > 9:
            raise ValueError("the server printed a number with other characters than digits")
        numbers += digit.astype(np.int64) * power
        power *= 10
    return np.where(negative, -numbers, numbers)


def integers(column: Column, values: Values, invalid: Mask) -> Ints:
    numbers = _numbers(values, INTEGER_DIGITS)
    if numbers is None:
        numbers = np.zeros(len(values.starts), np.int64)
        for row, value in one_by_one(column, values, ~values.nulls, invalid):
            numbers[row] = value
    return numbers


MONTHS = np.arange("0001-01", "10000-02", dtype="M8[M]").astype("M8[D]").astype(np.int64)
"""The first day of each month from January of year 1 on, in days since 1970-01-01."""
_DATE, _TIME, _TIME_AND_POINT = 10, 19, 20
"""Lengths of `2021-07-27`, `2021-07-27 16:02:08` and `2021-07-27 16:02:08.`."""
_ZERO = np.frombuffer(b"0000-00-00 00:00:00.000000", np.uint8)
_NINE = np.frombuffer(b"9999-99-99 99:99:99.999999", np.uint8) - _ZERO
_WIDTHS = (_DATE, _TIME, *range(_TIME_AND_POINT + 1, _TIME_AND_POINT + 7))


def times(column: Column, values: Values, invalid: Mask) -> Ints:
    """Days since 1970-01-01 for a DATE, else microseconds since then."""
    width = int(values.lengths.max())
    numbers = np.zeros(len(values.starts), np.int64)
    plain = np.zeros(len(values.starts), np.bool_)
    if width in _WIDTHS:
        numbers, plain = plain_times(values, width)
    for row, value in one_by_one(column, values, ~plain & ~values.nulls, invalid):
        numbers[row] = value
    return numbers


def plain_times(values: Values, width: int) -> tuple[Ints, Mask]:
    """Times as in `times`, and a mask of those that have this width and are in the calendar."""
    digits = cells_from(values.packets, values.starts, width) - _ZERO[:width]
    plain = values.lengths == width
    digits[~plain] = 0
    right = digits <= _NINE[:width]
    if not right.all():
        plain &= right.all(axis=1)

    def pair(place: int) -> Bytes:
        return digits[:, place] * np.uint8(10) + digits[:, place + 1]

    year, month = pair(0).astype(np.int64) * 100 + pair(2), pair(5)
    index = np.clip(year * 12 + month - 13, 0, len(MONTHS) - 2)
    numbers = MONTHS[index] + pair(8) - 1
    plain &= (year > 0) & (month > 0) & (month < 13) & (pair(8) > 0)
    plain &= numbers < MONTHS[index + 1]
    if width > _DATE:
        hour, minute, second = pair(11), pair(14), pair(17)
        plain &= (hour < 24) & (minute < 60) & (second < 60)
        for number, base in ((hour, 24), (minute, 60), (second, 60)):
            numbers *= base
            numbers += number
        numbers *= 1_000_000
    for place in range(_TIME_AND_POINT, width):
        numbers += digits[:, place] * np.int64(10 ** (_TIME_AND_POINT + 5 - place))
    return numbers, plain


def decimals(column: Column, values: Values, invalid: Mask) -> Part:
    """Unscaled numbers in two's complement, big-endian, in as many bytes as `mapping` takes."""
    assert isinstance(column.type.avro, dict)
    numbers = _numbers(values, DECIMAL_DIGITS, column.type.avro["scale"])
    if numbers is None:
        converted: list[Any] = [b""] * len(values.starts)
        for row, value in one_by_one(column, values, ~values.nulls, invalid):
            converted[row] = value
        return joined(converted)
    lengths = np.ones(len(numbers), np.int64)
    for bits in range(8, 64, 8):
        lengths += np.abs(numbers) >> (bits - 1) > 0
    lengths[values.nulls] = 0
    source = numbers.astype(">i8").view(np.uint8)
    return Part(source, np.arange(8, len(source) + 8, 8) - lengths, lengths)
