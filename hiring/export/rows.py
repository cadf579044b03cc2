"""The rows of one statement, stored as one Avro object.

The caller's thread reads and encodes, one thread compresses, one stores. Memory does not grow with
the table.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hiring.core import logs
from hiring.core.connection import Connection
from hiring.core.deadline import Deadline
from hiring.export import blocks, container
from hiring.export.invalid import InvalidRecords, invalid_name
from hiring.export.objects import OutputFolder
from hiring.export.pipeline import Stage
from hiring.export.table import Table

PROGRESS_SECONDS = 30
"""How often the log reports the progress of a table."""


@dataclass(frozen=True)
class StoredRows:
    """The manifest's entries for the objects that hold the rows of a statement."""

    rows: int
    objects: list[dict[str, Any]]
    invalid_rows: int
    invalid_objects: list[dict[str, Any]]


def store_rows(
    connection: Connection,
    table: Table,
    statement: str,
    folder: OutputFolder,
    name: str,
    deadline: Deadline,
    see: Callable[[blocks.Block], None] | None = None,
) -> StoredRows:
    """Stores the rows of a statement as one Avro object, and its invalid records as another.

    Args:
        connection: to read on; has to be dropped if this fails.
        table: whose columns the statement selects.
        statement: `table.statement`, or a part of its rows.
        folder: to store into.
        name: of the Avro object in the folder.
        deadline: when to give up.
        see: called with each block, if given.

    Raises:
        StorageFailed, TimedOut: as they say.
        pymysql.err.Error: reading failed.
    """
    started = told = time.monotonic()
    rows = 0
    with contextlib.ExitStack() as opened:
        invalid = InvalidRecords(folder, table, invalid_name(name), opened)
        output = opened.enter_context(folder.create(name, "application/avro"))
        compressing = opened.enter_context(Stage("compress", deadline))
        writer = container.Writer(output, table.avro_schema)
        for block in blocks.read(connection, table, statement, deadline):
            if block.rows:
                compressing.submit(writer.write_block, block.rows, block.content)
            if see:
                see(block)
            rows += block.rows
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                logs.event("rows in progress", object=name, rows=rows)
            for row in block.invalid:
                invalid.add(row)
        folder.wait_for(compressing)
    seconds = round(time.monotonic() - started, 3)
    logs.event("rows stored", object=name, rows=rows, invalid=invalid.count, seconds=seconds)
    return StoredRows(
        rows,
        [{"rows": rows, **folder.stored(name)}],
        invalid.count,
        [{"rows": invalid.count, **folder.stored(invalid_name(name))}] if invalid.count else [],
    )
