"""A backup as the source of a load: its manifest, its check, its rows.

A backup is believed only as far as its manifest proves it: `Backup.check` reads every object to its
end before the first row is written, and each row is read again through the same check when it is
loaded. `backup.py` says what lies where.
"""

import base64
import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import fastavro

import backup
import db
import mapping
from errors import BadSource, BundleError
from loading import target
from loading.sources import BUFFER_BYTES, Folder, Reader

SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
"""Everything that the tables could ever hold: an id of 0, dates that strict mode would refuse.

Not strict: whether the server changed a value is seen by reading it back.
"""

Progress = Callable[[], None]
"""Called for each row that is done."""

AvroType = str | dict[str, Any]


@dataclass(frozen=True)
class StoredFile:
    """A file of the backup as its manifest describes it; `rows` where it holds rows."""

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
    """What the manifest says, as far as its readers need it; `taken_at` as ISO 8601 in UTC."""

    taken_at: str
    server_version: str
    tables: dict[str, StoredTable]
    schema: StoredFile
    reports: tuple[StoredFile, ...]


def find_backup(folder: Folder) -> Folder | None:
    """The folder of a backup: this one, or the newest complete one of the folders in it."""
    if backup.MANIFEST in folder.names():
        return folder
    complete = (each for each in reversed(folder.folders()) if backup.MANIFEST in each.names())
    return next(complete, None)


