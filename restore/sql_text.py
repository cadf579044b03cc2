"""Writes columns of rows as the text of an INSERT, or as the lines that LOAD DATA reads.

Numbers and times become digits a column at a time: first the last digit of all rows, then the digit
before it, and so on. Texts stay where they are; only those that need an escape are copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hiring.avro import mapping
from hiring.avro.buffers import Mask, Part, joined, lay_out, part_of, pieces_of
from hiring.avro.columns import ColumnChunk
from hiring.avro.parsing import DECIMAL_DIGITS
from hiring.avro.schema import Column
from hiring.avro.times import MONTHS
from hiring.mysql.packets import Bytes, Ints


@dataclass(frozen=True)
class Style:
    """The format of rows; in texts, the characters in `escaped` get a backslash before them."""

    begin: bytes
    separator: bytes
    end: bytes
    null: bytes
    quote: bytes
    escaped: bytes


INSERT = Style(b"(", b",", b"),", b"NULL", b"'", b"'\\")
"""`(1,'Ana',NULL),`: https://dev.mysql.com/doc/refman/8.4/en/string-literals.html"""
LINES = Style(b"", b"\t", b"\n", b"\\N", b"", b"\t\n\\")
"""`1<TAB>Ana<TAB>\\N`: https://dev.mysql.com/doc/refman/8.4/en/load-data.html"""


def write(
    style: Style, columns: Sequence[Column], chunks: Sequence[ColumnChunk]
) -> tuple[bytes, Ints]:
    """Rows as text, and the end of each row in it."""
    rows = len(chunks[0].nulls)
    parts = [_constant(style.begin, rows)] if style.begin else []
    for place, (column, each) in enumerate(zip(columns, chunks, strict=True)):
        after = style.separator if place < len(columns) - 1 else style.end
        parts += _parts(style, column, each, after)
    lengths = np.sum([part.lengths for part in parts], axis=0)
    return lay_out(parts), np.cumsum(lengths)


def _parts(style: Style, column: Column, chunk: ColumnChunk, after: bytes) -> list[Part]:
    kind = column.type
    if chunk.odd is not None:
        return _texts(style, style.quote, chunk, after)
    if kind in (mapping.DATE, mapping.DATETIME, mapping.TIMESTAMP):
        return [_or_null(style, _times(style.quote, column, chunk, after), chunk.nulls, after)]
    if chunk.numbers is None:
        if kind in (mapping.STRING, mapping.BYTES):
            binary = b"_binary" if kind is mapping.BYTES and style.quote else b""
            return _texts(style, binary + style.quote, chunk, after)
        return [_or_null(style, _decimals(column, chunk, after), chunk.nulls, after)]
    if kind in (mapping.FLOAT, mapping.DOUBLE):
        # Unquoted, a number without an exponent would be a DECIMAL, and -0 would lose its sign.
        quote = style.quote.decode()
        texts = [f"{quote}{value!r}{quote}".encode() + after for value in chunk.numbers.tolist()]
        return [_or_null(style, joined(texts), chunk.nulls, after)]
    # Quoted, 0 would be the YEAR 2000.
    least = 4 if column.mysql_type.startswith("year") else 1
    return [_or_null(style, _digits(chunk.numbers, after, least=least), chunk.nulls, after)]


def _constant(text: bytes, rows: int) -> Part:
    return Part(
        np.frombuffer(text, np.uint8), np.zeros(rows, np.int64), np.full(rows, len(text), np.int64)
    )


def _or_null(style: Style, part: Part, nulls: Mask, after: bytes) -> Part:
    """The part with the word for NULL in place of some pieces."""
    if not nulls.any():
        return part
    word = style.null + after
    return Part(
        np.append(part.source, np.frombuffer(word, np.uint8)),
        np.where(nulls, len(part.source), part.starts),
        np.where(nulls, len(word), part.lengths),
    )


# Texts


def _texts(style: Style, opening: bytes, chunk: ColumnChunk, after: bytes) -> list[Part]:
    assert chunk.content is not None
    nulls, rows = chunk.nulls, len(chunk.nulls)
    content = _escaped(style.escaped, chunk.content)
    closing = style.quote + after
    parts = []
    if nulls.any():
        # The source holds the word for NULL and the opening; each row takes one of them.
        source = np.frombuffer(style.null + opening, np.uint8)
        starts = np.where(nulls, 0, len(style.null))
        parts.append(Part(source, starts, np.where(nulls, len(style.null), len(opening))))
        content = Part(content.source, content.starts, np.where(nulls, 0, content.lengths))
        skipped = np.where(nulls, len(style.quote), 0)
        ends = Part(np.frombuffer(closing, np.uint8), skipped, len(closing) - skipped)
        return [*parts, content, ends]
    if opening:
        parts.append(_constant(opening, rows))
    return [*parts, content, _constant(closing, rows)]


def _escaped(escaped: bytes, part: Part) -> Part:
    """The pieces with a backslash before each character that needs one."""
    text = np.frombuffer(lay_out([part]), np.uint8)
    needs = np.zeros(256, np.bool_)
    needs[list(escaped)] = True
    places = np.flatnonzero(needs[text])
    if not len(places):
        return part
    ends = np.cumsum(part.lengths)
    rows = np.searchsorted(ends, places, side="right")
    lengths = part.lengths + np.bincount(rows, minlength=len(ends))
    source = np.insert(text, places, np.uint8(ord("\\")))
    return Part(source, np.cumsum(lengths) - lengths, lengths)


# Numbers

