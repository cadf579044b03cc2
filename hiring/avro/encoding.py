"""Rows as MySQL sends them, encoded as blocks of Avro by the thousand instead of one by one.

A Python loop over rows costs microseconds a row: more than the server needs to send the row and the
compressor to pack it. So each step is a few NumPy operations on all rows of a megabyte:

1. `packets` finds where each row starts.
2. `parsing` finds where each value lies, and computes numbers; `times` computes dates and times.
3. This module encodes each column as Avro does, and `buffers` puts their pieces in row order.
   https://avro.apache.org/docs/1.12.0/specification/#binary-encoding

A row with a value that Avro cannot hold, or that no restore brings back, is left out of its block
and returned as it is. Rows in blocks and returned rows are together the rows that were read.
"""

import operator
from dataclasses import dataclass, replace

import numpy as np

from hiring.avro import mapping
from hiring.avro.buffers import Mask, Part, is_utf8, lay_out, part_of
from hiring.avro.parsing import Values, are_utf8, decimals, floats, one_by_one, split
from hiring.avro.schema import Column, Table
from hiring.avro.times import whole_numbers
from hiring.mysql.packets import Ints, Rows

KEPT_BYTES = 16 * 1024 * 1024
"""Bytes of freed memory that the process keeps: more than any array of a block needs."""


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
    """Encoded rows, and the invalid rows.

    Attributes:
        rows: the number of encoded rows.
        content: the rows as Avro.
        invalid: the rows that Avro cannot hold.
        columns: the values of all rows as the server printed them, in the bytes of `Rows`.
        numbers: of each column: whole numbers, and times as Avro has them; NULL is 0. None for
            other types.
    """

    rows: int
    content: bytes
    invalid: list[InvalidRow]
    columns: list[Values]
    numbers: list[Ints | None]


def keep_freed_memory() -> None:
    """Makes glibc keep freed megabytes, because each block needs as many as the one before.

    Otherwise glibc returns them to the system: reading, encoding and compressing 1.5 million rows
    takes 1.5 CPU seconds instead of 1.1. The size of the largest freed array decides how much it
    keeps: mallopt(3), M_MMAP_THRESHOLD.
    """
    np.empty(KEPT_BYTES, np.uint8)


def encode(table: Table, rows: Rows) -> Block:
    """Encodes rows as one block.

    Args:
        table: whose columns the rows have.
        rows: at least one.

    Raises:
        pymysql.err.InternalError: a row has more or fewer columns than the table.
        ValueError: the server sent what the table's declaration rules out.
    """
    columns = list(zip(table.columns, split(rows, len(table.columns)), strict=True))
    invalid = np.zeros(len(rows.starts), np.bool_)
    texts = [(column, values) for column, values in columns if column.type is mapping.STRING]
    if texts and not are_utf8(rows, [values for _, values in columns]):
        for column, values in texts:
            _mark_invalid_text(column, values, invalid)
    for column, values in columns:
        if column.auto_increment and column.nullable:
            invalid |= values.nulls
        if column.is_geometry:
            invalid |= (values.lengths == 0) & ~values.nulls
    numbers = [whole_numbers(column, values, invalid) for column, values in columns]
    parts = [
        part
        for (column, values), known in zip(columns, numbers, strict=True)
        for part in _parts(column, values, known, invalid)
    ]
    if invalid.any():
        parts = [replace(part, lengths=np.where(invalid, 0, part.lengths)) for part in parts]
    return Block(
        len(invalid) - int(np.count_nonzero(invalid)),
        lay_out(parts),
        [_invalid_row(columns, row) for row in np.flatnonzero(invalid).tolist()],
        [values for _, values in columns],
        numbers,
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
    if value is None and column.auto_increment:
        # MariaDB has such a column, and prints its declaration without NULL.
        return mapping.InvalidValue("NULL, which its printed declaration does not allow")
    if value is None:
        return None
    if column.is_geometry and not value:
        # MariaDB fills a new column with it.
        return mapping.InvalidValue("empty, and no geometry")
    try:
        column.type.convert(value)
    except mapping.InvalidValue as fault:
        return fault
    return None


NULL_BRANCH, VALUE_BRANCH = 0, 2
"""The indexes 0 and 1 of `["null", T]`, as Avro encodes an int."""


def _varints(numbers: Ints) -> Part:
    """Numbers as Avro writes an int or a long: zigzag, seven bits a byte, the lowest first."""
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    widest = max(1, -(-int(zigzag.max()).bit_length() // 7))
    cells = np.empty((len(numbers), widest), np.uint8)
    lengths = np.ones(len(numbers), np.int64)
    rest = zigzag
    for place in range(widest - 1):
        low = rest.astype(np.uint8)
        rest = rest >> np.uint64(7)
        more = rest > 0
        lengths += more
        cells[:, place] = low & 0x7F | more.view(np.uint8) << 7
    cells[:, -1] = rest
    return part_of(cells, lengths)


def _parts(column: Column, values: Values, numbers: Ints | None, invalid: Mask) -> list[Part]:
    """A column as Avro encodes it; marks the rows whose value Avro cannot hold."""
    parts = [_varints(numbers)] if numbers is not None else _value_parts(column, values, invalid)
    if not column.nullable:
        if values.nulls.any():
            raise ValueError(f"{column.name} is NULL although the server declares it NOT NULL")
        return parts
    branches = np.where(values.nulls, np.uint8(NULL_BRANCH), np.uint8(VALUE_BRANCH)).reshape(-1, 1)
    return [
        part_of(branches, np.ones(len(branches), np.int64)),
        *(replace(part, lengths=np.where(values.nulls, 0, part.lengths)) for part in parts),
    ]


def _value_parts(column: Column, values: Values, invalid: Mask) -> list[Part]:
    """A column without the union's branches; what it has for a NULL does not count."""
    kind = column.type
    if kind in (mapping.FLOAT, mapping.DOUBLE):
        cells = floats(column, values, invalid).view(np.uint8).reshape(len(values.starts), -1)
        return [part_of(cells, np.full(len(cells), cells.shape[1]))]
    content = Part(values.packets, values.starts, values.lengths)
    if kind not in (mapping.STRING, mapping.BYTES):
        content = decimals(column, values, invalid)
    return [_varints(content.lengths), content]


def _mark_invalid_text(column: Column, values: Values, invalid: Mask) -> None:
    """Marks rows whose text is not UTF-8."""
    if is_utf8(Part(values.packets, values.starts, values.lengths)):
        return
    for _ in one_by_one(column, values, ~values.nulls, invalid):
        pass
