"""Rows as MySQL sends them, encoded as blocks of Avro by the thousand instead of one by one.

A Python loop over rows costs microseconds a row: more than the server needs to send the row and the
compressor to pack it. So each step is a few NumPy operations on all rows of a megabyte:

1. `packets` finds where each row starts.
2. `columns` finds where each value lies, and computes numbers; `times` computes dates and times.
3. This module encodes each column as Avro does, and `buffers` puts their pieces in row order.
   https://avro.apache.org/docs/1.12.0/specification/#binary-encoding

A row with a value that Avro cannot hold, or that no restore brings back, is left out of its block
and returned as it is. Rows in blocks and returned rows are together the rows that were read.
"""

import operator
from dataclasses import dataclass, replace

import numpy as np

from hiring.avro import mapping
from hiring.avro.buffers import Part, is_utf8, lay_out, part_of
from hiring.avro.columns import ColumnChunk, Values, are_utf8, from_values, one_by_one, split
from hiring.avro.schema import Column, Table
from hiring.mysql.packets import Ints, Rows


@dataclass(frozen=True)
class InvalidRow:
    """A row that Avro cannot hold, or that no restore brings back.

    Attributes:
        values: as MySQL prints them.
        reason: in words, after the column's name.
        lost: the column whose value no restore brings back, if there is one.
    """

    values: tuple[bytes | None, ...]
    reason: str
    lost: str | None


@dataclass(frozen=True)
class Block:
    """The number of encoded rows, and their Avro; the invalid rows; the columns of all rows."""

    rows: int
    content: bytes
    invalid: list[InvalidRow]
    chunks: list[ColumnChunk]


def keep_freed_memory() -> None:
    """Makes glibc keep freed megabytes, because each block needs as many as the one before.

    Otherwise glibc returns them to the system: reading, encoding and compressing 1.5 million rows
    takes 1.5 CPU seconds instead of 1.1. The size of the largest freed array, more than any of a
    block, decides how much it keeps: mallopt(3), M_MMAP_THRESHOLD.
    """
    np.empty(16 * 1024 * 1024, np.uint8)


def encode(table: Table, rows: Rows) -> Block:
    """Encodes rows of a table, at least one, as one block.

    Raises:
        pymysql.err.InternalError: a row has more or fewer columns than the table.
        ValueError: the server sent what the table's declaration rules out.
    """
    columns = list(zip(table.columns, split(rows, len(table.columns)), strict=True))
    chunks = [from_values(column, values) for column, values in columns]
    invalid = np.zeros(len(rows.starts), np.bool_)
    texts = [(column, values) for column, values in columns if column.type is mapping.STRING]
    if texts and not are_utf8(rows, [values for _, values in columns]):
        for column, values in texts:
            if not is_utf8(values):
                found = one_by_one(column, values, ~values.nulls)
                invalid[[row for row, text in found if text is None]] = True
    for (column, values), chunk in zip(columns, chunks, strict=True):
        if chunk.odd is not None:
            invalid |= chunk.odd
        if column.auto_increment and column.nullable:
            invalid |= values.nulls
        if column.is_geometry:
            invalid |= (values.lengths == 0) & ~values.nulls
    pairs = zip(table.columns, chunks, strict=True)
    parts = [part for column, chunk in pairs for part in _parts(column, chunk)]
    if invalid.any():
        parts = [replace(part, lengths=np.where(invalid, 0, part.lengths)) for part in parts]
    return Block(
        len(invalid) - int(np.count_nonzero(invalid)),
        lay_out(parts),
        [_invalid_row(columns, row) for row in np.flatnonzero(invalid).tolist()],
        chunks,
    )


def _invalid_row(columns: list[tuple[Column, Values]], row: int) -> InvalidRow:
    printed = tuple(values.get(row) for _, values in columns)
    faults = [
        (isinstance(fault, mapping.LostValue) and not column.generated, column.name, str(fault))
        for (column, _), value in zip(columns, printed, strict=True)
        if (fault := _fault(column, value))
    ]
    # One that no restore brings back comes before the others.
    lost, column, reason = max(faults, key=operator.itemgetter(0))
    return InvalidRow(printed, f"{column}: {reason}", column if lost else None)


def _fault(column: Column, value: bytes | None) -> mapping.InvalidValue | None:
    """Why a value makes its row invalid, if it does."""
    try:
        if value is not None:
            column.type.convert(value)
    except mapping.InvalidValue as fault:
        # A damaged text may begin as a raw one does.
        is_damaged = column.type is mapping.STRING and not column.may_be_raw
        return mapping.LostValue("not valid UTF-8") if is_damaged else fault
    if value is None and column.auto_increment:
        # MariaDB has such a column, and prints its declaration without NULL.
        return mapping.InvalidValue("NULL, which its printed declaration does not allow")
    if value == b"" and column.is_geometry:
        # MariaDB fills a new column with it.
        return mapping.InvalidValue("empty, and no geometry")
    return None


NULL_BRANCH, VALUE_BRANCH = 0, 2
"""The indexes 0 and 1 of `["null", T]`, as Avro encodes an int."""


def _varints(numbers: Ints) -> Part:
    """Numbers as Avro writes an int or a long: zigzag, seven bits a byte, the lowest first."""
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    widest = max(1, -(-int(zigzag.max()).bit_length() // 7))
    cells = np.empty((len(numbers), widest), np.uint8)
    lengths = np.ones(len(numbers), np.int64)
    for place in range(widest - 1):
        low = zigzag.astype(np.uint8)
        zigzag = zigzag >> np.uint64(7)
        more = zigzag > 0
        lengths += more
        cells[:, place] = low & 0x7F | more.view(np.uint8) << 7
    cells[:, -1] = zigzag
    return part_of(cells, lengths)


def _parts(column: Column, chunk: ColumnChunk) -> list[Part]:
    """A column as Avro encodes it."""
    if chunk.numbers is None:
        assert chunk.content is not None
        parts = [_varints(chunk.content.lengths), chunk.content]
    elif form := mapping.FLOATS.get(column.type.primitive):
        cells = chunk.numbers.astype(form).view(np.uint8).reshape(len(chunk.nulls), -1)
        parts = [part_of(cells, np.full(len(cells), cells.shape[1]))]
    else:
        parts = [_varints(chunk.numbers.view(np.int64))]
    if not column.nullable:
        if chunk.nulls.any():
            raise ValueError(f"{column.name} is NULL although the server declares it NOT NULL")
        return parts
    branches = np.where(chunk.nulls, np.uint8(NULL_BRANCH), np.uint8(VALUE_BRANCH)).reshape(-1, 1)
    return [
        part_of(branches, np.ones(len(branches), np.int64)),
        *(replace(part, lengths=np.where(chunk.nulls, 0, part.lengths)) for part in parts),
    ]
