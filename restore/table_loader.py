"""Inserts rows into a table, many in one statement, and verifies that the table then holds them.

The digest of all inserted rows is compared with the digest of all stored rows, which are read as a
backup reads them; see `digest`. Memory does not grow with their number. The server's warnings are
not enough: it cuts off fractions of a second and pads binary values without a warning.

Rows are sent with LOAD DATA LOCAL if the server allows it, which takes a quarter less of its time,
else with INSERT. Both store the same rows, but LOAD DATA skips a refused row with only a warning:
the comparison finds that it is missing.
"""

import contextlib
import functools
import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from hiring.avro.columns import Cells, from_rows, from_values
from hiring.avro.encoding import keep_freed_memory
from hiring.avro.mapping import BYTES
from hiring.avro.parsing import split
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.errors import RowRefused
from hiring.mysql.connection import Connection
from hiring.mysql.packets import read_rows
from hiring.mysql.statements import KEEP_ALIVE_SECONDS, keep_alive, quote, select
from hiring.pipeline import Stage
from hiring.progress import CountRows
from restore import literals, sql_text, transaction
from restore.digest import Digest, digest
from restore.literals import PrintedRow

STATEMENT_BYTES = 128 * 1024
"""Longest INSERT, unless a single row is longer. With a megabyte, MySQL takes a tenth longer."""
LOAD_DATA_ROW_BYTES = 64 * 1024
"""Longest row for LOAD DATA, which can store a row too long for max_allowed_packet and readers."""
TRIED_ROWS = 256
"""Invalid records in one INSERT; a refused INSERT is repeated in halves."""


@dataclass(frozen=True)
class Batch:
    """Rows to send: as INSERT statements, or as the lines of one LOAD DATA."""

    digest: Digest
    statements: list[bytes]
    lines: bytes = b""


