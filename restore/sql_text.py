"""Writes columns of rows as the text of an INSERT, or as the lines that LOAD DATA reads.

Numbers and times become digits a column at a time: first the last digit of all rows, then the digit
before it, and so on. Texts stay where they are; only those that need an escape are copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiring.avro import mapping
from hiring.avro.buffers import Part, is_utf8, joined, lay_out, part_of, pieces_of
from hiring.avro.columns import DECIMAL_DIGITS, ColumnChunk, Floats
from hiring.avro.schema import Column
from hiring.avro.times import MONTHS
from hiring.mysql.packets import Ints
from restore import json_text

PrintedRow = Sequence[bytes | None]
"""Values as MySQL prints them."""


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
    begin = np.frombuffer(style.begin, np.uint8)
    parts = [Part(begin, np.zeros(rows, np.int64), np.full(rows, len(begin), np.int64))]
    for place, (column, each) in enumerate(zip(columns, chunks, strict=True)):
        after = style.separator if place < len(columns) - 1 else style.end
        parts += _parts(style, column, each, after)
    lengths = np.sum([part.lengths for part in parts], axis=0)
    return lay_out(parts), np.cumsum(lengths)


def _parts(style: Style, column: Column, chunk: ColumnChunk, after: bytes) -> list[Part]:
    kind, content, numbers = column.type, chunk.content, chunk.numbers
    if content is not None and style.quote and column.mysql_type == "json":
        part = joined([_json(piece) + after for piece in pieces_of(content)])
    elif chunk.odd is not None:
        return _texts(style, style.quote, chunk, after)
    elif content is not None and kind in (mapping.STRING, mapping.BYTES):
        binary = b"_binary" if kind is mapping.BYTES and style.quote else b""
        return _texts(style, binary + style.quote, chunk, after)
    elif numbers is None:
        part = _decimals(column, chunk, after)
    elif kind in (mapping.DATE, mapping.DATETIME, mapping.TIMESTAMP):
        part = _times(style.quote, column, chunk, after)
    elif kind in (mapping.FLOAT, mapping.DOUBLE):
        # Unquoted, a number without an exponent would be a DECIMAL, and -0 would lose its sign.
        quote = style.quote.decode()
        part = joined([f"{quote}{each!r}{quote}".encode() + after for each in numbers.tolist()])
    else:
        # Quoted, 0 would be the YEAR 2000.
        least = 4 if column.mysql_type.startswith("year") else 1
        part = _digits(numbers, after, least=least)
    if not chunk.nulls.any():
        return [part]
    word = style.null + after
    return [
        Part(
            np.append(part.source, np.frombuffer(word, np.uint8)),
            np.where(chunk.nulls, len(part.source), part.starts),
            np.where(chunk.nulls, len(word), part.lengths),
        )
    ]


# Single values


def printed_row(columns: Sequence[Column], printed: PrintedRow) -> bytes:
    """A row of an invalid record, with values that Avro cannot hold: `('1','0000-00-00',NULL)`."""
    pairs = zip(columns, printed, strict=True)
    return b"(" + b",".join(_printed(column, value) for column, value in pairs) + b")"


def _printed(column: Column, printed: bytes | None) -> bytes:
    if printed is None or (column.is_geometry and not printed):
        return b"NULL"  # MariaDB stores NULL as an empty geometry where it can't be NULL
    if column.mysql_type == "json":
        return _json(printed)
    is_raw = column.type is mapping.STRING and printed.startswith(mapping.RAW)
    value = printed.removeprefix(mapping.RAW) if is_raw else printed
    if is_raw and column.has_members and value.isdigit():
        return value
    is_bytes = is_raw or column.type is mapping.BYTES or not is_utf8(joined([value]))
    return b"_binary" + _quoted(value) if is_bytes else _quoted(value)


def _json(printed: bytes) -> bytes:
    """JSON as text; https://dev.mysql.com/doc/refman/8.4/en/json.html puts DECIMALs into it."""
    literal = _quoted(printed)
    if not (decimals := json_text.decimals(printed)):
        return literal
    places = [_quoted(path.encode()) + b"," + digits.encode() for path, digits in decimals]
    return b"JSON_REPLACE(" + b",".join([literal, *places]) + b")"


def _quoted(content: bytes) -> bytes:
    # https://dev.mysql.com/doc/refman/8.4/en/string-literals.html: nothing else needs an escape.
    return b"'" + content.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"


# Texts


def _texts(style: Style, opening: bytes, chunk: ColumnChunk, after: bytes) -> list[Part]:
    assert chunk.content is not None
    nulls = chunk.nulls
    content = _escaped(style.escaped, chunk.content)
    # Each row takes the word for NULL or the opening.
    before = np.frombuffer(style.null + opening, np.uint8)
    starts = np.where(nulls, 0, len(style.null))
    closing = np.frombuffer(style.quote + after, np.uint8)
    skipped = np.where(nulls, len(style.quote), 0)
    return [
        Part(before, starts, np.where(nulls, len(style.null), len(opening))),
        Part(content.source, content.starts, np.where(nulls, 0, content.lengths)),
        Part(closing, skipped, len(closing) - skipped),
    ]


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


def _digits(numbers: Ints | Floats, after: bytes, *, scale: int = 0, least: int = 1) -> Part:
    """Whole numbers as text of at least so many digits; a scale of 2 writes 1234 as 12.34."""
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
_DATE, _TIME, _FRACTION = b"0000-00-00", b" 00:00:00", b".000000"
_SECOND = 1_000_000
_DAY = 24 * 60 * 60 * _SECOND


def _times(quote: bytes, column: Column, chunk: ColumnChunk, after: bytes) -> Part:
    assert chunk.numbers is not None
    days = np.where(chunk.nulls, 0, chunk.numbers).astype(np.int64)
    template, pairs = _DATE, []
    if column.type is not mapping.DATE:
        days, micros = np.divmod(days, _DAY)
        seconds, fraction = np.divmod(micros, _SECOND)
        template += _TIME
        pairs = [(11, seconds // 3600), (14, seconds // 60 % 60), (17, seconds % 60)]
        if fraction.any():
            template += _FRACTION
            pairs += [(20, fraction // 10_000), (22, fraction // 100 % 100), (24, fraction % 100)]
    if days.min() < MONTHS[0] or days.max() >= MONTHS[-1]:
        raise ValueError("a date is not between the years 1 and 9999")
    first = days.astype("M8[D]").astype("M8[M]")
    year, month = np.divmod(first.astype(np.int64) + 1970 * 12, 12)
    day = days - first.astype("M8[D]").astype(np.int64)
    pairs += [(0, year // 100), (2, year % 100), (5, month + 1), (8, day + 1)]
    text = np.frombuffer(quote + template + quote + after, np.uint8)
    table = np.tile(text, (len(days), 1))
    for place, value in pairs:
        at = len(quote) + place
        table[:, at : at + 2] = _PAIRS[value]
    return part_of(table, np.full(len(days), len(text)))
