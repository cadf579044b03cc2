"""The rows of one statement: one Avro object, and the invalid ones as JSON lines beside it.

The caller's thread reads, and a thread each encodes, compresses and stores: the server does not
wait for them. Memory does not grow with the table.
"""

import base64
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from hiring import logs
from hiring.avro import container, encoding
from hiring.avro.mapping import BYTES, RAW
from hiring.avro.schema import Column, Table
from hiring.mysql import packets
from hiring.mysql.connection import Connection
from hiring.pipeline import Stage
from hiring.storage.objects import ObjectWriter, OutputFolder
from hiring.terminal import counted

PROGRESS_SECONDS = 30
"""How often the log reports the progress of a table."""


def store_rows(
    connection: Connection,
    table: Table,
    statement: str,
    folder: OutputFolder,
    name: str,
    on_block: Callable[[encoding.Block], None] | None = None,
) -> dict[str, Any]:
    """Stores the rows of a statement as one Avro object, and its invalid records as another.

    Args:
        connection: read until its deadline; has to be dropped if this fails.
        statement: `table.statement`, or a part of its rows.
        name: of the Avro object in the folder.
        on_block: called with each block in the encoding thread.

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
        compressing = opened.enter_context(Stage("compress", connection.deadline))
        encoding_stage = opened.enter_context(Stage("encode", connection.deadline))
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


class RecordWriter:
    """Writes records as JSON lines into an object that the first one creates; `opened` closes it.

    Attributes:
        count: number of records.
    """

    def __init__(self, folder: OutputFolder, name: str, opened: contextlib.ExitStack) -> None:
        self._folder = folder
        self._opened = opened
        self._writer: ObjectWriter | None = None
        self.name = name
        self.count = 0

    @property
    def address(self) -> str:
        """The address of the object; empty if there is none."""
        return f"{self._folder.address}{self.name}" if self.count else ""

    def write(self, record: dict[str, object]) -> None:
        """Writes a record."""
        if self._writer is None:
            self._writer = self._opened.enter_context(
                self._folder.create(self.name, "application/x-ndjson")
            )
        self._writer.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self.count += 1


class InvalidRecords(RecordWriter):
    """The invalid records of a table; `name` is that of the Avro object with its valid rows."""

    def __init__(
        self, table: Table, folder: OutputFolder, name: str, opened: contextlib.ExitStack
    ) -> None:
        super().__init__(folder, f"invalid/{name.removesuffix('.avro')}.jsonl", opened)
        self._table = table
        # By column: the number of records that no restore brings back, and the first one.
        self._lost: dict[str, tuple[int, str]] = {}

    def add(self, row: encoding.InvalidRow) -> None:
        """Stores a row as MySQL prints it."""
        printed = {
            column.name: _as_json(column, value)
            for column, value in zip(self._table.columns, row.values, strict=True)
        }
        key = {name: printed[name] for name in self._table.primary_key}
        table = self._table.name
        self.write(
            {"table": table, "primary_key": key or None, "reason": row.reason, "row": printed}
        )
        if row.lost:
            whose = json.dumps(key, ensure_ascii=False) if key else "a row without key"
            count, example = self._lost.get(row.lost, (0, f"{whose}: {row.reason}"))
            self._lost[row.lost] = count + 1, example

    def warnings(self) -> list[str]:
        """A sentence for each column with values that no restore brings back; logs it, too."""
        sentences = [
            f"no restore brings back {counted(count, 'row')} of {self._table.name},"
            f" such as {example}"
            for count, example in self._lost.values()
        ]
        for sentence in sentences:
            logs.event("rows cannot be restored", "WARNING", reason=sentence)
        return sentences


def _as_json(column: Column, value: bytes | None) -> object:
    """A printed value as JSON; `printed` is the inverse."""
    if value is None:
        return None
    if column.type is BYTES:
        return _base64(value)
    if column.may_be_raw and value.startswith(RAW) and value != RAW:
        raw = value.removeprefix(RAW)
        if column.has_members:
            # The byte is no member: a reader of version 1, which knows no number, leaves it out.
            return _base64(RAW) | {"number": raw.decode()}
        return _base64(raw) | {"character_set": column.character_set}
    with contextlib.suppress(UnicodeDecodeError):
        return value.decode()
    return _base64(value)


def printed(value: Any) -> bytes | None:
    """A value of an invalid record as MySQL prints it.

    Raises ValueError, KeyError or TypeError for a value that no backup has.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if "number" in value:
        return RAW + b"%d" % int(value["number"])
    content = base64.b64decode(value["base64"])
    return RAW + content if "character_set" in value else content


def _base64(content: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode()}
