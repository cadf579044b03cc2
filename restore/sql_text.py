"""Writes columns of rows as the text of an INSERT, or as the lines that LOAD DATA reads.

Whole numbers become digits a column at a time: first the last digit of all rows, then the digit
before it, and so on. Texts stay where they are; only those that need an escape are copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from hiring.avro import mapping
from hiring.avro.buffers import Part, is_utf8, joined, lay_out, part_of, pieces_of
from hiring.avro.columns import ColumnChunk, Floats
from hiring.avro.schema import Column
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
        assert content is not None
        part = joined([_decimal(column, piece) + after for piece in pieces_of(content)])
    elif kind in (mapping.DATE, mapping.DATETIME, mapping.TIMESTAMP):
        part = _times(style.quote, column, chunk, after)
    elif kind in (mapping.FLOAT, mapping.DOUBLE):
        # Unquoted, a number without an exponent would be a DECIMAL, and -0 would lose its sign.
        quote = style.quote.decode()
        part = joined([f"{quote}{each!r}{quote}".encode() + after for each in numbers.tolist()])
    else:
        # Quoted, 0 would be the YEAR 2000.
        least = 4 if column.mysql_type.startswith("year") else 1
        part = _digits(numbers, after, least)
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


# Numbers and times


def _decimal(column: Column, encoded: bytes) -> bytes:
    assert isinstance(column.type.avro, dict)
    unscaled = int.from_bytes(encoded, "big", signed=True)
    value = Decimal(f"{unscaled}E-{column.type.avro['scale']}")
    return f"{value:f}".encode()


_ZERO, _MINUS = ord("0"), ord("-")
_POWERS = 10 ** np.arange(1, 20, dtype=np.uint64)
"""The smallest numbers with 2, 3, ... digits."""


def _digits(numbers: Ints | Floats, after: bytes, least: int) -> Part:
    """Whole numbers as text of at least so many digits."""
    numbers = numbers.astype(np.int64, copy=False)
    negative = numbers < 0
    rest = np.where(negative, -numbers, numbers).view(np.uint64)
    digits = np.maximum(1 + np.searchsorted(_POWERS, rest, side="right"), least)
    places = int(digits.max())
    width = 1 + places + len(after)
    cells = np.empty((len(numbers), width), np.uint8)
    cells[:, 1 + places :] = np.frombuffer(after, np.uint8)
    for at in range(places, 0, -1):
        above = rest // np.uint64(10)
        cells[:, at] = rest - above * np.uint64(10) + np.uint64(_ZERO)
        rest = above
    lengths = digits + negative + len(after)
    starts = np.arange(width, cells.size + width, width) - lengths
    source = cells.reshape(-1)
    source[starts[negative]] = _MINUS
    return Part(source, starts, lengths)


def _times(quote: bytes, column: Column, chunk: ColumnChunk, after: bytes) -> Part:
    assert chunk.numbers is not None
    numbers = np.where(chunk.nulls, 0, chunk.numbers).astype(np.int64)
    is_date = column.type is mapping.DATE
    times, width = numbers.astype("M8[D]" if is_date else "M8[us]"), 10 if is_date else 26
    if not is_date and not (numbers % 1_000_000).any():
        times, width = times.astype("M8[s]"), 19
    cell = np.frombuffer(quote + bytes(width) + quote + after, np.uint8)
    cells = np.tile(cell, (len(times), 1))
    text = cells[:, len(quote) : len(quote) + width]
    text[:] = times.astype(f"S{width}").view(np.uint8).reshape(-1, width)
    if not is_date:
        text[:, len("2021-11-07")] = ord(" ")  # NumPy writes a T there
    return part_of(cells, np.full(len(times), len(cell)))
