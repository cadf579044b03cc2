"""Reads a backup: its manifest once, then its objects, each compared with the manifest.

`Backup.check` compares every byte with the manifest before the first row is written. A restore
reads each object again through the same check. `docs/backups.md` shows the folder.
"""

import contextlib
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import fastavro

from hiring.avro import container
from hiring.avro.columns import ColumnChunk
from hiring.avro.decoding import decode
from hiring.avro.schema import Column, Table
from hiring.errors import BadSource, BundleError
from hiring.mysql.statements import quote
from hiring.progress import CountRows
from hiring.storage.catalog import BackupFolder
from hiring.storage.manifest import StoredFile
from hiring.storage.reader import BUFFER_BYTES, Reader
from hiring.storage.rows import printed
from hiring.tables import TABLES
from hiring.terminal import counted
from restore.sql_text import PrintedRow


class Backup:
    """A backup in a folder that was listed; raises BadSource if its manifest can't be read."""

    def __init__(self, found: BackupFolder) -> None:
        if not found.manifest:
            raise BadSource(f"{found.address} is not a backup: {found.faults[0]}")
        self._folder = found.source
        self.address = found.address
        self.manifest = found.manifest
        self.age = found.age

    def check(
        self, progress: CountRows, tables: Iterable[str] = TABLES
    ) -> dict[str, tuple[Column, ...]]:
        """Reads every object of the tables to its end; returns the columns of their Avro files.

        Raises BadSource, which names the object, if one is missing, is not the one that the
        manifest describes, or can't be read; StorageFailed if Cloud Storage refused or failed.
        """
        for stored in (self.manifest.schema, *self.manifest.reports):
            with self._open(stored):
                pass  # the end of the block compares size and checksum
        found: dict[str, tuple[Column, ...]] = {}
        for table in tables:
            for stored in self.manifest.tables[table].objects:
                with self._open(stored) as stream:
                    columns, blocks = self._read(stored, stream)
                    for chunks in blocks:
                        progress(len(chunks[0].nulls))
                if found.setdefault(table, columns) != columns:
                    raise BadSource(f"{self.address}{stored.name} has other columns than the first")
            for stored in self.manifest.tables[table].invalid_objects:
                for _ in self.invalid_records(stored):
                    progress(1)
        return found

    def statements(self) -> dict[str, str]:
        """For each table, its CREATE TABLE statement; errors are those of `check`."""
        with self._open(self.manifest.schema) as stream:
            schema = stream.read().decode()
        # Only the last line of a statement ends with a semicolon that an empty line follows.
        statements = [part for part in schema.split(";\n\n") if part.strip()]
        return {
            table: statement
            for table in TABLES
            for statement in statements
            if statement.startswith(f"CREATE TABLE {quote(table)} (")
        }

    def lines(self, stored: StoredFile) -> Iterator[bytes]:
        """The lines of a stored report; errors are those of `check`."""
        with self._open(stored) as stream:
            yield from stream

    def rows(self, table: Table) -> Iterator[list[ColumnChunk]]:
        """A table's rows, a block at a time, in the order of its columns; errors as of `check`."""
        for stored in self.manifest.tables[table.name].objects:
            with self._open(stored) as stream:
                columns, blocks = self._read(stored, stream)
                names = [column.name for column in columns]
                places = [names.index(column.name) for column in table.columns]
                for chunks in blocks:
                    yield [chunks[place] for place in places]

    def records(self, table: str) -> Iterator[dict[str, Any]]:
        """A table's rows, by the names of their fields; errors are those of `check`."""
        for stored in self.manifest.tables[table].objects:
            with self._open(stored) as stream:
                for record in fastavro.reader(stream):
                    yield dict(record)

    def invalid_rows(self, table: Table) -> Iterator[tuple[str, PrintedRow]]:
        """A table's invalid records, (origin, values) each; errors are those of `check`."""
        for stored in self.manifest.tables[table.name].invalid_objects:
            for line, record in enumerate(self.invalid_records(stored), start=1):
                origin = f"{self.address}{stored.name} line {line}"
                missing = [column.name for column in table.columns if column.name not in record]
                if missing:
                    raise BadSource(f"{origin}: there is no column {missing[0]}")
                yield origin, [record[each.name] for each in table.columns]

    def invalid_records(self, stored: StoredFile) -> Iterator[dict[str, bytes | None]]:
        """A file's invalid records: printed values by column; errors are those of `check`."""
        rows = 0
        with self._open(stored) as stream:
            for line in stream:
                rows += 1
                record = dict(json.loads(line)["row"])
                yield {name: printed(value) for name, value in record.items()}
            self._check_rows(stored, rows)

    @contextlib.contextmanager
    def _open(self, stored: StoredFile) -> Iterator[io.BufferedReader]:
        """Opens a file; the end of the block compares its checksum, even after an exception.

        A decoder fails on damaged bytes with any error; a wrong checksum is the clearer message.
        """
        where = self.address + stored.name
        with self._folder.open(stored.name) as reader:
            try:
                yield io.BufferedReader(reader, BUFFER_BYTES)
            except BundleError:
                raise
            except Exception as error:
                _check_sum(where, stored, reader)
                raise BadSource(f"{where} can't be read: {error!r}") from error
            _check_sum(where, stored, reader)

    def _read(
        self, stored: StoredFile, stream: io.BufferedReader
    ) -> tuple[tuple[Column, ...], Iterator[list[ColumnChunk]]]:
        """The columns of an Avro file, and its rows by column, a block at a time."""
        columns, blocks = container.read(stream)

        def decoded() -> Iterator[list[ColumnChunk]]:
            rows = 0
            for count, content in blocks:
                rows += count
                if count:
                    yield decode(columns, count, content)
            self._check_rows(stored, rows)

        return columns, decoded()

    def _check_rows(self, stored: StoredFile, rows: int) -> None:
        if rows != stored.rows:
            raise BadSource(
                f"{self.address}{stored.name} has {counted(rows, 'row')},"
                f" its manifest says {stored.rows:,}"
            )


def _check_sum(where: str, stored: StoredFile, reader: Reader) -> None:
    reader.drain()
    if reader.bytes != stored.bytes:
        raise BadSource(f"{where} has {reader.bytes} bytes, its manifest says {stored.bytes}")
    if reader.crc32c != stored.crc32c:
        found = reader.crc32c
        raise BadSource(f"{where} has the CRC32C {found}, its manifest says {stored.crc32c}")
