"""The rows of one statement, stored as one Avro object.

The caller's thread reads, and a thread each encodes, compresses and stores: the server does not
wait for them. Memory does not grow with the table.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from hiring import logs
from hiring.avro import container, encoding
from hiring.avro.schema import Table
from hiring.deadline import Deadline
from hiring.mysql import packets
from hiring.mysql.connection import Connection
from hiring.pipeline import Stage
from hiring.storage.invalid_records import InvalidRecords
from hiring.storage.objects import OutputFolder

PROGRESS_SECONDS = 30
"""How often the log reports the progress of a table."""


def store_rows(
    connection: Connection,
    table: Table,
    statement: str,
    folder: OutputFolder,
    name: str,
    deadline: Deadline,
    on_block: Callable[[encoding.Block], None] | None = None,
) -> dict[str, Any]:
    """Stores the rows of a statement as one Avro object, and its invalid records as another.

    Args:
        connection: to read on; has to be dropped if this fails.
        table: whose columns the statement selects.
        statement: `table.statement`, or a part of its rows.
        folder: to store into.
        name: of the Avro object in the folder.
        deadline: when to give up.
        on_block: called with each block in the encoding thread, if given.

    Returns:
        The manifest's entry for these rows; its `warnings` are sentences about rows that no restore
        brings back.

    Raises:
        StorageFailed, TimedOut: as they say.
        pymysql.err.Error: reading failed.
    """
    encoding.keep_freed_memory()
    started = told = time.monotonic()
    rows = 0
    with contextlib.ExitStack() as opened:
        # Its object, which may begin at any row, has to end after the thread that writes it.
        of_invalid = opened.enter_context(contextlib.ExitStack())
        invalid = InvalidRecords(table, folder, name, of_invalid)
        output = opened.enter_context(folder.create(name, "application/avro"))
        compressing = opened.enter_context(Stage("compress", deadline))
        encoding_stage = opened.enter_context(Stage("encode", deadline))
        writer = container.Writer(output.write, table.avro_schema)

        def encode(received: packets.Rows) -> None:
            nonlocal rows
            block = encoding.encode(table, received)
            if block.rows:
                compressing.submit(writer.write_block, block.rows, block.content)
            if on_block:
                on_block(block)
            for row in block.invalid:
                invalid.add(row)
            rows += block.rows

        for received in packets.read_rows(connection, statement):
            encoding_stage.submit(encode, received)
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                logs.event("rows in progress", object=name, rows=rows)
        folder.wait_for(encoding_stage)
        folder.wait_for(compressing)
    seconds = round(time.monotonic() - started, 3)
    logs.event("rows stored", object=name, rows=rows, invalid=invalid.count, seconds=seconds)
    return {
        "rows": rows,
        "objects": [{"rows": rows, **folder.stored(name)}],
        "invalid_rows": invalid.count,
        "invalid_objects": [{"rows": invalid.count, **folder.stored(invalid.name)}]
        if invalid.count
        else [],
        "warnings": invalid.warnings(),
    }
