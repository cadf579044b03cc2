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

LARGEST_NUMBER = 2**63 - 1
"""The largest number of bytes or rows, and the largest generation, of an object."""


def printed(time: datetime.datetime) -> str:
    """A time in UTC, as a manifest prints it."""
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"


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
    """The manifest, as far as its readers need it.

    Attributes:
        time: of the snapshot, by the database server's clock.
        database: that was backed up.
        lower_case_table_names: the server's variable, which says how it compares names: 0 with
            case, 1 and 2 without. None in a manifest of version 1.
        server_version: as the server prints it.
    """

    time: datetime.datetime
    database: str
    lower_case_table_names: int | None
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
    def taken_at(self) -> str:
        """The time of the snapshot, as the manifest prints it."""
        return printed(self.time)

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every object that the manifest names."""
        tables = self.tables.values()
        stored = [each for table in tables for each in (*table.objects, *table.invalid_objects)]
        return (*stored, self.schema, *self.reports)


def read_manifest(content: bytes) -> Manifest:
    """Reads a manifest; raises BadSource, which says what is wrong, if it is none of FORMAT."""
    try:
        manifest = json.loads(content)
        json.dumps(manifest, ensure_ascii=False).encode()  # half a surrogate is no character
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r:.20}, not {FORMAT}")
        tables = {table["table"]: _stored_table(table) for table in manifest["tables"]}
        if sorted(tables) != sorted(TABLES) or len(manifest["tables"]) != len(tables):
            raise ValueError(f"its tables are not {', '.join(TABLES)}")
        taken = datetime.datetime.fromisoformat(manifest["taken_at"])
        if taken.tzinfo is None:
            raise ValueError("its taken_at names no time zone")
        return Manifest(
            time=taken.astimezone(datetime.UTC),
            database=str(manifest["database"]),
            lower_case_table_names=manifest.get("lower_case_table_names"),
            server_version=str(manifest["server_version"]),
            tables=tables,
            schema=_stored_file(manifest["schema"]),
            reports=tuple(_stored_file(report) for report in manifest["reports"]),
        )
    except KeyError as error:
        raise BadSource(f"{MANIFEST} is not a manifest: {error} is missing") from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BadSource(f"{MANIFEST} is not a manifest: {error!s:.200}") from error


def _stored_table(entry: dict[str, Any]) -> StoredTable:
    table = StoredTable(
        objects=tuple(_stored_file(each, each["rows"]) for each in entry["objects"]),
        invalid_objects=tuple(
            _stored_file(each, each["rows"]) for each in entry.get("invalid_objects", [])
        ),
    )
    if not table.objects:
        raise ValueError(f"table {entry['table']!r:.80} has no object")
    if (table.rows, table.invalid_rows) != (entry["rows"], entry["invalid_rows"]):
        raise ValueError(f"the rows of {entry['table']!r:.80} are not those of its objects")
    return table


def _stored_file(entry: dict[str, Any], rows: int = 0) -> StoredFile:
    name, size, generation = entry["name"], entry["bytes"], entry["generation"]
    # A name with `..` would read a file outside the folder.
    if not isinstance(name, str) or not re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*", name, re.ASCII):
        raise ValueError(f"{name!r:.200} is not the name of an object in this folder")
    for number in (size, rows, generation):
        if type(number) is not int or not 0 <= number <= LARGEST_NUMBER:
            raise ValueError(f"the bytes, rows or generation of {name} are not a number")
    return StoredFile(name, size, str(entry["crc32c"]), rows, generation)
