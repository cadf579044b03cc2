"""The rows of one statement, stored as one Avro object.

The caller's thread reads, and a thread each encodes, compresses and stores: the server does not
wait for them. Memory does not grow with the table.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hiring import logs
from hiring.avro import container, encoding
from hiring.avro.schema import Table
from hiring.deadline import Deadline
from hiring.mysql import packets
from hiring.mysql.connection import Connection
from hiring.pipeline import Stage
from hiring.storage.invalid_records import InvalidRecords, RecordWriter, invalid_name
from hiring.storage.objects import OutputFolder

PROGRESS_SECONDS = 30
"""How often the log reports the progress of a table."""


@dataclass(frozen=True)
class StoredRows:
    """The manifest's entries for the objects that hold the rows of a statement.

    `warnings` are sentences about rows that no restore brings back.
    """

    rows: int
    objects: list[dict[str, Any]]
    invalid_rows: int
    invalid_objects: list[dict[str, Any]]
    warnings: list[str]


class _Encoder:
    """What the encoding thread does, and the number of rows that it passed on."""

    def __init__(
        self,
        table: Table,
        writer: container.Writer,
        compressing: Stage,
        invalid: InvalidRecords,
        on_block: Callable[[encoding.Block], None] | None,
    ) -> None:
        self._table = table
        self._writer = writer
        self._compressing = compressing
        self._invalid = invalid
        self._on_block = on_block
        self.rows = 0

    def add(self, received: packets.Rows) -> None:
        """Encodes rows, shows the block, and passes it on."""
        block = encoding.encode(self._table, received)
        if block.rows:
            self._compressing.submit(self._writer.write_block, block.rows, block.content)
        if self._on_block:
            self._on_block(block)
        for row in block.invalid:
            self._invalid.add(row)
        self.rows += block.rows


def store_rows(
    connection: Connection,
    table: Table,
    statement: str,
    folder: OutputFolder,
    name: str,
    deadline: Deadline,
    on_block: Callable[[encoding.Block], None] | None = None,
) -> StoredRows:
    """Stores the rows of a statement as one Avro object, and its invalid records as another.

    Args:
        connection: to read on; has to be dropped if this fails.
        table: whose columns the statement selects.
        statement: `table.statement`, or a part of its rows.
        folder: to store into.
        name: of the Avro object in the folder.
        deadline: when to give up.
        on_block: called with each block in the encoding thread, if given.

    Raises:
        StorageFailed, TimedOut: as they say.
        pymysql.err.Error: reading failed.
    """
    encoding.keep_freed_memory()
    started = told = time.monotonic()
    with contextlib.ExitStack() as opened:
        # Its object, which may begin at any row, has to end after the thread that writes it.
        of_invalid = opened.enter_context(contextlib.ExitStack())
        invalid = InvalidRecords(table, RecordWriter(folder, invalid_name(name), of_invalid))
        output = opened.enter_context(folder.create(name, "application/avro"))
        compressing_stage = opened.enter_context(Stage("compress", deadline))
        encoding_stage = opened.enter_context(Stage("encode", deadline))
        writer = container.Writer(output, table.avro_schema)
        encoder = _Encoder(table, writer, compressing_stage, invalid, on_block)
        for received in packets.read_rows(connection, statement, deadline):
            encoding_stage.submit(encoder.add, received)
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                logs.event("rows in progress", object=name, rows=encoder.rows)
        folder.wait_for(encoding_stage)
        folder.wait_for(compressing_stage)
    seconds = round(time.monotonic() - started, 3)
    rows = encoder.rows
    logs.event("rows stored", object=name, rows=rows, invalid=invalid.count, seconds=seconds)
    return StoredRows(
        rows,
        [{"rows": rows, **folder.stored(name)}],
        invalid.count,
        [{"rows": invalid.count, **folder.stored(invalid_name(name))}] if invalid.count else [],
        invalid.warnings(),
    )
