"""Puts rows into a table, many in one statement, and proves that they are what it then holds.

The proof: each row that goes in has a fingerprint, and so has each row that is read back through
the same mapping as a backup reads it. The sums over all rows are equal only when the rows are,
whatever their order; memory does not grow with their number. Warnings of the server would not do:
it cuts fractions of a second and pads binary values without one.
"""

import contextlib
import functools
import io
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, cast

import fastavro
import fastavro.write
from pymysql.connections import Connection

import blocks
import db
import mapping
import stages
from errors import RowRefused
from loading import target

STATEMENT_BYTES = 1024 * 1024
"""How long an INSERT gets, if one row alone is not longer."""
OFFERED_ROWS = 256
"""How many invalid records are offered to the server at once, before it is asked one by one."""

Progress = Callable[[], None]
"""Called for each row that is done."""


class Filling:
    """Fills one table, inside `target.loading`.

    Args:
        connection: that has the table's lock.
        table: with the columns that are filled.
        deadline: when to give up.
    """

    def __init__(self, connection: Connection, table: mapping.Table, deadline: db.Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self.table = table
        columns = ", ".join(db.quote(column.name) for column in table.columns)
        self._head = f"INSERT INTO {db.quote(table.name)} ({columns}) VALUES ".encode()
        ((self._longest,),) = db.select(connection, "SELECT @@SESSION.max_allowed_packet")
        self._sum = 0
        self._warning: str | None = None
        self.rows = 0

    def add(self, rows: Iterable[mapping.Row], progress: Progress) -> None:
        """Puts rows in.

        Raises:
            RowRefused: the server does not take one.
        """
        batches = _batched(rows, min(STATEMENT_BYTES, self._longest) - len(self._head))
        with contextlib.closing(self._ahead(batches)) as ahead:
            for batch in ahead:
                self._warning = self._insert(batch) or self._warning
                self._count(batch)
                for _ in batch:
                    progress()

    def _ahead(
        self, batches: Iterator[list[mapping.Row]]
    ) -> Generator[list[mapping.Row], None, None]:
        """The batches, each read while the one before is inserted.

        They may come from far away, which must not cost the connection.
        """
        read: list[list[mapping.Row] | None] = []

        def read_one() -> None:
            read.append(next(batches, None))

        keep_alive = functools.partial(db.keep_alive, self._connection)
        with stages.Stage("read", self._deadline) as reading:
            reading.hand_over(read_one)
            while True:
                reading.finish(keep_alive, db.KEEP_ALIVE_SECONDS)
                batch = read.pop()
                if batch is None:
                    return
                reading.hand_over(read_one)
                yield batch

    def offer(
        self, rows: Iterable[tuple[str, mapping.Row]], progress: Progress
    ) -> Iterator[tuple[str, str]]:
        """Puts those rows in that the server takes without a warning.

        Args:
            rows: each with a word of where it comes from.
            progress: called for each of them.

        Yields:
            For each of the others that word, and the server's own for why.
        """
        rows = iter(rows)
        while batch := list(itertools.islice(rows, OFFERED_ROWS)):
            yield from self._offer(batch)
            for _ in batch:
                progress()

    def _offer(self, batch: list[tuple[str, mapping.Row]]) -> Iterator[tuple[str, str]]:
        self._execute("SAVEPOINT offered")
        try:
            refusal = self._insert([row for _, row in batch])
        except RowRefused as error:
            refusal = str(error)
        if refusal is None:
            self._count([row for _, row in batch])
            return
        self._execute("ROLLBACK TO SAVEPOINT offered")
        if len(batch) == 1:
            yield batch[0][0], refusal
            return
        half = len(batch) // 2
        yield from self._offer(batch[:half])
        yield from self._offer(batch[half:])

    def _execute(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def _insert(self, batch: list[mapping.Row]) -> str | None:
        statement = self._head + b",".join([sql for sql, _ in batch])
        if len(statement) >= self._longest:
            raise RowRefused(
                f"a row of table {self.table.name} takes {len(statement)} bytes as SQL, the"
                f" server's max_allowed_packet is {self._longest}"
            )
        try:
            return target.insert(self._connection, statement)
        except RowRefused as error:
            raise RowRefused(f"table {self.table.name}: {error}") from error

    def _count(self, batch: list[mapping.Row]) -> None:
        self.rows += len(batch)
        self._sum += sum([fingerprint for _, fingerprint in batch])

    def check(self, progress: Progress) -> None:
        """Compares what was put in with what the table holds.

        Args:
            progress: called for each row.

        Raises:
            RowRefused: the server has made something else of a row.
        """
        rows = total = 0
        for _, fingerprint in self._read_back():
            rows += 1
            total += fingerprint
            progress()
        if (rows, total) != (self.rows, self._sum):
            raise RowRefused(
                f"table {self.table.name} does not hold the rows that were put into it:"
                f" {self.rows} went in, {rows} are there; the database"
                f" {f'warns: {self._warning}' if self._warning else 'gave no warning'}"
            )

    def _read_back(self) -> Iterator[mapping.Row]:
        """The rows of the table, as a backup of it would hold them."""
        writer = mapping.RowWriter(self.table.columns)
        schema = fastavro.parse_schema(self.table.avro_schema)
        names = [column.avro_name for column in self.table.columns]
        statement = self.table.statement
        for block in blocks.read(self._connection, self.table, statement, self._deadline):
            file = io.BytesIO()
            fastavro.write.Writer(file, schema).write_block(block)
            file.seek(0)
            for record in fastavro.reader(file):
                values = cast(dict[str, Any], record)
                yield writer.from_values([values[name] for name in names])
            for row in block.invalid:
                yield writer.from_printed(row.values)


def _batched(rows: Iterable[mapping.Row], limit: int) -> Iterator[list[mapping.Row]]:
    """Rows for one statement each: up to `limit` bytes with their commas, at least one row."""
    batch: list[mapping.Row] = []
    size = 0
    for row in rows:
        size += len(row[0]) + 1
        if size > limit and batch:
            yield batch
            batch, size = [], len(row[0]) + 1
        batch.append(row)
    if batch:
        yield batch
