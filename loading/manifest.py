"""The manifest of a backup, read and checked."""

import json
import re
from dataclasses import dataclass
from typing import Any

import db
from backup import FORMAT, MANIFEST
from hiring.core.errors import BadSource


@dataclass(frozen=True)
class StoredFile:
    """A file of the backup as its manifest describes it; `rows` is 0 where it holds none."""

    name: str
    bytes: int
    crc32c: str
    rows: int


@dataclass(frozen=True)
class StoredTable:
    """A table of the backup: its rows in Avro, and its invalid records."""

    objects: tuple[StoredFile, ...]
    invalid_objects: tuple[StoredFile, ...]

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.objects)

    @property
    def invalid_rows(self) -> int:
        return sum(each.rows for each in self.invalid_objects)


@dataclass(frozen=True)
class Manifest:
    """The manifest, as far as its readers need it; `taken_at` is ISO 8601 in UTC."""

    taken_at: str
    server_version: str
    tables: dict[str, StoredTable]
    schema: StoredFile
    reports: tuple[StoredFile, ...]


def read_manifest(content: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        BadSource: it is not a manifest, or has another format; the message says what is wrong.
    """
    try:
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']}, not {FORMAT}")
        tables = {table["table"]: _stored_table(table) for table in manifest["tables"]}
        if sorted(tables) != sorted(db.TABLES) or len(manifest["tables"]) != len(tables):
            raise ValueError(f"its tables are not {', '.join(db.TABLES)}")
        return Manifest(
            taken_at=str(manifest["taken_at"]),
            server_version=str(manifest["server_version"]),
            tables=tables,
            schema=_stored_file(manifest["schema"]),
            reports=tuple(_stored_file(report) for report in manifest["reports"]),
        )
    except KeyError as error:
        raise BadSource(f"{MANIFEST} is not a manifest: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BadSource(f"{MANIFEST} is not a manifest: {error}") from error


def _stored_table(entry: dict[str, Any]) -> StoredTable:
    table = StoredTable(
        objects=tuple(_stored_file(each, each["rows"]) for each in entry["objects"]),
        invalid_objects=tuple(
            _stored_file(each, each["rows"]) for each in entry.get("invalid_objects", [])
        ),
    )
    if (table.rows, table.invalid_rows) != (entry["rows"], entry["invalid_rows"]):
        raise ValueError(f"the rows of {entry['table']} are not those of its objects")
    return table


def _stored_file(entry: dict[str, Any], rows: int = 0) -> StoredFile:
    name, size, crc32c = entry["name"], entry["bytes"], entry["crc32c"]
    # A name with `..` would read a file outside the folder.
    if not isinstance(name, str) or not re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*", name, re.ASCII):
        raise ValueError(f"{name!r} is not the name of an object in this folder")
    if not all(type(number) is int and number >= 0 for number in (size, rows)):
        raise ValueError(f"the bytes or rows of {name} are not a number")
    return StoredFile(name, size, str(crc32c), rows)
