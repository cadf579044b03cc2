"""Objects in Cloud Storage: written in pieces, checked against what Cloud Storage holds, removed.

An object is there only after its last byte was stored, and nothing is ever overwritten.
"""

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import google_crc32c
from google.api_core.exceptions import NotFound
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

import db
from hiring.core import logs
from hiring.core.connection import Connection
from hiring.core.deadline import Deadline
from hiring.core.settings import StorageLocation
from hiring.export import storage_client
from hiring.export.pipeline import Stage
from hiring.export.storage_client import CLEAN_UP_LIMITS

PIECE_BYTES = 256 * 1024
"""Bytes that the storing thread gets at a time."""
CHUNK_BYTES = 2 * 1024 * 1024
"""Bytes that one request sends; Cloud Storage wants multiples of 256 KiB.

The client holds each chunk twice. Two processors send some ten of them a second.
"""


@dataclass(frozen=True)
class StoredObject:
    """An object as Cloud Storage holds it; `crc32c` is base64, as in its API."""

    name: str
    bytes: int
    crc32c: str
    generation: int


class ObjectWriter:
    """A file that writes one object; a stage stores its bytes in larger pieces.

    Attributes:
        bytes: number of bytes passed on so far.
    """

    def __init__(self, stream: Any, storing: Stage) -> None:
        self._stream = stream
        self._storing = storing
        self._checksum = google_crc32c.Checksum()
        self._piece = bytearray()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        """Takes bytes; raises what storing earlier bytes raised."""
        self._piece += data
        if len(self._piece) >= PIECE_BYTES:
            self.pass_on()
        return len(data)

    def pass_on(self) -> None:
        """Submits the collected bytes to the stage."""
        piece, self._piece = bytes(self._piece), bytearray()
        self._checksum.update(piece)
        self.bytes += len(piece)
        self._storing.submit(self._stream.write, piece)

    def flush(self) -> None:
        """Does nothing: fastavro calls it, but Cloud Storage takes only whole chunks."""

    def seekable(self) -> bool:
        """Returns False: fastavro asks, to know whether to append to an existing file."""
        return False

    @property
    def crc32c(self) -> str:
        """The CRC32C of the bytes passed on so far, as Cloud Storage prints it."""
        return base64.b64encode(self._checksum.digest()).decode()


class OutputFolder:
    """The folder that one backup, load or job writes, and the objects that it has stored there.

    Args:
        location: bucket and prefix.
        path: below the prefix, ending with a slash.
        connection: kept alive while objects are being stored, if there is one.
        deadline: after which nothing more is stored.
    """

    def __init__(
        self,
        location: StorageLocation,
        path: str,
        connection: Connection | None,
        deadline: Deadline,
    ) -> None:
        self._bucket = storage_client.client().bucket(location.bucket)
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
    def location(self) -> StorageLocation:
        """The folder as a location, for another process that stores into it."""
        return StorageLocation(self._bucket.name, self._path)

    @contextlib.contextmanager
    def create(self, name: str, content_type: str) -> Iterator[ObjectWriter]:
        """A writer for a new object, which is stored and checked at the end of the `with` block.

        An exception in the block leaves no object.

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
            **storage_client.limits(self._deadline),
        )
        try:
            with Stage("store", self._deadline) as storing:
                writer = self._writers[blob.name] = ObjectWriter(stream, storing)
                yield writer
                writer.pass_on()
                storing.submit(self._finish, blob, stream, writer)
                self.wait_for(storing)
        except BaseException as error:
            storage_client.cancel(stream)
            if isinstance(error, storage_client.ERRORS):
                raise storage_client.storage_failed(self._bucket.name, error) from error
            raise

    def wait_for(self, stage: Stage) -> None:
        """Waits until a stage has done all its tasks, and keeps the connection alive meanwhile."""
        stage.drain(self._keep_alive, db.KEEP_ALIVE_SECONDS)

    def _keep_alive(self) -> None:
        if self._connection is not None:
            db.keep_alive(self._connection)

    def _finish(self, blob: storage.Blob, stream: Any, writer: ObjectWriter) -> None:
        """Sends the rest, then compares with what Cloud Storage holds.

        Cloud Storage refuses a repeated request if the first one stored the object and its answer
        was lost. The checksum tells the two cases apart.
        """
        refused = None
        try:
            stream.close()
        except storage_client.ERRORS as error:
            refused = error
            storage_client.cancel(stream)
        try:
            blob.reload(**storage_client.limits(self._deadline))
        except NotFound as error:
            raise refused or error from None
        if (blob.size, blob.crc32c) != (writer.bytes, writer.crc32c):
            raise refused or DataCorruption(None, "the object differs from what was sent")
        self._stored.append(StoredObject(blob.name, blob.size, blob.crc32c, blob.generation))

    def stored(self, name: str) -> dict[str, Any]:
        """The manifest's entry for a stored object, with its name in the folder."""
        (stored,) = (each for each in self._stored if each.name == self._path + name)
        return asdict(stored) | {"name": name}

    def put(self, name: str, content_type: str, content: bytes) -> dict[str, Any]:
        """Stores a small object; returns the manifest's entry for it."""
        with self.create(name, content_type) as writer:
            writer.write(content)
        return self.stored(name)

    def read(self, name: str) -> bytes:
        """The current content of an object."""
        try:
            content: bytes = self._bucket.blob(self._path + name).download_as_bytes(
                **storage_client.limits(self._deadline)
            )
        except storage_client.ERRORS as error:
            raise storage_client.storage_failed(self._bucket.name, error) from error
        return content

    def remove(self) -> None:
        """Removes the objects that this run stored, as far as possible.

        An upload may have succeeded although its response was lost: an object with the size and
        the checksum of what was sent is this run's.
        """
        deadline = Deadline(storage_client.CLEAN_UP_SECONDS)
        left: dict[str, str] = {}
        for name, writer in reversed(self._writers.items()):
            if deadline.passed:
                left[name] = "no time left"
                continue
            try:
                blob = self._bucket.get_blob(name, **CLEAN_UP_LIMITS)
                if blob and (blob.size, blob.crc32c) == (writer.bytes, writer.crc32c):
                    blob.delete(if_generation_match=blob.generation, **CLEAN_UP_LIMITS)
            except storage_client.ERRORS as error:
                left[name] = type(error).__name__
        if left:
            logs.event("objects left behind", "WARNING", bucket=self._bucket.name, objects=left)

    def remove_others(self, names: set[str]) -> None:
        """Removes objects that other processes stored here, as far as possible.

        Args:
            names: of the objects that stay.
        """
        try:
            for blob in self._bucket.list_blobs(prefix=self._path, **CLEAN_UP_LIMITS):
                if blob.name.removeprefix(self._path) not in names:
                    blob.delete(if_generation_match=blob.generation, **CLEAN_UP_LIMITS)
        except storage_client.ERRORS as error:
            reason = type(error).__name__
            logs.event("objects left behind", "WARNING", folder=self.address, reason=reason)
