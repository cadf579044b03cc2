"""A backup: the three tables as Avro in Cloud Storage, and the manifest that makes it one.

Rows are streamed from one consistent view of the tables into objects of their own folder, so that
memory does not grow with the tables: this thread reads and encodes (`blocks`), one compresses, one
stores. Nothing is ever overwritten. The manifest is stored last and read back: a folder without one
is not a backup.

    gs://bucket/prefix/backups/20261122T151624.123456Z/
        departments.avro  jobs.avro  employees.avro
        invalid/employees.jsonl     rows that hold a value without an Avro counterpart, if any
        reports/...-2021.json       the reports on the same view of the tables
        schema.sql                  SHOW CREATE TABLE of the three
        manifest.json
"""

import base64
import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, cast

import fastavro.write
import google_crc32c
import requests
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from pymysql.connections import Connection

import blocks
import db
import logs
import mapping
import reports
import stages
from errors import BundleError, StorageFailed

DEFLATE_LEVEL = 4
"""Level 6, zlib's own choice, takes up to twice as long on such rows, for 1 to 7 % less."""
PIECE_BYTES = 256 * 1024
"""What is handed to the thread that stores, at a time."""
CHUNK_BYTES = 2 * 1024 * 1024
"""What is sent to Cloud Storage at a time; it wants multiples of 256 KiB.

The client holds each twice. Two processors make some ten of them a second.
"""
STORAGE_TIMEOUT_SECONDS = (10, 15)
"""For one request: connecting, and each wait for an answer.

A thread that waits can't be stopped: at the deadline this, and one wait before a repetition, have
to fit into db.CLEAN_UP_SECONDS.
"""
STORAGE_RETRY_SECONDS = 60
"""How long the client repeats a request that failed in a passing way."""
STORAGE_RETRY_WAIT_SECONDS = 5
"""The longest wait before a repetition."""
CLEAN_UP_RETRY_SECONDS = 5
CLEAN_UP_PATIENCE: dict[str, Any] = {
    "retry": DEFAULT_RETRY.with_timeout(CLEAN_UP_RETRY_SECONDS),
    "timeout": CLEAN_UP_RETRY_SECONDS,
}
ABANDON_SECONDS = 3
"""How long cancelling an upload may take, which is only tried once."""
PROGRESS_SECONDS = 30
"""How often the log says how far a table is."""

MANIFEST = "manifest.json"
FORMAT = 1
"""Of the manifest; another number is another set of rules."""


# Cloud Storage


@functools.cache
def client() -> storage.Client:
    """This process's client, made at the first call."""
    return storage.Client()


STORAGE_ERRORS = (
    GoogleAPIError,
    GoogleAuthError,
    InvalidResponse,
    DataCorruption,
    requests.RequestException,
    ConnectionError,
    TimeoutError,
)


def storage_failed(bucket: str, error: BaseException) -> StorageFailed:
    """What a caller sees of an error of the Cloud Storage client."""
    # Only the status and the kind of error: the texts hold addresses of upload sessions, and who
    # has such an address may write to it.
    if isinstance(error, GoogleAPICallError):
        what = f"{error.code} {type(error).__name__}"
    elif isinstance(error, InvalidResponse):
        what = f"status {error.response.status_code}"
    else:
        what = type(error).__name__
    return StorageFailed(f"Cloud Storage bucket {bucket} refused or failed: {what}")


@dataclass(frozen=True)
class StoredObject:
    """An object as Cloud Storage holds it; `crc32c` is base64 as in its own API."""

    name: str
    bytes: int
    crc32c: str
    generation: int


class ObjectWriter:
    """A file to write one object to; what is written is stored by a stage, in larger pieces.

    Attributes:
        bytes: how many were written so far.
    """

    def __init__(self, stream: Any, storing: stages.Stage) -> None:
        self._stream = stream
        self._storing = storing
        self._checksum = google_crc32c.Checksum()
        self._piece = bytearray()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        """Takes bytes; raises what storing earlier ones has raised."""
        self._piece += data
        if len(self._piece) >= PIECE_BYTES:
            self.pass_on()
        return len(data)

    def pass_on(self) -> None:
        """Hands what has come together to the stage."""
        piece, self._piece = bytes(self._piece), bytearray()
        self._checksum.update(piece)
        self.bytes += len(piece)
        self._storing.hand_over(self._stream.write, piece)

    def flush(self) -> None:
        """Nothing: fastavro calls it, and Cloud Storage takes whole chunks only."""

    def seekable(self) -> bool:
        """No: fastavro asks, to know whether to append to a file that is there."""
        return False

    @property
    def crc32c(self) -> str:
        """The CRC32C of all that was passed on, as Cloud Storage prints it."""
        return base64.b64encode(self._checksum.digest()).decode()


