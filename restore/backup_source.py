"""Reads a backup as the source of a load: checks its objects and decodes their rows.

`Backup.check` compares every byte with the manifest before the first row is written. The load reads
each object again through the same check. `backup.py` shows the layout of the folder.
"""

import contextlib
import datetime
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, cast

import fastavro

from hiring.avro import container
from hiring.avro.columns import Cells
from hiring.avro.decoding import decode, field_of
from hiring.avro.schema import Table
from hiring.errors import BadSource, BundleError
from hiring.mysql.statements import quote
from hiring.progress import CountRows
from hiring.storage.folders import BUFFER_BYTES, Reader, SourceFolder
from hiring.storage.invalid_records import printed
from hiring.storage.manifest import MANIFEST, StoredFile, StoredTable, read_manifest
from hiring.tables import TABLES
from restore import transaction
from restore.literals import PrintedRow

BACKUP_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
"""Accepts everything that the tables could ever hold: an id of 0, dates that strict mode refuses.

Not strict: reading the rows back shows whether the server changed a value.
"""


class Backup:
    """A backup in a folder.

    Args:
        folder: that holds the manifest.

    Raises:
        BadSource: the manifest is malformed.
    """

    sql_mode = BACKUP_SQL_MODE

    def __init__(self, folder: SourceFolder) -> None:
        self._folder = folder
        self._manifest = read_manifest(folder.read(MANIFEST))
        self._fields: dict[str, dict[str, dict[str, Any]]] = {}

    @property
    def address(self) -> str:
        """The address of the folder."""
        return self._folder.address

    @property
    def taken_at(self) -> str:
        """The time of the snapshot, as ISO 8601 in UTC."""
        return self._manifest.taken_at

    @property
    def database(self) -> str:
        """The database that was backed up."""
        return self._manifest.database

    @property
    def age_seconds(self) -> float:
        """Seconds since the snapshot, by this machine's clock."""
        return (datetime.datetime.now(datetime.UTC) - self._manifest.time).total_seconds()

    def table(self, name: str) -> StoredTable:
        """The objects of a table."""
        return self._manifest.tables[name]

    @property
    def origin(self) -> str:
        """The origin of the CREATE TABLE statements, for messages."""
        return f"the backup of a server {self._manifest.server_version}"

    def all_rows(self, tables: Iterable[str] = TABLES) -> int:
        """Number of rows and invalid records of tables."""
        return self._manifest.all_rows(tables)

    def rows(self, table: str) -> int:
        """Number of rows of a table, without invalid records."""
        return self._manifest.tables[table].rows

    def invalid_rows(self, table: str) -> int:
        """Number of invalid records of a table."""
        return self._manifest.tables[table].invalid_rows

    def invalid_address(self, table: str) -> str:
        """The addresses of a table's invalid records."""
        names = [each.name for each in self._manifest.tables[table].invalid_objects]
        return " ".join(self._folder.address + name for name in names)

    def check(self, progress: CountRows, tables: Iterable[str] = TABLES) -> None:
        """Reads every object to its end.

        Args:
            progress: called with the number of rows read.
            tables: whose objects are read; those of the others are left out.

        Raises:
            BadSource: an object is missing, is not the one that the manifest describes, or can't be
                read; the message names it.
            StorageFailed: Cloud Storage refused or failed.
        """
        for stored in (self._manifest.schema, *self._manifest.reports):
            with self._open(stored):
                pass  # the end of the block compares size and checksum
        for table in map(self.table, tables):
            for stored in table.objects:
                for cells in self._blocks(stored):
                    progress(len(cells[0].nulls))
            for stored in table.invalid_objects:
                for _ in self.invalid_records(stored):
                    progress(1)

    @contextlib.contextmanager
    def _open(self, stored: StoredFile) -> Iterator[io.BufferedReader]:
        """Opens a file; the end of the block compares its checksum, even after an exception.

        A decoder fails on damaged bytes with any error; a wrong checksum is the clearer message.
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

    def _blocks(self, stored: StoredFile) -> Iterator[list[Cells]]:
        """The rows of an Avro file by column, a block at a time.

        Raises:
            BadSource, StorageFailed: as `check`.
        """
        rows = 0
        with self._open(stored) as stream:
            schema, blocks = container.read(stream)
            self._fields[stored.name] = {field["mysqlName"]: field for field in schema["fields"]}
            fields = [field_of(field["type"]) for field in schema["fields"]]
            for count, content in blocks:
                rows += count
                if count:
                    yield decode(fields, count, content)
        self._check_rows(stored, rows)

    def records(self, stored: StoredFile) -> Iterator[dict[str, Any]]:
        """The records of an Avro file.

        Raises:
            BadSource, StorageFailed: as `check`.
        """
        rows = 0
        with self._open(stored) as stream:
            schema, blocks = container.read(stream)
            self._fields[stored.name] = {field["mysqlName"]: field for field in schema["fields"]}
            parsed = fastavro.parse_schema(schema)
            for count, content in blocks:
                rows += count
                encoded = io.BytesIO(content)
                for _ in range(count):
                    record = fastavro.schemaless_reader(encoded, parsed, None)
                    yield cast(dict[str, Any], record)
                if encoded.tell() != len(content):
                    raise ValueError("a block has more bytes than its rows")
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
                    name: printed(value) for name, value in dict(json.loads(line)["row"]).items()
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
        """For each table, its CREATE TABLE statement."""
        with self._open(self._manifest.schema) as stream:
            schema = stream.read().decode()
        # Only the last line of a statement ends with a semicolon that an empty line follows.
        statements = [part for part in schema.split(";\n\n") if part.strip()]
        return {
            table: statement
            for table in TABLES
            for statement in statements
            if statement.startswith(f"CREATE TABLE {quote(table)} (")
        }

    def next_ids(self) -> dict[str, int]:
        """For each table with a counter, the id of its next row."""
        return {
            table: transaction.next_id(statement)
            for table, statement in self.statements().items()
            if "AUTO_INCREMENT" in statement
        }

    def fit(self, table: Table) -> Table:
        """The table with only the columns that the backup fills; the server generates the others.

        Raises:
            BadSource: its columns differ from the backup's; the message names the first.
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
                if container.value_type(fields[name]["type"]) != column.type.avro:
                    raise BadSource(
                        f"{stored.name}: column {name} was {fields[name]['mysqlType']},"
                        f" in table {table.name} it is {column.mysql_type}"
                    )
        return table

    # The rows

    def read_rows(self, table: Table) -> Iterator[list[Cells]]:
        """A table's rows, a block at a time, with the columns in the table's order.

        Raises:
            BadSource, StorageFailed: the backup has changed since its check.
        """
        for stored in self._manifest.tables[table.name].objects:
            names = list(self._fields[stored.name])
            places = [names.index(column.name) for column in table.columns]
            for cells in self._blocks(stored):
                yield [cells[place] for place in places]

    def read_invalid_rows(self, table: Table) -> Iterator[tuple[str, PrintedRow]]:
        """A table's invalid records: (origin, values) each.

        Raises:
            BadSource, StorageFailed: as `read_rows`; or a record lacks a column.
        """
        for stored in self._manifest.tables[table.name].invalid_objects:
            for line, record in enumerate(self.invalid_records(stored), start=1):
                where = f"{self._folder.address}{stored.name} line {line}"
                missing = [column.name for column in table.columns if column.name not in record]
                if missing:
                    raise BadSource(f"{where}: there is no column {missing[0]}")
                yield where, [record[each.name] for each in table.columns]


def _check_sum(where: str, stored: StoredFile, reader: Reader) -> None:
    reader.drain()
    if reader.bytes != stored.bytes:
        raise BadSource(f"{where} has {reader.bytes} bytes, its manifest says {stored.bytes}")
    if reader.crc32c != stored.crc32c:
        raise BadSource(
            f"{where} has the CRC32C {reader.crc32c}, its manifest says {stored.crc32c}"
        )
