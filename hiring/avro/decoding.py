"""Decodes encoded rows into columns: the inverse of `hiring.avro.encoding`.

A row's length depends on its values, so one loop finds where each row starts, with a step for each
group of columns. Everything else is a few NumPy operations on all rows of a block.
"""

from collections.abc import Sequence

import numpy as np

from hiring.avro.buffers import Mask, Part, cells_from, is_utf8
from hiring.avro.columns import ColumnChunk
from hiring.avro.encoding import NULL_BRANCH, VALUE_BRANCH
from hiring.avro.mapping import DATE, DATETIME, FLOATS, TIMESTAMP
from hiring.avro.schema import Column
from hiring.mysql.packets import Bytes, Ints

PIECES = ("string", "bytes")
CALENDAR = [
    (kind, *np.array(["0001-01-01", "10000-01-01"], f"M8[{unit}]").astype(np.int64).tolist())
    for kind, unit in ((DATE, "D"), (DATETIME, "us"), (TIMESTAMP, "us"))
]
"""The types of times, each with its first number and the one after its last."""
LONGEST_VARINT = 10
SIGN = 0x80
"""This bit of a byte says that the number continues in the next byte."""


def decode(columns: Sequence[Column], rows: int, content: bytes) -> list[ColumnChunk]:
    """The columns of some rows, at least one, which the content holds one after the other.

    Raises ValueError or IndexError if the content does not hold exactly these rows.
    """
    encoded = np.frombuffer(content, np.uint8)
    varints = _Varints(encoded)
    starts = at = _find_rows(columns, rows, content, varints)
    chunks = []
    for column in columns:
        chunk, at = _column(column, encoded, varints, at)
        chunks.append(chunk)
    if not np.array_equal(at, np.append(starts[1:], len(encoded))):
        raise ValueError("a block does not hold the rows that it says")
    return chunks


class _Varints:
    """Where each variable-length number ends, and for each byte how many end before it."""

    def __init__(self, encoded: Bytes) -> None:
        last = encoded < SIGN
        self.before = np.cumsum(last, dtype=np.int32) - last
        self.ends = (np.flatnonzero(last) + 1).astype(np.int32)
        self._encoded = encoded

    def read(self, at: Ints, wanted: Mask | None) -> tuple[Ints, Ints]:
        """The numbers at these places, and where they end; 0 where none is wanted."""
        # Where no number is wanted, none may follow: a NULL, then a float to the end of the block.
        ends = self.ends.take(self.before.take(at, mode="clip"), mode="clip").astype(np.int64)
        lengths = ends - at
        if ((lengths <= 0) if wanted is None else (lengths <= 0) & wanted).any():
            raise ValueError("a number is missing")
        if wanted is not None:
            lengths *= wanted
        longest = int(lengths.max())
        if longest > LONGEST_VARINT:
            raise ValueError("a number is too long")
        zigzag = np.zeros(len(at), np.uint64)
        cells = cells_from(self._encoded, at, max(longest, 1))
        for place in range(longest):
            seven = (cells[:, place] & 0x7F) * (lengths > place)
            zigzag |= seven.astype(np.uint64) << np.uint64(7 * place)
        numbers = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
        return numbers, at + lengths


def _column(
    column: Column, encoded: Bytes, varints: _Varints, at: Ints
) -> tuple[ColumnChunk, Ints]:
    """The column that starts at these places, and where the next one starts in each row."""
    nulls = np.zeros(len(at), np.bool_)
    wanted = None
    if column.nullable:
        branches = encoded[at]
        nulls = branches == NULL_BRANCH
        wanted = branches == VALUE_BRANCH
        if not (nulls | wanted).all():
            raise ValueError("a value is neither null nor there")
        at = at + 1
    primitive = column.type.primitive
    if primitive in FLOATS:
        width = np.dtype(FLOATS[primitive]).itemsize
        cells = cells_from(encoded, at, width)
        cells[nulls] = 0  # a NULL has no bytes: these are the next column's, of any value
        floats = cells.view(FLOATS[primitive]).reshape(-1).astype(np.float64)
        return ColumnChunk(nulls, floats, None), at + np.where(nulls, 0, width)
    numbers, at = varints.read(at, wanted)
    if primitive not in PIECES:
        for kind, first, end in CALENDAR:
            if column.type is kind and (numbers.min() < first or numbers.max() >= end):
                raise ValueError("a time is not between the years 1 and 9999")
        return ColumnChunk(nulls, numbers, None), at
    ends = at + numbers
    if numbers.min() < 0 or ends.max() > len(encoded):
        raise ValueError("a value has an impossible length")
    content = Part(encoded, at, numbers)
    if primitive == "string" and not is_utf8(content):
        raise ValueError("a text is not UTF-8")
    return ColumnChunk(nulls, None, content), ends


# Where rows start

_SKIP, _NUMBER_OR_NULL, _PIECE, _PIECE_OR_NULL, _FLOAT_OR_NULL, _NUMBERS = range(6)


def _steps(columns: Sequence[Column]) -> list[tuple[int, int]]:
    """The steps from a row's start to the next row's start, each with a count."""
    steps: list[tuple[int, int]] = []
    for column in columns:
        primitive = column.type.primitive
        if primitive in PIECES:
            steps.append((_PIECE_OR_NULL if column.nullable else _PIECE, 0))
        elif primitive in FLOATS:
            width = np.dtype(FLOATS[primitive]).itemsize
            steps.append((_FLOAT_OR_NULL if column.nullable else _SKIP, width))
        elif column.nullable:
            steps.append((_NUMBER_OR_NULL, 0))
        elif steps and steps[-1][0] == _NUMBERS:
            steps[-1] = (_NUMBERS, steps[-1][1] + 1)
        else:
            steps.append((_NUMBERS, 0))  # one less than the number of numbers: an index into `ends`
    return steps


def _find_rows(columns: Sequence[Column], rows: int, content: bytes, varints: _Varints) -> Ints:
    """The start of each row. Impossible values give wrong starts, which `decode` refuses."""
    steps = _steps(columns)
    before, ends = varints.before.data, varints.ends.data
    starts = []
    at = 0
    for _ in range(rows):
        starts.append(at)
        for step, count in steps:
            if step == _NUMBERS:
                at = ends[before[at] + count]
            elif step == _PIECE:
                size = content[at]
                if size < SIGN:
                    at += 1 + (size >> 1)
                else:
                    at = _after_piece(content, at, ends[before[at]])
            elif step == _NUMBER_OR_NULL:
                # The branch is 0 for NULL, or 2: then one more number follows.
                at = ends[before[at] + (content[at] >> 1)]
            elif step == _PIECE_OR_NULL:
                at += 1
                if content[at - 1]:
                    at = _after_piece(content, at, ends[before[at]])
            elif step == _FLOAT_OR_NULL:
                at += 1 + count if content[at] else 1
            else:
                at += count
    return np.array(starts, np.int64)


def _after_piece(content: bytes, at: int, end: int) -> int:
    """The end of the piece whose length is at this place."""
    zigzag = 0
    for place in range(at, end):
        zigzag |= (content[place] & 0x7F) << 7 * (place - at)
    return end + (zigzag >> 1)