class Folder:
    """The folder of one backup, or of what one load or job writes, and what it has stored there.

    Args:
        location: bucket and prefix.
        path: below the prefix, with a slash at its end.
        connection: kept alive while objects are finished, where there is one.
        deadline: after which nothing more is stored.
    """

    def __init__(
        self,
        location: db.StorageLocation,
        path: str,
        connection: Connection | None,
        deadline: db.Deadline,
    ) -> None:
        self._bucket = client().bucket(location.bucket)
        self._path = location.prefix + path
        self._connection = connection
        self._deadline = deadline
        self._writers: dict[str, ObjectWriter] = {}
        self._stored: list[StoredObject] = []

    @property
    def address(self) -> str:
        """The folder as a `gs://` address."""
        return f"gs://{self._bucket.name}/{self._path}"

    @property
    def location(self) -> db.StorageLocation:
        """The folder as a place, for another process that stores into it."""
        return db.StorageLocation(self._bucket.name, self._path)

    @contextlib.contextmanager
    def create(self, name: str, content_type: str) -> Iterator[ObjectWriter]:
        """A writer for a new object, which is there, whole and checked, after the `with` block.

        Leaving the block by an exception leaves no object.

        Raises:
            StorageFailed: Cloud Storage failed, or the object exists already.
        """
        blob = self._bucket.blob(self._path + name)
        stream = blob.open(
            "wb",
            chunk_size=CHUNK_BYTES,
            ignore_flush=True,
            content_type=content_type,
            if_generation_match=0,
            retry=self._retry(),
            timeout=STORAGE_TIMEOUT_SECONDS,
        )
        try:
            with stages.Stage("store", self._deadline) as storing:
                writer = self._writers[blob.name] = ObjectWriter(stream, storing)
                yield writer
                writer.pass_on()
                storing.hand_over(self._finish, blob, stream, writer)
                self.wait_for(storing)
        except BaseException as error:
            _abandon(stream)
            if isinstance(error, STORAGE_ERRORS):
                raise storage_failed(self._bucket.name, error) from error
            raise

    def wait_for(self, stage: stages.Stage) -> None:
        """Waits until a stage has done everything, and keeps the connection alive meanwhile."""
        stage.finish(self._keep_alive, db.KEEP_ALIVE_SECONDS)

    def _keep_alive(self) -> None:
        if self._connection is not None:
            db.keep_alive(self._connection)

    def _finish(self, blob: storage.Blob, stream: Any, writer: ObjectWriter) -> None:
        """Sends what is left, and believes only what Cloud Storage then says that it holds.

        A repeated request can be refused because the first one, whose answer was lost, had stored
        the object: that is told by its checksum.
        """
        refused = None
        try:
            stream.close()
        except STORAGE_ERRORS as error:
            refused = error
            _abandon(stream)
        try:
            blob.reload(retry=self._retry(), timeout=STORAGE_TIMEOUT_SECONDS)
        except NotFound as error:
            raise refused or error from None
        if (blob.size, blob.crc32c) != (writer.bytes, writer.crc32c):
            raise refused or DataCorruption(None, "not what was sent")
        self._stored.append(StoredObject(blob.name, blob.size, blob.crc32c, blob.generation))

    def stored(self, name: str) -> dict[str, Any]:
        """What the manifest says of a stored object, its name being that in the folder."""
        (stored,) = (each for each in self._stored if each.name == self._path + name)
        return asdict(stored) | {"name": name}

    def put(self, name: str, content_type: str, content: bytes) -> dict[str, Any]:
        """Stores a small object; returns what the manifest says of it."""
        with self.create(name, content_type) as writer:
            writer.write(content)
        return self.stored(name)

    def read(self, name: str) -> bytes:
        """The content of an object as Cloud Storage holds it now."""
        try:
            content: bytes = self._bucket.blob(self._path + name).download_as_bytes(
                retry=self._retry(), timeout=STORAGE_TIMEOUT_SECONDS
            )
        except STORAGE_ERRORS as error:
            raise storage_failed(self._bucket.name, error) from error
        return content

    def remove(self) -> None:
        """Removes what this run has stored, as far as that is possible now.

        An object may be there though the answer that said so was lost, or came too late: what has
        the size and the checksum of what was sent is this run's.
        """
        deadline = db.Deadline(CLEAN_UP_RETRY_SECONDS)
        left: dict[str, str] = {}
        for name, writer in reversed(self._writers.items()):
            if deadline.passed:
                left[name] = "no time left"
                continue
            try:
                blob = self._bucket.get_blob(name, **CLEAN_UP_PATIENCE)
                if blob and (blob.size, blob.crc32c) == (writer.bytes, writer.crc32c):
                    blob.delete(if_generation_match=blob.generation, **CLEAN_UP_PATIENCE)
            except STORAGE_ERRORS as error:
                left[name] = type(error).__name__
        if left:
            logs.event("objects left behind", "WARNING", bucket=self._bucket.name, objects=left)

    def remove_others(self, names: set[str]) -> None:
        """Removes what other processes have stored here, as far as that is possible now.

        Args:
            names: of the objects that stay.
        """
        try:
            for blob in self._bucket.list_blobs(prefix=self._path, **CLEAN_UP_PATIENCE):
                if blob.name.removeprefix(self._path) not in names:
                    blob.delete(if_generation_match=blob.generation, **CLEAN_UP_PATIENCE)
        except STORAGE_ERRORS as error:
            reason = type(error).__name__
            logs.event("objects left behind", "WARNING", folder=self.address, reason=reason)

    def _retry(self) -> Any:
        retry = DEFAULT_RETRY.with_timeout(min(STORAGE_RETRY_SECONDS, self._deadline.remaining()))
        return retry.with_delay(maximum=STORAGE_RETRY_WAIT_SECONDS).with_predicate(self._may_repeat)

    def _may_repeat(self, error: Exception) -> bool:
        return not self._deadline.passed and DEFAULT_RETRY._predicate(error)