class TableLoader:
    """Loads rows into one table, inside `transaction.loading`.

    Args:
        connection: that holds the table's lock.
        table: with the columns to fill.
        deadline: when to give up.
    """

    def __init__(self, connection: Connection, table: Table, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self.table = table
        columns = ", ".join(quote(column.name) for column in table.columns)
        self._head = f"INSERT INTO {quote(table.name)} ({columns}) VALUES ".encode()
        self._load_data = transaction.LOAD_DATA.format(table=quote(table.name), columns=columns)
        ((packet, allowed),) = select(
            connection, "SELECT @@SESSION.max_allowed_packet, @@GLOBAL.local_infile"
        )
        self._longest = packet - 2  # a packet must be shorter, and its first byte is the command
        # LOAD DATA would need to know which bytes are not text. It also fills unlisted
        # columns that have no default, which nothing would compare.
        has_bytes = any(column.type is BYTES for column in table.columns)
        every = read_table(connection, table.name).without_generated.columns
        self._may_load_data = bool(allowed) and not has_bytes and len(every) == len(table.columns)
        self._digest = Digest()
        self._warning: str | None = None

    @property
    def rows(self) -> int:
        """Number of inserted rows."""
        return self._digest.rows

    def insert(self, blocks: Iterable[list[Cells]], progress: CountRows) -> None:
        """Inserts rows.

        Args:
            blocks: of rows, by column.
            progress: called with the number of rows of each.

        Raises:
            RowRefused: the server refuses a row.
        """
        batches = (self._prepare(cells) for cells in blocks)
        with contextlib.closing(self._ahead(batches)) as ahead:
            for batch in ahead:
                for statement in batch.statements:
                    self._warning = self._insert(statement) or self._warning
                if batch.lines:
                    warning = transaction.load_data(self._connection, self._load_data, batch.lines)
                    self._warning = warning or self._warning
                self._digest += batch.digest
                progress(batch.digest.rows)

    def _prepare(self, cells: list[Cells]) -> Batch:
        columns = self.table.columns
        found = digest(columns, cells)
        if self._may_load_data:
            lines, ends = sql_text.write(sql_text.LINES, columns, cells)
            starts = [0, *ends[:-1].tolist()]
            if max(end - start for start, end in zip(starts, ends.tolist(), strict=True)) <= (
                LOAD_DATA_ROW_BYTES
            ):
                return Batch(found, [], lines)
        text, ends = sql_text.write(sql_text.INSERT, columns, cells)
        return Batch(found, list(self._statements(text, ends.tolist())))

    def _statements(self, text: bytes, ends: list[int]) -> Iterator[bytes]:
        """INSERT statements of up to STATEMENT_BYTES, with at least one row each."""
        room = min(STATEMENT_BYTES, self._longest) - len(self._head)
        start = end = 0
        for following in [*ends, len(text) + STATEMENT_BYTES]:
            # The last row has no comma.
            if following - 1 - start > room and end > start:
                yield self._head + text[start : end - 1]
                start = end
            end = following

    def _ahead(self, batches: Iterator[Batch]) -> Generator[Batch, None, None]:
        """The batches; each is made while the one before it is inserted.

        Reading may be slow, so the connection is kept alive meanwhile.
        """
        made: list[Batch | None] = []

        def make_one() -> None:
            made.append(next(batches, None))

        ping_server = functools.partial(keep_alive, self._connection)
        with Stage("read", self._deadline) as reading:
            reading.submit(make_one)
            while True:
                reading.drain(ping_server, KEEP_ALIVE_SECONDS)
                batch = made.pop()
                if batch is None:
                    return
                reading.submit(make_one)
                yield batch

    def insert_accepted(
        self, rows: Iterable[tuple[str, PrintedRow]], progress: CountRows
    ) -> Iterator[tuple[str, str]]:
        """Inserts the rows that the server accepts without a warning.

        Args:
            rows: (origin, values as MySQL prints them) each.
            progress: called with the number of rows tried.

        Yields:
            (origin, server's reason) for each rejected row.
        """
        rows = iter(rows)
        while batch := list(itertools.islice(rows, TRIED_ROWS)):
            yield from self._insert_accepted(batch)
            progress(len(batch))

    def _insert_accepted(self, batch: list[tuple[str, PrintedRow]]) -> Iterator[tuple[str, str]]:
        columns = self.table.columns
        texts = [literals.row(columns, row) for _, row in batch]
        self._execute("SAVEPOINT tried")
        statement = self._head + b",".join(texts)
        if len(batch) == 1:
            # SELECT stores NULL as an empty geometry, as VALUES does with several rows only.
            statement = self._head.removesuffix(b"VALUES ") + b"SELECT " + texts[0][1:-1]
        try:
            refusal = self._insert(statement)
        except RowRefused as error:
            refusal = str(error)
        if refusal is None:
            self._digest += digest(columns, from_rows(columns, [row for _, row in batch]))
            return
        self._execute("ROLLBACK TO SAVEPOINT tried")
        if len(batch) == 1:
            yield batch[0][0], refusal
            return
        half = len(batch) // 2
        yield from self._insert_accepted(batch[:half])
        yield from self._insert_accepted(batch[half:])

    def _execute(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def _insert(self, statement: bytes) -> str | None:
        if len(statement) > self._longest:
            raise RowRefused(
                f"a row of table {self.table.name} takes {len(statement)} bytes as SQL, the"
                f" server's max_allowed_packet allows {self._longest}"
            )
        try:
            return transaction.insert(self._connection, statement)
        except RowRefused as error:
            raise RowRefused(f"table {self.table.name}: {error}") from error

    def check(self, progress: CountRows) -> None:
        """Compares the inserted rows with the rows that the table holds.

        Args:
            progress: called with the number of rows read.

        Raises:
            RowRefused: the server changed or skipped a row.
        """
        keep_freed_memory()
        columns = self.table.columns
        found = Digest()
        for rows in read_rows(self._connection, self.table.statement, self._deadline):
            values = zip(columns, split(rows, len(columns)), strict=True)
            part = digest(columns, [from_values(column, each) for column, each in values])
            found += part
            progress(part.rows)
        if found != self._digest:
            raise RowRefused(
                f"table {self.table.name} does not hold the rows that were inserted:"
                f" {self.rows} were inserted, {found.rows} are there; the database"
                f" {f'warns: {self._warning}' if self._warning else 'gave no warning'}"
            )
