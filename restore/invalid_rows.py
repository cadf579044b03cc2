"""Inserts the invalid records of a backup: all that the table then holds as they were.

What decides is the row that is read back, not a warning: the server gives one for a zero date that
it stores as it is. The others are left out, as the backup said that they might be.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from hiring.avro.columns import ColumnChunk, from_rows
from hiring.avro.schema import Column
from hiring.errors import RowRefused
from hiring.mysql.statements import execute
from hiring.progress import CountRows
from restore import literals
from restore.comparison import difference, lost_hashes
from restore.digest import add, digests, row_hashes
from restore.literals import PrintedRow
from restore.row_inserter import RowInserter

OriginalRow = tuple[str, PrintedRow]
"""The origin of a row, and its values: those to fill, then those that the server generates."""

TRIED_ROWS = 256
"""Rows in one INSERT; a refused INSERT is repeated in halves."""


def insert_invalid_rows(
    inserter: RowInserter, rows: Iterable[OriginalRow], progress: CountRows
) -> dict[str, str]:
    """Inserts the rows that the server accepts.

    Args:
        inserter: of the table.
        rows: to insert.
        progress: called with the number of rows tried.

    Returns:
        The server's reason for each of the others, by its origin.
    """
    refused: dict[str, str] = {}
    rows = iter(rows)
    while batch := list(itertools.islice(rows, TRIED_ROWS)):
        refused |= _insert(inserter, batch)
        progress(len(batch))
    return refused


def _insert(inserter: RowInserter, batch: list[OriginalRow]) -> dict[str, str]:
    columns, filled = inserter.table.columns, inserter.filled
    texts = [literals.row(filled, row[: len(filled)]) for _, row in batch]
    statement = inserter.head + b",".join(texts)
    if len(batch) == 1:
        # SELECT stores NULL as an empty geometry, as VALUES does with several rows only.
        statement = inserter.head.removesuffix(b"VALUES ") + b"SELECT " + texts[0][1:-1]
    execute(inserter.connection, "SAVEPOINT tried_rows")
    try:
        inserter.insert_statement(statement)
    except RowRefused as error:
        execute(inserter.connection, "ROLLBACK TO SAVEPOINT tried_rows")
        if len(batch) == 1:
            return {batch[0][0]: str(error)}
        half = len(batch) // 2
        return _insert(inserter, batch[:half]) | _insert(inserter, batch[half:])
    for chunks in blocks_of(columns, batch):
        inserter.digests = add(inserter.digests, digests(columns, chunks))
    return {}


def blocks_of(
    columns: tuple[Column, ...], rows: Iterable[OriginalRow]
) -> Iterator[list[ColumnChunk]]:
    """The rows by column, some at a time."""
    rows = iter(rows)
    while batch := list(itertools.islice(rows, TRIED_ROWS)):
        yield from_rows(columns, [row for _, row in batch])


def changed_rows(
    inserter: RowInserter, read: Callable[[], Iterable[OriginalRow]]
) -> dict[str, str]:
    """Finds the inserted rows that the table does not hold as they were.

    Args:
        inserter: that inserted the rows.
        read: reads them from their beginning.

    Returns:
        What became of each, by its origin.
    """
    columns = inserter.filled
    parts = lost_hashes(inserter, columns, lambda: blocks_of(inserter.table.columns, read()))
    lost = np.concatenate([hashes for hashes, _ in parts])
    changed = {}
    for origin, row in read() if len(lost) else ():
        chunks = from_rows(columns, [row])
        if np.isin(row_hashes(columns, chunks), lost).all():
            changed[origin] = f"table {inserter.table.name}: {difference(inserter, chunks)}"
    return changed
