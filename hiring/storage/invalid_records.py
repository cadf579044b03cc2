"""Invalid records of a backup or an import, kept as JSON lines."""

import base64
import contextlib
import json
from typing import Any

from hiring import logs
from hiring.avro.encoding import InvalidRow
from hiring.avro.mapping import BYTES, RAW
from hiring.avro.schema import Column, Table
from hiring.storage.objects import ObjectWriter, OutputFolder
from hiring.terminal import counted


class RecordWriter:
    """Writes records as JSON lines into an object that the first one creates.

    Args:
        folder: to store the object in.
        name: of the object.
        opened: closes the object.

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
    """The invalid records of one table of a backup.

    Args:
        table: of the records.
        folder: to store their object in.
        name: of the Avro object with the valid rows.
        opened: closes the object.
    """

    def __init__(
        self, table: Table, folder: OutputFolder, name: str, opened: contextlib.ExitStack
    ) -> None:
        super().__init__(folder, f"invalid/{name.removesuffix('.avro')}.jsonl", opened)
        self._table = table
        # By column: the number of records that no restore brings back, and the first one.
        self._lost: dict[str, tuple[int, str]] = {}

    def add(self, row: InvalidRow) -> None:
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
        return {"base64": _base64(value)}
    if value.startswith(RAW) and value != RAW:
        raw = value.removeprefix(RAW)
        if column.has_members:
            # The byte is no member: a reader of version 1, which knows no number, leaves it out.
            return {"base64": _base64(RAW), "number": raw.decode()}
        return {"base64": _base64(raw), "character_set": column.character_set}
    with contextlib.suppress(UnicodeDecodeError):
        return value.decode()
    return {"base64": _base64(value)}


def printed(value: Any) -> bytes | None:
    """A value of an invalid record as MySQL prints it.

    Raises:
        ValueError, KeyError, TypeError: a backup has no such value.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if "number" in value:
        return RAW + b"%d" % int(value["number"])
    content = base64.b64decode(value["base64"])
    return RAW + content if "character_set" in value else content


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
