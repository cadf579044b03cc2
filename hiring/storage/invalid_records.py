"""Invalid records: rows with a value that Avro cannot hold, kept as JSON lines."""

import base64
import contextlib
import json

from hiring.avro.encoding import InvalidRow
from hiring.avro.mapping import BYTES
from hiring.avro.schema import Column, Table
from hiring.storage.objects import ObjectWriter, OutputFolder


class InvalidRecords:
    """The invalid records of one table: JSON lines in an object that the first one creates."""

    def __init__(
        self, folder: OutputFolder, table: Table, name: str, opened: contextlib.ExitStack
    ) -> None:
        self._folder = folder
        self._table = table
        self._name = name
        self._opened = opened
        self._writer: ObjectWriter | None = None
        self.count = 0

    def add(self, row: InvalidRow) -> None:
        """Stores a row as MySQL prints it."""
        if self._writer is None:
            self._writer = self._opened.enter_context(
                self._folder.create(self._name, "application/x-ndjson")
            )
        printed = {
            column.name: _printed(column, value)
            for column, value in zip(self._table.columns, row.values, strict=True)
        }
        primary_key = {name: printed[name] for name in self._table.primary_key}
        record = {
            "table": self._table.name,
            "primary_key": primary_key or None,
            "reason": row.reason,
            "row": printed,
        }
        self._writer.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self.count += 1


def invalid_name(name: str) -> str:
    """The name of the object with the invalid records of an Avro object."""
    return f"invalid/{name.removesuffix('.avro')}.jsonl"


def _printed(column: Column, value: bytes | None) -> object:
    if value is None:
        return None
    if column.type is not BYTES:
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode()
    return {"base64": base64.b64encode(value).decode()}
