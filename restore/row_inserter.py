"""Inserts rows into a table, many in one statement, and sums up the digest of all of them.

Rows are sent with LOAD DATA LOCAL if the server allows it, which takes it a quarter less time, else
with INSERT. LOAD DATA skips a refused row with only a warning: `comparison` finds it.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import pymysql

from hiring.avro.columns import ColumnChunk, from_rows
from hiring.avro.mapping import BYTES
from hiring.avro.schema import Column, Table
from hiring.errors import RowRefused
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import translate
from hiring.mysql.statements import execute, quote, select
from hiring.pipeline import read_ahead
from hiring.progress import CountRows
from restore import sql_text
from restore.digest import Digests, digests
from restore.sql_text import PrintedRow, printed_row

RowT = TypeVar("RowT")

STATEMENT_BYTES = 128 * 1024
"""Longest INSERT, unless a single row is longer. With a megabyte, MySQL takes a tenth longer."""
LOAD_DATA_ROW_BYTES = 64 * 1024
"""Longest row for LOAD DATA, which can store a row too long for max_allowed_packet and readers."""
LOAD_DATA = (
    "LOAD DATA LOCAL INFILE 'rows' INTO TABLE {table} CHARACTER SET utf8mb4"
    " FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\'"
    " LINES TERMINATED BY '\\n' STARTING BY '' ({columns})"
)
"""The statement that reads lines as `sql_text` writes them; the name of the file is arbitrary."""
OriginalRow = tuple[str, PrintedRow]
"""The origin of a row, and its values: those to fill, then those that the server generates."""

TRIED_ROWS = 256
"""Rows in one INSERT."""
PARTS = 8
"""With more, single bad rows take more statements to find; with fewer, many bad rows do."""


class RowInserter:
    """Inserts rows into one table, inside `transaction.loading`.

    The table has the columns to fill, then those to compare that the server generates.
    """

    def __init__(self, connection: Connection, table: Table) -> None:
        self.connection = connection
        self.table = table
        self.filled = table.without_generated.columns
        columns = ", ".join(quote(column.name) for column in self.filled)
        self.head = f"INSERT INTO {quote(table.name)} ({columns}) VALUES ".encode()
        self._load_data = LOAD_DATA.format(table=quote(table.name), columns=columns)
        ((packet, allowed),) = select(
            connection, "SELECT @@SESSION.max_allowed_packet, @@GLOBAL.local_infile"
        )
        self._longest = packet - 2  # a packet must be shorter, and its first byte is the command
        # LOAD DATA would need to know which bytes are not text, and takes no expression.
        self._may_load_data = bool(allowed) and not any(
            column.type is BYTES or column.mysql_type == "json" for column in self.filled
        )
        generated = len(table.columns) - len(self.filled)
        self.digests: Digests = np.zeros((1 + generated, 3), np.uint64)
        self.warning: str | None = None

    @property
    def rows(self) -> int:
        """Number of inserted rows."""
        return int(self.digests[0, 0])

    def insert(self, blocks: Iterable[list[ColumnChunk]], progress: CountRows) -> None:
        """Inserts blocks of rows, by column; raises RowRefused if the server refuses a row."""
        with contextlib.closing(read_ahead(map(self._prepare, blocks), self.connection)) as ahead:
            for found, lines, statements in ahead:
                if lines:
                    self._send(partial(self.connection.send_lines, self._load_data, lines))
                for statement in statements:
                    self.insert_statement(statement)
                self.digests = self.digests + found
                progress(int(found[0, 0]))

    def _prepare(self, chunks: list[ColumnChunk]) -> tuple[Digests, bytes, list[bytes]]:
        """The digests of rows, and their lines for LOAD DATA or their INSERT statements."""
        found = digests(self.table.columns, chunks)
        columns, chunks = self.filled, chunks[: len(self.filled)]
        if self._may_load_data:
            lines, ends = sql_text.write(sql_text.LINES, columns, chunks)
            if np.diff(ends, prepend=0).max() <= LOAD_DATA_ROW_BYTES:
                return found, lines, []
        text, ends = sql_text.write(sql_text.INSERT, columns, chunks)
        return found, b"", list(self._statements(text, ends.tolist()))

    def _statements(self, text: bytes, ends: list[int]) -> Iterator[bytes]:
        """INSERT statements of up to STATEMENT_BYTES, with at least one row each."""
        room = min(STATEMENT_BYTES, self._longest) - len(self.head)
        start = end = 0
        for following in [*ends, len(text) + STATEMENT_BYTES]:
            # The last row has no comma.
            if following - 1 - start > room and end > start:
                yield self.head + text[start : end - 1]
                start = end
            end = following

    def insert_statement(self, statement: bytes) -> None:
        """Runs an INSERT; raises RowRefused if the server refuses a row."""
        if len(statement) > self._longest:
            raise RowRefused(
                f"a row of table {self.table.name} takes {len(statement)} bytes as SQL, the"
                f" server's max_allowed_packet allows {self._longest}"
            )

        def run() -> int:
            with self.connection.cursor() as cursor:
                cursor.execute(statement)
                return int(cursor.warning_count)

        self._send(run)

    def _send(self, send: Callable[[], int]) -> None:
        """Sends rows; keeps the first of the server's warnings, whose number `send` returns."""
        try:
            # A server whose max_error_count is 0 counts warnings, and keeps none.
            for _, _, text in self.connection.show_warnings()[:1] if send() else ():
                self.warning = str(text)
        except pymysql.err.Error as error:
            if translate(error):
                raise
            raise RowRefused(
                f"table {self.table.name}: the database refuses a row: {error.args[1]}"
            ) from error


