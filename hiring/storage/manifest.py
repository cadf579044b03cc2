"""The manifest of a backup, read and checked."""

import datetime
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hiring.errors import BadSource
from hiring.tables import TABLES

MANIFEST = "manifest.json"
FORMAT = 1
"""The version of the manifest's rules."""


@dataclass(frozen=True)
class StoredFile:
    """A file of the backup as its manifest describes it; `rows` is 0 where it holds none."""

    name: str
    bytes: int
    crc32c: str
    rows: int
    generation: int


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
    database: str
    server_version: str
    tables: dict[str, StoredTable]
    schema: StoredFile
    reports: tuple[StoredFile, ...]

    def all_rows(self, tables: Iterable[str] = TABLES) -> int:
        """Number of rows and invalid records of tables."""
        return sum(self.tables[name].rows + self.tables[name].invalid_rows for name in tables)

    @property
    def invalid_rows(self) -> int:
        """Number of invalid records of all tables."""
        return sum(table.invalid_rows for table in self.tables.values())

    @property
    def time(self) -> datetime.datetime:
        """The time of the snapshot."""
        return datetime.datetime.fromisoformat(self.taken_at)

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every object that the manifest names."""
        tables = self.tables.values()
        stored = [each for table in tables for each in (*table.objects, *table.invalid_objects)]
        return (*stored, self.schema, *self.reports)


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
        if sorted(tables) != sorted(TABLES) or len(manifest["tables"]) != len(tables):
            raise ValueError(f"its tables are not {', '.join(TABLES)}")
        if datetime.datetime.fromisoformat(manifest["taken_at"]).tzinfo is None:
            raise ValueError("its taken_at names no time zone")
        return Manifest(
            taken_at=manifest["taken_at"],
            database=str(manifest["database"]),
            server_version=str(manifest["server_version"]),
            tables=tables,
            schema=_stored_file(manifest["schema"]),
            reports=tuple(_stored_file(report) for report in manifest["reports"]),
        )
    except KeyError as error:
        raise BadSource(f"{MANIFEST} is not a manifest: {error} is missing") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
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
    return StoredFile(name, size, str(crc32c), rows, int(entry["generation"]))
