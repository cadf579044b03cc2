"""Compares the rows that a table holds with the rows that were inserted.

The digests of all rows are compared; see `digest`. The server's warnings are not enough: it cuts
off fractions of a second and pads binary values without one. Only where digests differ, both are
read again to find the rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pymysql

from hiring.avro.buffers import Part
from hiring.avro.columns import ColumnChunk, from_values, split
from hiring.avro.encoding import keep_freed_memory
from hiring.avro.schema import Column
from hiring.errors import RowRefused
from hiring.mysql.packets import Ints, Words, read_rows
from hiring.mysql.server_errors import translate
from hiring.mysql.statements import quote
from hiring.pipeline import read_ahead
from hiring.progress import Progress, status
from restore import sql_text
from restore.digest import Digests, digests, row_hashes
from restore.row_inserter import OriginalRow, RowInserter, blocks_of

MOST_HASHES = 4_000_000
"""Hashes of rows in memory at once, 32 MB; of more rows, a part at a time is compared."""
MOST_SHOWN = 80
"""Characters of a value in a message."""

Blocks = Iterable[list[ColumnChunk]]


def stored_digests(inserter: RowInserter) -> Digests:
    """The digests of all rows that the table holds."""
    keep_freed_memory()
    found = np.zeros_like(inserter.digests)
    with Progress(f"comparing {inserter.table.name}", inserter.rows) as progress:
        for chunks in stored_blocks(inserter):
            found += digests(inserter.table.columns, chunks)
            progress(len(chunks[0].nulls))
    return found


def warn_of_generated(inserter: RowInserter, found: Digests, read: Callable[[], Blocks]) -> None:
    """Warns of each generated column that has other values than were backed up.

    `found` are the digests of the stored rows; `read` reads the inserted ones from their beginning.
    """
    generated = inserter.table.columns[len(inserter.filled) :]
    for column, before, after in zip(generated, inserter.digests[1:], found[1:], strict=True):
        if (before != after).any():
            lost = _lost_hashes(inserter, (*inserter.filled, column), read)
            status(
                "generated column has other values",
                "WARNING",
                table=inserter.table.name,
                column=column.name,
                rows=sum(int(counts.sum()) for _, counts in lost),
            )


def refusal(inserter: RowInserter, found: Digests, read: Callable[[], Blocks]) -> RowRefused:
    """The error for rows that the table does not hold as they were inserted; it names one."""
    counts = f"{inserter.rows:,} inserted, {found[0, 0]:,} found"
    lost = (f"; {difference(inserter, row)}" for _, row in _lost_rows(inserter, read))
    warning = f"warns: {inserter.warning}" if inserter.warning else "gave no warning"
    return RowRefused(
        f"table {inserter.table.name} does not hold the rows that were inserted:"
        f" {counts}{next(lost, '')}; the database {warning}"
    )


def stored_blocks(inserter: RowInserter, where: str = "") -> Iterator[list[ColumnChunk]]:
    """The rows that the table holds, some at a time, by column."""
    table = inserter.table
    statement = f"{table.statement}{where}".encode(errors="surrogateescape")
    for rows in read_rows(inserter.connection, statement):
        values = zip(table.columns, split(rows, len(table.columns)), strict=True)
        yield [from_values(column, each) for column, each in values]


# The rows that differ


def changed_rows(
    inserter: RowInserter, read: Callable[[], Iterable[OriginalRow]]
) -> dict[str, str]:
    """What became of each invalid record that the table does not hold as it was, by its origin.

    A warning would not tell: the server gives one for a zero date that it stores as it is.
    """
    lost = dict(_lost_rows(inserter, lambda: blocks_of(inserter.table.columns, read())))
    return {
        origin: f"table {inserter.table.name}: {difference(inserter, lost[number])}"
        for number, (origin, _) in enumerate(read() if lost else ())
        if number in lost
    }


def _lost_rows(
    inserter: RowInserter, read: Callable[[], Blocks]
) -> Iterator[tuple[int, list[ColumnChunk]]]:
    """The number and the values of each row that the table does not hold."""
    columns = inserter.filled
    for hashes, _ in _lost_hashes(inserter, columns, read):
        first = 0
        for chunks in read_ahead(iter(read() if len(hashes) else ()), inserter.connection):
            filled = chunks[: len(columns)]
            for place in np.flatnonzero(np.isin(row_hashes(columns, filled), hashes)).tolist():
                yield first + place, [_row_of(chunk, place) for chunk in filled]
            first += len(chunks[0].nulls)


def _lost_hashes(
    inserter: RowInserter, columns: Sequence[Column], read: Callable[[], Blocks]
) -> Iterator[tuple[Words, Ints]]:
    """The hashes of rows that the table does not hold, each with the number of such rows."""
    places = [inserter.table.columns.index(column) for column in columns]
    parts = np.uint64(1 + inserter.rows // MOST_HASHES)

    def hashes(blocks: Blocks, part: np.uint64) -> Words:
        found = [np.zeros(0, np.uint64)]
        for chunks in blocks:
            each = row_hashes(columns, [chunks[place] for place in places])
            found.append(each[each % parts == part])
        return np.concatenate(found)

    for part in map(np.uint64, range(int(parts))):
        ahead = read_ahead(iter(read()), inserter.connection)
        expected, counts = np.unique(hashes(ahead, part), return_counts=True)
        there = np.sort(hashes(stored_blocks(inserter), part))
        counts -= np.searchsorted(there, expected, "right") - np.searchsorted(there, expected)
        yield expected[counts > 0], counts[counts > 0]


def difference(inserter: RowInserter, row: list[ColumnChunk]) -> str:
    """How a row, without generated columns, differs from the one that has its key, in words."""
    key = inserter.table.primary_key
    cells = {column.name: (column, each) for column, each in zip(inserter.filled, row, strict=True)}
    has_key = bool(key) and set(key) <= cells.keys()
    shown = ", ".join(f"{name} {_text(*cells[name])}" for name in (key if has_key else cells))
    if not has_key:
        return f"a row is not there: {shown}"
    literal, _ = sql_text.write(sql_text.INSERT, *zip(*(cells[name] for name in key), strict=True))
    sought = literal[:-1].decode("utf-8", "surrogateescape")
    where = f" WHERE ({', '.join(map(quote, key))}) = {sought}"
    try:
        found = list(stored_blocks(inserter, where))
    except pymysql.err.Error as error:
        if translate(error):
            raise
        found = []  # the key's column cannot even be compared with such a value
    for there in found:
        for (column, one), other in zip(cells.values(), there, strict=False):
            if row_hashes([column], [one])[0] != row_hashes([column], [other])[0]:
                return (
                    f"column {column.name} of the row with {shown} was"
                    f" {_text(column, one)} and is {_text(column, other)}"
                )
    return f"the row with {shown} is not there"


def _row_of(chunk: ColumnChunk, row: int) -> ColumnChunk:
    at = slice(row, row + 1)
    part = chunk.content
    return ColumnChunk(
        chunk.nulls[at],
        None if chunk.numbers is None else chunk.numbers[at],
        None if part is None else Part(part.source, part.starts[at], part.lengths[at]),
        None if chunk.odd is None else chunk.odd[at],
    )


def _text(column: Column, chunk: ColumnChunk) -> str:
    """One value as SQL."""
    literal, _ = sql_text.write(sql_text.INSERT, [column], [chunk])
    text = literal[1:-2].decode(errors="backslashreplace")
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