def _abandon(stream: Any) -> None:
    """Ends an upload so that no object comes of it, not of a request still under way either.

    A writer that is left open stores what it has when it is collected. Its own `terminate` asks
    the address where uploads begin, not this upload's, and waits for two minutes.
    https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload
    """
    if stream.closed:
        return
    stream._buffer.close()
    if stream._upload_and_transport:
        upload, transport = stream._upload_and_transport
        with contextlib.suppress(*STORAGE_ERRORS):
            transport.delete(upload.resumable_url, timeout=ABANDON_SECONDS)


# Rows


class InvalidRecords:
    """Rows with a value that Avro can't hold, as JSON lines in an object made for the first one."""

    def __init__(
        self, folder: Folder, table: mapping.Table, name: str, opened: contextlib.ExitStack
    ) -> None:
        self._folder = folder
        self._table = table
        self._name = name
        self._opened = opened
        self._writer: ObjectWriter | None = None
        self.count = 0

    def add(self, row: blocks.InvalidRow) -> None:
        """Keeps a row as MySQL prints it."""
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


def _invalid_name(name: str) -> str:
    return f"invalid/{name.removesuffix('.avro')}.jsonl"


def _printed(column: mapping.Column, value: bytes | None) -> object:
    if value is None:
        return None
    if column.kind is not mapping.BYTES:
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode()
    return {"base64": base64.b64encode(value).decode()}


@dataclass(frozen=True)
class StoredRows:
    """What the manifest says of the objects that hold the rows of a statement."""

    rows: int
    objects: list[dict[str, Any]]
    invalid_rows: int
    invalid_objects: list[dict[str, Any]]


def store_rows(
    connection: Connection,
    table: mapping.Table,
    statement: str,
    folder: Folder,
    name: str,
    deadline: db.Deadline,
) -> StoredRows:
    """Stores the rows of a statement as one Avro object; invalid ones go to an object of theirs.

    Args:
        connection: to read on; has to be dropped when this fails.
        table: whose columns the statement selects.
        statement: `table.statement`, or a part of its rows.
        folder: where to.
        name: of the Avro object in the folder.
        deadline: when to give up.

    Raises:
        StorageFailed, TimedOut: as they say.
        pymysql.err.Error: reading failed.
    """
    started = told = time.monotonic()
    rows = 0
    with contextlib.ExitStack() as opened:
        invalid = InvalidRecords(folder, table, _invalid_name(name), opened)
        output = opened.enter_context(folder.create(name, "application/avro"))
        compressing = opened.enter_context(stages.Stage("compress", deadline))
        schema = fastavro.parse_schema(table.avro_schema)
        writer = fastavro.write.Writer(
            cast(IO[bytes], output), schema, codec="deflate", compression_level=DEFLATE_LEVEL
        )
        for block in blocks.read(connection, table, statement, deadline):
            if block.num_records:  # Avro's reader for Java takes an empty block for the end
                compressing.hand_over(writer.write_block, block)
            rows += block.num_records
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                logs.event("rows under way", object=name, rows=rows)
            for row in block.invalid:
                invalid.add(row)
        folder.wait_for(compressing)
    seconds = round(time.monotonic() - started, 3)
    logs.event("rows stored", object=name, rows=rows, invalid=invalid.count, seconds=seconds)
    return StoredRows(
        rows,
        [{"rows": rows, **folder.stored(name)}],
        invalid.count,
        [{"rows": invalid.count, **folder.stored(_invalid_name(name))}] if invalid.count else [],
    )


