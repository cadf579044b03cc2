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

from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import StorageFailed, TimedOut
from hiring.mysql.connection import Connection
from hiring.mysql.statements import KEEP_ALIVE_SECONDS, keep_alive
from hiring.pipeline import Stage
from hiring.settings import StorageLocation
from hiring.storage import storage_client

PIECE_BYTES = 256 * 1024
"""Number of bytes that the storing thread gets at a time."""
CHUNK_BYTES = 2 * 1024 * 1024
"""Bytes that one request sends; Cloud Storage wants multiples of 256 KiB.

The client holds each chunk twice. Two processors send some ten of them a second.
"""

REMOVE_OTHERS_SECONDS = 600
"""Time limit for removing the objects of lost attempts; a large job may have thousands."""


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
        self._pending: set[str] = set()

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
                writer = self._writers[blob.name] = ObjectWriter(
                    storage_client.Translated(stream, self._bucket.name), storing
                )
                yield writer
                writer.pass_on()
                storing.submit(self._finish, blob, stream, writer)
                self.wait_for(storing)
        except BaseException:
            self._cancel(blob.name, stream)
            raise

    def wait_for(self, stage: Stage) -> None:
        """Waits until a stage has done all its tasks, and keeps the connection alive meanwhile."""
        stage.drain(self._keep_alive, KEEP_ALIVE_SECONDS)

    def _keep_alive(self) -> None:
        if self._connection is not None:
            keep_alive(self._connection)

    def _finish(self, blob: storage.Blob, stream: Any, writer: ObjectWriter) -> None:
        """Sends the rest, then compares with what Cloud Storage holds.

        Cloud Storage refuses a repeated request if the first one stored the object and its answer
        was lost. The checksum tells the two cases apart.
        """
        refused = None
        with storage_client.translated(self._bucket.name):
            try:
                stream.close()
            except storage_client.ERRORS as error:
                refused = error
                self._cancel(blob.name, stream)
            # A refused request was repeated for a minute already.
            deadline = Deadline(storage_client.CLEAN_UP_SECONDS) if refused else self._deadline
            try:
                blob.reload(**storage_client.limits(deadline))
            except (NotFound, TimedOut) as error:
                raise refused or error from None
            if (blob.size or 0, blob.crc32c) != (writer.bytes, writer.crc32c):
                raise refused or DataCorruption(None, "the object differs from what was sent")
            stored = StoredObject(blob.name, blob.size or 0, blob.crc32c, blob.generation)
        self._stored.append(stored)

    def _cancel(self, name: str, stream: Any) -> None:
        """Cancels an upload, and notes whether a request in flight may still complete it."""
        if storage_client.cancel(stream):
            self._pending.discard(name)
        else:
            self._pending.add(name)

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
        """The current content of an object.

        Raises:
            StorageFailed, TimedOut: as they say.
        """
        return self._read(name, storage_client.limits(self._deadline))

    def _read(self, name: str, limits: dict[str, Any]) -> bytes:
        with storage_client.translated(self._bucket.name):
            content: bytes = self._bucket.blob(self._path + name).download_as_bytes(**limits)
        return content

    def holds(self, name: str, content: bytes) -> bool:
        """Whether an object is there with this content, after all that failed before."""
        limits = storage_client.clean_up_limits(Deadline(storage_client.CLEAN_UP_SECONDS))
        try:
            return self._read(name, limits) == content
        except (StorageFailed, TimedOut):
            return False

    def remove(self, first: str | None = None) -> list[str]:
        """Removes the objects that this run stored, as far as possible.

        An account that may not delete leaves them all. The log says why each is left.

        Args:
            first: the object that names the others, if there is one. While it may be there, or may
                still arrive, the others stay: a manifest never names an object that is gone.

        Returns:
            The names in the folder of those that are left.
        """
        deadline = Deadline(storage_client.CLEAN_UP_SECONDS)
        names = list(reversed(self._writers))
        manifest = self._path + (first or "")
        left: dict[str, str] = {}
        if manifest in names:
            names.remove(manifest)
            reason = self._remove(manifest, deadline)
            if not reason and manifest in self._pending:
                reason = "its upload may still be completed"
            if reason:
                left = {manifest: reason} | dict.fromkeys(names, "the manifest may name it")
                names = []
        for name in names:
            if reason := self._remove(name, deadline):
                left[name] = reason
        if left:
            logs.event("objects left behind", "WARNING", bucket=self._bucket.name, objects=left)
        return [name.removeprefix(self._path) for name in left]

    def _remove(self, name: str, deadline: Deadline) -> str:
        """Removes an object of this run; returns why it may still be there, empty if it is gone.

        An upload may have succeeded although its response was lost: an object with the size and
        the checksum of what was sent is this run's.
        """
        writer = self._writers[name]
        try:
            with storage_client.translated(self._bucket.name):
                blob = self._bucket.get_blob(name, **storage_client.clean_up_limits(deadline))
                if not blob:
                    return ""
                if (blob.size or 0, blob.crc32c) != (writer.bytes, writer.crc32c):
                    return "it is not what was sent"
                with contextlib.suppress(NotFound):
                    blob.delete(
                        if_generation_match=blob.generation,
                        **storage_client.clean_up_limits(deadline),
                    )
        except StorageFailed as error:
            return type(error.__cause__).__name__
        except TimedOut:
            return "no time left"
        return ""

    def remove_others(self, names: set[str]) -> None:
        """Removes objects that other processes stored here, as far as possible.

        Args:
            names: of the objects that stay.
        """
        deadline = Deadline(REMOVE_OTHERS_SECONDS)
        limits = storage_client.clean_up_limits(deadline)
        try:
            with storage_client.translated(self._bucket.name):
                for blob in self._bucket.list_blobs(prefix=self._path, **limits):
                    if blob.name.removeprefix(self._path) not in names:
                        blob.delete(if_generation_match=blob.generation, **limits)
        except (StorageFailed, TimedOut) as error:
            reason = type(error.__cause__ or error).__name__
            logs.event("objects left behind", "WARNING", folder=self.address, reason=reason)