def insert_in_parts(
    connection: Connection, rows: Sequence[RowT], insert: Callable[[Sequence[RowT]], str | None]
) -> Iterator[tuple[RowT, str]]:
    """Inserts rows, at least one; yields those that the table does not take, and why.

    `insert` inserts all rows that it is given, or returns a reason against one of them.
    """
    execute(connection, "SAVEPOINT tried_rows")
    reason = insert(rows)
    if reason is None:
        return
    execute(connection, "ROLLBACK TO SAVEPOINT tried_rows")
    if len(rows) == 1:
        yield rows[0], reason
        return
    size = -(-len(rows) // PARTS)
    for start in range(0, len(rows), size):
        yield from insert_in_parts(connection, rows[start : start + size], insert)


def insert_invalid_rows(
    inserter: RowInserter, rows: Iterable[OriginalRow], progress: CountRows
) -> dict[str, str]:
    """Inserts the rows that the server accepts; returns its reason against others, by origin."""

    def insert(batch: Sequence[OriginalRow]) -> str | None:
        count = len(inserter.filled)
        texts = [printed_row(inserter.filled, row[:count]) for _, row in batch]
        statement = inserter.head + b",".join(texts)
        if len(batch) == 1:
            # SELECT stores NULL as an empty geometry, as VALUES does with several rows only.
            statement = inserter.head.removesuffix(b"VALUES ") + b"SELECT " + texts[0][1:-1]
        try:
            inserter.insert_statement(statement)
        except RowRefused as error:
            return str(error)
        (chunks,) = blocks_of(inserter.table.columns, batch)
        inserter.digests = inserter.digests + digests(inserter.table.columns, chunks)
        return None

    refused = {}
    for batch in _batches(rows):
        for (origin, _), reason in insert_in_parts(inserter.connection, batch, insert):
            refused[origin] = reason
        progress(len(batch))
    return refused


def _batches(rows: Iterable[OriginalRow]) -> Iterator[list[OriginalRow]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, TRIED_ROWS)):
        yield batch


def blocks_of(
    columns: tuple[Column, ...], rows: Iterable[OriginalRow]
) -> Iterator[list[ColumnChunk]]:
    """The rows by column, some at a time."""
    return (from_rows(columns, [row for _, row in batch]) for batch in _batches(rows))