def table_entry(name: str, parts: list[StoredRows]) -> dict[str, Any]:
    """What the manifest says of a table whose rows were stored in these parts."""
    entry: dict[str, Any] = {
        "table": name,
        "rows": sum(part.rows for part in parts),
        "objects": [stored for part in parts for stored in part.objects],
        "invalid_rows": sum(part.invalid_rows for part in parts),
    }
    if invalid := [stored for part in parts for stored in part.invalid_objects]:
        entry["invalid_objects"] = invalid
    return entry


def row_counts(entries: list[dict[str, Any]]) -> dict[str, int]:
    """The rows of each table that a manifest's entries account for, invalid ones too."""
    return {entry["table"]: entry["rows"] + entry["invalid_rows"] for entry in entries}


def _store_tables(
    connection: Connection, folder: Folder, tables: list[mapping.Table], deadline: db.Deadline
) -> dict[str, Any]:
    """Stores each table as one object; returns the manifest's part on them."""
    entries = []
    for table in tables:
        name = f"{table.name}.avro"
        stored = store_rows(connection, table, table.statement, folder, name, deadline)
        entries.append(table_entry(table.name, [stored]))
    return {"tables": entries}


# The backup

SERVER = "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ'), VERSION(), DATABASE()"


def take(settings: db.Settings, deadline: db.Deadline) -> dict[str, Any]:
    """Backs the tables up as they are at one moment, without holding writers up.

    Returns:
        The manifest, with the backup's address as `backup`.

    Raises:
        BundleError: whatever went wrong; no manifest is left, and as far as possible nothing else.
    """
    location = settings.require_storage()
    with db.snapshot(settings, deadline) as connection:
        return store(connection, location, deadline)


StoreTables = Callable[
    [Connection, Folder, list[mapping.Table], db.Deadline],
    dict[str, Any],
]


def store(
    connection: Connection,
    location: db.StorageLocation,
    deadline: db.Deadline,
    store_tables: StoreTables = _store_tables,
) -> dict[str, Any]:
    """Backs up what the connection sees, which has to be one consistent view of the tables.

    Args:
        connection: in a snapshot, or holding locks on the tables.
        location: where to.
        deadline: when to give up.
        store_tables: stores the rows; returns `tables`, and what else the manifest says of them.

    Returns, Raises: as `take`.
    """
    started = time.monotonic()
    tables = [mapping.read_table(connection, name) for name in db.TABLES]
    for name in db.TABLES:
        mapping.check_characters(connection, name)
    ((taken_at, version, database),) = db.select(connection, SERVER)
    name = taken_at.replace("-", "").replace(":", "")
    folder = Folder(location, f"backups/{name}/", connection, deadline)
    logs.event("backup started", backup=folder.address)
    try:
        manifest = {
            "format": FORMAT,
            "taken_at": taken_at,
            "database": database,
            "server_version": version,
            **store_tables(connection, folder, tables, deadline),
            "reports": _store_reports(connection, folder),
            "schema": _store_schema(connection, folder),
        }
        store_manifest(folder, manifest)
    except BaseException as error:
        reason = error.code if isinstance(error, BundleError) else type(error).__name__
        logs.event("backup failed", "ERROR", backup=folder.address, reason=reason)
        folder.remove()
        raise
    seconds = round(time.monotonic() - started, 3)
    logs.event("backup stored", backup=folder.address, seconds=seconds)
    return {"backup": folder.address, **manifest}


def check_counts(manifest: dict[str, Any], rows: dict[str, int]) -> None:
    """A last look before the tables are emptied: the backup has as many rows as they have.

    Raises:
        BundleError: it has not.
    """
    stored = row_counts(manifest["tables"])
    if stored != rows:
        raise BundleError(f"the backup holds other rows, {stored}, than the tables, {rows}")


def _store_reports(connection: Connection, folder: Folder) -> list[dict[str, Any]]:
    year = reports.DEFAULT_YEAR
    return [
        folder.put(
            f"reports/{report.name}-{year}.json",
            "application/json",
            reports.as_json(report, reports.run(connection, report, year)).encode(),
        )
        for report in (reports.QUARTERLY_HIRED, reports.HIRING_BY_DEPARTMENT)
    ]


def _store_schema(connection: Connection, folder: Folder) -> dict[str, Any]:
    statements = [
        db.select(connection, f"SHOW CREATE TABLE {db.quote(name)}")[0][1] for name in db.TABLES
    ]
    return folder.put("schema.sql", "application/sql", ";\n\n".join([*statements, ""]).encode())


def store_manifest(folder: Folder, manifest: dict[str, Any]) -> None:
    """Stores the manifest, after which the folder is complete.

    Raises:
        StorageFailed: it could not be stored, or does not read back as it was written.
    """
    content = json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"
    folder.put(MANIFEST, "application/json", content)
    if folder.read(MANIFEST) != content:
        raise StorageFailed(f"{folder.address}{MANIFEST} does not read back as it was written")
