"""Inserts rows into a table, many in one statement, and verifies that the table then holds them.

Each inserted row has a fingerprint, and so has each row that is read back as a backup reads it. The
sums over all rows are equal only when the rows are, in any order; memory does not grow with their
number. The server's warnings are not enough: it cuts fractions of a second and pads binary values
without one.
"""

import contextlib
import functools
import io
import itertools
from collections.abc import Generator, Iterable, Iterator
from typing import Any, cast

import fastavro

import db
from hiring.core.connection import Connection
from hiring.core.deadline import Deadline
from hiring.core.errors import RowRefused
from hiring.export import blocks, container
from hiring.export.pipeline import Stage
from hiring.export.table import Table
from loading import target
from loading.literals import RowWriter, SqlRow
from loading.progress import CountRow

STATEMENT_BYTES = 1024 * 1024
"""Longest INSERT, unless one row alone is longer."""
TRIED_ROWS = 256
"""Invalid records that one INSERT tries; those of a refused INSERT are tried in halves."""


class TableLoader:
    """Loads rows into one table, inside `target.loading`.

    Args:
        connection: that holds the table's lock.
        table: with the columns to fill.
        deadline: when to give up.
    """

    def __init__(self, connection: Connection, table: Table, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self.table = table
        columns = ", ".join(db.quote(column.name) for column in table.columns)
        self._head = f"INSERT INTO {db.quote(table.name)} ({columns}) VALUES ".encode()
        ((packet,),) = db.select(connection, "SELECT @@SESSION.max_allowed_packet")
        self._longest = packet - 2  # the packet is shorter than that, and its first byte a command
        self._sum = 0
        self._warning: str | None = None
        self.rows = 0

    def insert(self, rows: Iterable[SqlRow], progress: CountRow) -> None:
        """Inserts rows.

        Args:
            rows: as SQL.
            progress: called for each of them.

        Raises:
            RowRefused: the server refuses a row.
        """
        longest = min(STATEMENT_BYTES, self._longest)
        # The last row has no comma.
        batches = _batched(rows, longest - len(self._head) + 1)
        with contextlib.closing(self._ahead(batches)) as ahead:
            for batch in ahead:
                self._warning = self._insert(batch) or self._warning
                self._count(batch)
                for _ in batch:
                    progress()

    def _ahead(self, batches: Iterator[list[SqlRow]]) -> Generator[list[SqlRow], None, None]:
        """The batches, each read while the one before it is inserted.

        Reading may be slow; the server must not close the idle connection meanwhile.
        """
        read: list[list[SqlRow] | None] = []

        def read_one() -> None:
            read.append(next(batches, None))

        keep_alive = functools.partial(db.keep_alive, self._connection)
        with Stage("read", self._deadline) as reading:
            reading.submit(read_one)
            while True:
                reading.drain(keep_alive, db.KEEP_ALIVE_SECONDS)
                batch = read.pop()
                if batch is None:
                    return
                reading.submit(read_one)
                yield batch

    def insert_accepted(
        self, rows: Iterable[tuple[str, SqlRow]], progress: CountRow
    ) -> Iterator[tuple[str, str]]:
        """Inserts the rows that the server accepts without a warning.

        Args:
            rows: (origin, row) each.
            progress: called for each of them.

        Yields:
            (origin, server's reason) for each rejected row.
        """
        rows = iter(rows)
        while batch := list(itertools.islice(rows, TRIED_ROWS)):
            yield from self._insert_accepted(batch)
            for _ in batch:
                progress()

    def _insert_accepted(self, batch: list[tuple[str, SqlRow]]) -> Iterator[tuple[str, str]]:
        self._execute("SAVEPOINT tried")
        try:
            refusal = self._insert([row for _, row in batch])
        except RowRefused as error:
            refusal = str(error)
        if refusal is None:
            self._count([row for _, row in batch])
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

    def _insert(self, batch: list[SqlRow]) -> str | None:
        statement = self._head + b",".join([sql for sql, _ in batch])
        if len(statement) > self._longest:
            raise RowRefused(
                f"a row of table {self.table.name} takes {len(statement)} bytes as SQL, the"
                f" server's max_allowed_packet allows {self._longest}"
            )
        try:
            return target.insert(self._connection, statement)
        except RowRefused as error:
            raise RowRefused(f"table {self.table.name}: {error}") from error

    def _count(self, batch: list[SqlRow]) -> None:
        self.rows += len(batch)
        self._sum += sum([fingerprint for _, fingerprint in batch])

    def check(self, progress: CountRow) -> None:
        """Compares the inserted rows with the rows that the table holds.

        Args:
            progress: called for each row.

        Raises:
            RowRefused: the server changed a row.
        """
        rows = total = 0
        for _, fingerprint in self._read_back():
            rows += 1
            total += fingerprint
            progress()
        if (rows, total) != (self.rows, self._sum):
            raise RowRefused(
                f"table {self.table.name} does not hold the rows that were inserted:"
                f" {self.rows} were inserted, {rows} are there; the database"
                f" {f'warns: {self._warning}' if self._warning else 'gave no warning'}"
            )

    def _read_back(self) -> Iterator[SqlRow]:
        """The rows of the table, as its backup would hold them."""
        writer = RowWriter(self.table.columns)
        names = [column.avro_name for column in self.table.columns]
        statement = self.table.statement
        for block in blocks.read(self._connection, self.table, statement, self._deadline):
            file = io.BytesIO()
            container.Writer(file, self.table.avro_schema).write_block(block.rows, block.content)
            file.seek(0)
            for record in fastavro.reader(file):
                values = cast(dict[str, Any], record)
                yield writer.from_values([values[name] for name in names])
            for row in block.invalid:
                yield writer.from_printed(row.values)


def _batched(rows: Iterable[SqlRow], limit: int) -> Iterator[list[SqlRow]]:
    """Groups rows for one statement each: up to `limit` bytes with commas, at least one row."""
    batch: list[SqlRow] = []
    size = 0
    for row in rows:
        size += len(row[0]) + 1
        if size > limit and batch:
            yield batch
            batch, size = [], len(row[0]) + 1
        batch.append(row)
    if batch:
        yield batch