_ZERO, _MINUS, _POINT = ord("0"), ord("-"), ord(".")
_POWERS = 10 ** np.arange(1, 20, dtype=np.uint64)
"""The smallest numbers with 2, 3, ... digits."""


def _digits(
    numbers: npt.NDArray[np.int64] | npt.NDArray[np.float64],
    after: bytes,
    *,
    scale: int = 0,
    least: int = 1,
) -> Part:
    """Whole numbers as text, with a point before the last `scale` digits.

    Args:
        numbers: to write.
        after: text after each number.
        scale: 2 writes 1234 as 12.34.
        least: minimum number of digits, padded with zeros.
    """
    numbers = numbers.astype(np.int64, copy=False)
    negative = numbers < 0
    rest = np.where(negative, -numbers, numbers).view(np.uint64)
    digits = np.maximum(1 + np.searchsorted(_POWERS, rest, side="right"), max(least, scale + 1))
    places = int(digits.max())
    width = 1 + places + bool(scale) + len(after)
    cells = np.empty((len(numbers), width), np.uint8)
    at = width - len(after)
    cells[:, at:] = np.frombuffer(after, np.uint8)
    for place in range(places):
        if scale and place == scale:
            at -= 1
            cells[:, at] = _POINT
        at -= 1
        above = rest // np.uint64(10)
        cells[:, at] = rest - above * np.uint64(10) + np.uint64(_ZERO)
        rest = above
    lengths = digits + bool(scale) + negative + len(after)
    starts = np.arange(width, cells.size + width, width) - lengths
    source = cells.reshape(-1)
    source[starts[negative]] = _MINUS
    return Part(source, starts, lengths)


def _decimals(column: Column, chunk: ColumnChunk, after: bytes) -> Part:
    part = chunk.content
    assert part is not None
    assert isinstance(column.type.avro, dict)
    scale = column.type.avro["scale"]
    longest = int(part.lengths.max())
    if longest <= 8 and scale <= DECIMAL_DIGITS:
        return _digits(_whole_numbers(part, longest), after, scale=scale)
    return joined([_decimal(piece, scale) + after for piece in pieces_of(part)])


def _whole_numbers(part: Part, longest: int) -> Ints:
    """The values of numbers in two's complement, big-endian, of at most eight bytes."""
    first = part.source.take(part.starts, mode="clip").view(np.int8)
    numbers = np.where((first < 0) & (part.lengths > 0), np.int64(-1), np.int64(0))
    for place in range(longest):
        byte = part.source.take(part.starts + place, mode="clip")
        numbers = np.where(place < part.lengths, numbers << 8 | byte, numbers)
    return numbers


def _decimal(encoded: bytes, scale: int) -> bytes:
    number = int.from_bytes(encoded, "big", signed=True)
    digits = f"{abs(number):0{scale + 1}}"
    point = len(digits) - scale
    text = f"{digits[:point]}.{digits[point:]}" if scale else digits
    return f"{'-' if number < 0 else ''}{text}".encode()


# Times

_PAIRS = np.frombuffer(b"".join(b"%02d" % number for number in range(100)), np.uint8).reshape(-1, 2)
_EMPTY_DATE, _EMPTY_TIME, _EMPTY_FRACTION = b"0000-00-00", b" 00:00:00", b".000000"
MONTH_DAYS = 146_097 / 4_800
"""Mean length of a month of the Gregorian calendar, in days."""
_DAY = 24 * 60 * 60 * 1_000_000


def _times(quote: bytes, column: Column, chunk: ColumnChunk, after: bytes) -> Part:
    assert chunk.numbers is not None
    numbers = np.where(chunk.nulls, 0, chunk.numbers).astype(np.int64)
    template = _EMPTY_DATE
    days, micros = numbers, None
    if column.type is not mapping.DATE:
        days = numbers // _DAY
        micros = numbers - days * _DAY
        template += _EMPTY_TIME
        if (micros % 1_000_000).any():
            template += _EMPTY_FRACTION
    if days.min() < MONTHS[0] or days.max() >= MONTHS[-1]:
        raise ValueError("a date is not between the years 1 and 9999")
    text = np.frombuffer(quote + template + quote + after, np.uint8)
    table = np.tile(text, (len(numbers), 1))
    _write_date(table, len(quote), days)
    if micros is not None:
        _write_time(table, len(quote) + len(_EMPTY_DATE), micros, len(template))
    return part_of(table, np.full(len(numbers), len(text)))


def _write_date(table: Bytes, at: int, days: Ints) -> None:
    month = ((days - MONTHS[0]) / MONTH_DAYS).astype(np.int64)
    month -= MONTHS[month] > days
    month += MONTHS[month + 1] <= days
    year, of_year = month // 12 + 1, month % 12 + 1
    table[:, at : at + 2] = _PAIRS[year // 100]
    table[:, at + 2 : at + 4] = _PAIRS[year % 100]
    table[:, at + 5 : at + 7] = _PAIRS[of_year]
    table[:, at + 8 : at + 10] = _PAIRS[days - MONTHS[month] + 1]


def _write_time(table: Bytes, at: int, micros: Ints, length: int) -> None:
    seconds = micros // 1_000_000
    for place, value in ((1, seconds // 3600), (4, seconds // 60 % 60), (7, seconds % 60)):
        table[:, at + place : at + place + 2] = _PAIRS[value]
    if length > len(_EMPTY_DATE) + len(_EMPTY_TIME):
        fraction = micros - seconds * 1_000_000
        for place, unit in ((10, 10_000), (12, 100), (14, 1)):
            table[:, at + place : at + place + 2] = _PAIRS[fraction // unit % 100]
