"""Inserts rows into a table, many in one statement, and sums up the digest of all of them.

`comparison` compares it with the digest of the stored rows. Memory does not grow with their number.

Rows are sent with LOAD DATA LOCAL if the server allows it, which takes a quarter less of its time,
else with INSERT. Both store the same rows, but LOAD DATA skips a refused row with only a warning:
the comparison finds that it is missing.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pymysql

from hiring.avro.columns import ColumnChunk
from hiring.avro.mapping import BYTES
from hiring.avro.schema import Table
from hiring.deadline import Deadline
from hiring.errors import RowRefused
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import translate
from hiring.mysql.statements import quote, select
from hiring.pipeline import read_ahead
from hiring.progress import CountRows
from restore import sql_text
from restore.digest import Digests, add, digests

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


@dataclass(frozen=True)
class Batch:
    """Rows to send: as INSERT statements, or as the lines of one LOAD DATA."""

    digests: Digests
    statements: list[bytes]
    lines: bytes = b""


class RowInserter:
    """Inserts rows into one table, inside `transaction.loading`.

    Args:
        connection: that holds the table's lock.
        table: with the columns to fill, then those to compare that the server generates.
        deadline: when to give up.

    Attributes:
        head: the beginning of an INSERT, up to its rows.
        filled: the columns to fill.
        digests: of all inserted rows.
        warning: the server's last one, if it gave any.
    """

    def __init__(self, connection: Connection, table: Table, deadline: Deadline) -> None:
        self.connection = connection
        self.deadline = deadline
        self.table = table
        self.filled = table.without_generated.columns
        columns = ", ".join(quote(column.name) for column in self.filled)
        self.head = f"INSERT INTO {quote(table.name)} ({columns}) VALUES ".encode()
        self._load_data = LOAD_DATA.format(table=quote(table.name), columns=columns)
        ((packet, allowed),) = select(
            connection, "SELECT @@SESSION.max_allowed_packet, @@GLOBAL.local_infile"
        )
        self._longest = packet - 2  # a packet must be shorter, and its first byte is the command
        # LOAD DATA would need to know which bytes are not text.
        has_bytes = any(column.type is BYTES for column in self.filled)
        self._may_load_data = bool(allowed) and not has_bytes
        self.digests: Digests = ()
        self.warning: str | None = None

    @property
    def rows(self) -> int:
        """Number of inserted rows."""
        return self.digests[0].rows if self.digests else 0

    def insert(self, blocks: Iterable[list[ColumnChunk]], progress: CountRows) -> None:
        """Inserts rows.

        Args:
            blocks: of rows, by column.
            progress: called with the number of rows of each.

        Raises:
            RowRefused: the server refuses a row.
        """
        batches = (self._prepare(chunks) for chunks in blocks)
        ahead = read_ahead(batches, self.connection, self.deadline)
        with contextlib.closing(ahead):
            for batch in ahead:
                for statement in batch.statements:
                    self.warning = self.insert_statement(statement) or self.warning
                if batch.lines:
                    self.warning = self._insert_lines(batch.lines) or self.warning
                self.digests = add(self.digests, batch.digests)
                progress(batch.digests[0].rows)

    def _prepare(self, chunks: list[ColumnChunk]) -> Batch:
        found = digests(self.table.columns, chunks)
        columns, chunks = self.filled, chunks[: len(self.filled)]
        if self._may_load_data:
            lines, ends = sql_text.write(sql_text.LINES, columns, chunks)
            starts = [0, *ends[:-1].tolist()]
            if max(end - start for start, end in zip(starts, ends.tolist(), strict=True)) <= (
                LOAD_DATA_ROW_BYTES
            ):
                return Batch(found, [], lines)
        text, ends = sql_text.write(sql_text.INSERT, columns, chunks)
        return Batch(found, list(self._statements(text, ends.tolist())))

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

    def insert_statement(self, statement: bytes) -> str | None:
        """Runs an INSERT; returns the server's first warning.

        Raises:
            RowRefused: the server refuses a row.
        """
        if len(statement) > self._longest:
            raise RowRefused(
                f"a row of table {self.table.name} takes {len(statement)} bytes as SQL, the"
                f" server's max_allowed_packet allows {self._longest}"
            )
        with self._refusals(), self.connection.cursor() as cursor:
            cursor.execute(statement)
            return self._first_warning(cursor.warning_count)

    def _insert_lines(self, lines: bytes) -> str | None:
        with self._refusals():
            return self._first_warning(self.connection.send_lines(self._load_data, lines))

    def _first_warning(self, count: int) -> str | None:
        return str(self.connection.show_warnings()[0][2]) if count else None

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turns the server's refusal of a row into a RowRefused with its reason."""
        try:
            yield
        except pymysql.err.Error as error:
            if translate(error):
                raise
            raise RowRefused(
                f"table {self.table.name}: the database refuses a row: {error.args[1]}"
            ) from error