def read_manifest(content: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        BadSource: it is not one, or one of another format; the message says where it goes wrong.
    """
    try:
        manifest = json.loads(content)
        if manifest["format"] != backup.FORMAT:
            raise ValueError(f"its format is {manifest['format']}, not {backup.FORMAT}")
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
        raise BadSource(f"{backup.MANIFEST} is not a manifest: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BadSource(f"{backup.MANIFEST} is not a manifest: {error}") from error


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
    # A name that led out of the folder would read somebody else's file.
    if not isinstance(name, str) or not re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*", name, re.ASCII):
        raise ValueError(f"{name!r} is not the name of an object in this folder")
    if not all(type(number) is int and number >= 0 for number in (size, rows)):
        raise ValueError(f"the bytes or rows of {name} are not a number")
    return StoredFile(name, size, str(crc32c), rows)


class Backup:
    """A backup in a folder.

    Args:
        folder: that holds the manifest.

    Raises:
        BadSource: the manifest is not one.
    """

    sql_mode = SQL_MODE

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._manifest = read_manifest(folder.read(backup.MANIFEST))
        self._fields: dict[str, dict[str, dict[str, Any]]] = {}

    @property
    def address(self) -> str:
        """The folder's."""
        return self._folder.address

    @property
    def taken_at(self) -> str:
        """The moment that the backup shows, as ISO 8601 in UTC."""
        return self._manifest.taken_at

    def table(self, name: str) -> StoredTable:
        """The objects of a table."""
        return self._manifest.tables[name]

    @property
    def origin(self) -> str:
        """Whose statements the tables' are, for people."""
        return f"the backup of a server {self._manifest.server_version}"

    @property
    def all_rows(self) -> int:
        """How many rows and invalid records there are."""
        return sum(self.rows(table) + self.invalid_rows(table) for table in db.TABLES)

    def rows(self, table: str) -> int:
        """How many rows of a table there are, invalid records not among them."""
        return self._manifest.tables[table].rows

    def invalid_rows(self, table: str) -> int:
        """How many invalid records of a table there are."""
        return self._manifest.tables[table].invalid_rows

    def invalid_address(self, table: str) -> str:
        """Where the invalid records of a table are."""
        names = [each.name for each in self._manifest.tables[table].invalid_objects]
        return " ".join(self._folder.address + name for name in names)

    def check(self, progress: Progress) -> None:
        """Reads everything to its end.

        Args:
            progress: called for each row.

        Raises:
            BadSource: an object is missing, is not the one that the manifest describes, or can't be
                read; the message names it.
            StorageFailed: Cloud Storage refused or failed.
        """
        for stored in (self._manifest.schema, *self._manifest.reports):
            with self._open(stored) as stream:
                stream.read()
        for table in self._manifest.tables.values():
            for stored in table.objects:
                for _ in self.records(stored):
                    progress()
            for stored in table.invalid_objects:
                for _ in self.invalid_records(stored):
                    progress()

    @contextlib.contextmanager
    def _open(self, stored: StoredFile) -> Iterator[io.BufferedReader]:
        """A file's bytes; leaving the block, also by an exception, checks that they were right.

        A decoder fails on damaged bytes with whatever comes first: the sum says it better.
        """
        where = self._folder.address + stored.name
        with self._folder.open(stored.name) as reader:
            try:
                yield io.BufferedReader(reader, BUFFER_BYTES)
            except BundleError:
                raise
            except Exception as error:
                _check_sum(where, stored, reader)
                raise BadSource(f"{where} can't be read: {error!r}") from error
            _check_sum(where, stored, reader)

    def records(self, stored: StoredFile) -> Iterator[dict[str, Any]]:
        """The records of an Avro file.

        Raises:
            BadSource, StorageFailed: as `check`.
        """
        rows = 0
        with self._open(stored) as stream:
            reader = fastavro.reader(stream)
            schema = json.loads(reader.metadata["avro.schema"])
            self._fields[stored.name] = {field["mysqlName"]: field for field in schema["fields"]}
            for record in reader:
                rows += 1
                yield cast(dict[str, Any], record)
        self._check_rows(stored, rows)

    def invalid_records(self, stored: StoredFile) -> Iterator[dict[str, bytes | None]]:
        """The invalid records of a file: values as MySQL printed them, by column.

        Raises:
            BadSource, StorageFailed: as `check`.
        """
        rows = 0
        with self._open(stored) as stream:
            for line in stream:
                rows += 1
                yield {
                    name: _printed(value) for name, value in dict(json.loads(line)["row"]).items()
                }
        self._check_rows(stored, rows)

    def _check_rows(self, stored: StoredFile, rows: int) -> None:
        if rows != stored.rows:
            raise BadSource(
                f"{self._folder.address}{stored.name} has {rows} rows,"
                f" its manifest says {stored.rows}"
            )

    # The tables

    def statements(self) -> dict[str, str]:
        """For each table the statement that created it."""
        with self._open(self._manifest.schema) as stream:
            schema = stream.read().decode()
        # No line of a statement but its last ends with a semicolon and is followed by nothing.
        statements = [part for part in schema.split(";\n\n") if part.strip()]
        return {
            table: statement
            for table in db.TABLES
            for statement in statements
            if statement.startswith(f"CREATE TABLE {db.quote(table)} (")
        }

    def next_ids(self) -> dict[str, int]:
        """For each table with a counter the id that its next row was to have."""
        return {
            table: target.next_id(statement)
            for table, statement in self.statements().items()
            if "AUTO_INCREMENT" in statement
        }

    def fit(self, table: mapping.Table) -> mapping.Table:
        """The table with the columns alone that the backup fills; the server generates the others.

        Raises:
            BadSource: it has not the backup's columns; the message names the first that differs.
        """
        table = table.without_generated
        columns = {column.name: column for column in table.columns}
        for stored in self._manifest.tables[table.name].objects:
            fields = self._fields[stored.name]
            for name, field in fields.items():
                if name not in columns and not field.get("mysqlGenerated"):
                    raise BadSource(f"{stored.name}: table {table.name} has no column {name}")
            for name, column in columns.items():
                if name not in fields:
                    raise BadSource(f"{stored.name} has no column {name}, table {table.name} has")
                if _plain_type(fields[name]["type"]) != column.kind.avro:
                    raise BadSource(
                        f"{stored.name}: column {name} was {fields[name]['mysqlType']},"
                        f" in table {table.name} it is {column.mysql_type}"
                    )
        return table

    # The rows

    def read_rows(self, table: mapping.Table) -> Iterator[mapping.Row]:
        """A table's rows.

        Raises:
            BadSource, StorageFailed: the backup is not any more what it was.
        """
        writer = mapping.RowWriter(table.columns)
        for stored in self._manifest.tables[table.name].objects:
            fields = self._fields[stored.name]
            names = [fields[column.name]["name"] for column in table.columns]
            for record in self.records(stored):
                yield writer.from_values([record[name] for name in names])

    def read_invalid_rows(self, table: mapping.Table) -> Iterator[tuple[str, mapping.Row]]:
        """A table's invalid records: where each stands, and the row.

        Raises:
            BadSource, StorageFailed: as `read_rows`; or a record lacks a column.
        """
        writer = mapping.RowWriter(table.columns)
        for stored in self._manifest.tables[table.name].invalid_objects:
            for line, record in enumerate(self.invalid_records(stored), start=1):
                where = f"{self._folder.address}{stored.name} line {line}"
                missing = [column.name for column in table.columns if column.name not in record]
                if missing:
                    raise BadSource(f"{where}: there is no column {missing[0]}")
                yield where, writer.from_printed([record[each.name] for each in table.columns])


def _check_sum(where: str, stored: StoredFile, reader: Reader) -> None:
    reader.drain()
    if reader.bytes != stored.bytes:
        raise BadSource(f"{where} has {reader.bytes} bytes, its manifest says {stored.bytes}")
    if reader.crc32c != stored.crc32c:
        raise BadSource(
            f"{where} has the CRC32C {reader.crc32c}, its manifest says {stored.crc32c}"
        )


def _printed(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    return base64.b64decode(value["base64"])


def _plain_type(avro_type: Any) -> AvroType:
    """The type of a value that is not NULL."""
    if isinstance(avro_type, list):
        (avro_type,) = (each for each in avro_type if each != "null")
    plain: AvroType = avro_type
    return plain
