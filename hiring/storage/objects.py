"""Objects in Cloud Storage: written in pieces, checked against what Cloud Storage holds, removed.

An object is there only after its last byte was stored, and nothing is ever overwritten.
"""

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

import google_crc32c
from google.api_core.exceptions import NotFound
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import BadSource, StorageFailed, TimedOut
from hiring.mysql.connection import Connection
from hiring.mysql.statements import KEEP_ALIVE_SECONDS, keep_alive
from hiring.pipeline import Stage
from hiring.settings import StorageLocation
from hiring.storage import storage_client
from hiring.storage.folders import CloudFolder

PIECE_BYTES = 256 * 1024
"""Number of bytes that the storing thread gets at a time."""
CHUNK_BYTES = 2 * 1024 * 1024
"""Bytes that one request sends; Cloud Storage wants multiples of 256 KiB.

The client holds each chunk twice. Two processors send some ten of them a second.
"""

REMOVE_ALL_SECONDS = 600
"""Time limit for removing the objects of lost attempts; a large job may have thousands."""


class ObjectWriter:
    """A file that writes one object; a stage stores its `bytes`, so far, in larger pieces."""

    def __init__(self, stream: Any, bucket: str, storing: Stage) -> None:
        self._stream = stream
        self._bucket = bucket
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
        self._storing.submit(self._store, piece)

    def _store(self, piece: bytes) -> None:
        with storage_client.translated(self._bucket):
            self._stream.write(piece)

    @property
    def crc32c(self) -> str:
        """The CRC32C of the bytes passed on so far, as Cloud Storage prints it."""
        return base64.b64encode(self._checksum.digest()).decode()


class OutputFolder:
    """The folder that one backup, load or job writes, and the objects that it has stored there.

    Args:
        path: below the prefix of the location, ending with a slash.
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
        self.location = StorageLocation(location.bucket, location.prefix + path)
        self._bucket = storage_client.client().bucket(location.bucket)
        self._connection = connection
        self._deadline = deadline
        self._writers: dict[str, ObjectWriter] = {}
        self._stored: dict[str, dict[str, Any]] = {}
        self._pending: set[str] = set()

    @property
    def address(self) -> str:
        """The folder as a `gs://` address."""
        return f"gs://{self.location.bucket}/{self.location.prefix}"

    @contextlib.contextmanager
    def create(self, name: str, content_type: str) -> Iterator[ObjectWriter]:
        """A writer for a new object, which is stored and checked at the end of the `with` block.

        An exception in the block leaves no object.

        Raises:
            StorageFailed: Cloud Storage failed, or the object exists already.
        """
        blob = self._blob(name)
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
                self._writers[name] = ObjectWriter(stream, self.location.bucket, storing)
                yield self._writers[name]
                self._writers[name].pass_on()
                storing.submit(self._finish, name, blob, stream)
                self.wait_for(storing)
        except BaseException:
            self._cancel(name, stream)
            raise

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob(self.location.prefix + name)

    def wait_for(self, stage: Stage) -> None:
        """Waits until a stage has done all its tasks, and keeps the connection alive meanwhile."""
        stage.drain(self._keep_alive, KEEP_ALIVE_SECONDS)

    def _keep_alive(self) -> None:
        if self._connection is not None:
            keep_alive(self._connection)

    def _finish(self, name: str, blob: storage.Blob, stream: Any) -> None:
        """Sends the rest, then compares with what Cloud Storage holds.

        Cloud Storage refuses a repeated request if the first one stored the object and its answer
        was lost. The checksum tells the two cases apart.
        """
        refused = None
        with storage_client.translated(self.location.bucket):
            try:
                stream.close()
            except storage_client.ERRORS as error:
                refused = error
                self._cancel(name, stream)
            # A refused request was repeated for a minute already.
            deadline = Deadline(storage_client.CLEAN_UP_SECONDS) if refused else self._deadline
            try:
                blob.reload(**storage_client.limits(deadline))
            except (NotFound, TimedOut) as error:
                raise refused or error from None
            entry = {"name": name, "bytes": blob.size or 0, "crc32c": blob.crc32c}
            if not self._is_sent(name, entry["bytes"], entry["crc32c"]):
                raise refused or DataCorruption(None, "the object differs from what was sent")
        self._stored[name] = entry | {"generation": blob.generation}

    def _is_sent(self, name: str, size: int, crc32c: str | None) -> bool:
        return (size, crc32c) == (self._writers[name].bytes, self._writers[name].crc32c)

    def _cancel(self, name: str, stream: Any) -> None:
        """Cancels an upload, and notes whether a request in flight may still complete it."""
        if storage_client.cancel(stream):
            self._pending.discard(name)
        else:
            self._pending.add(name)

    def stored(self, name: str) -> dict[str, Any]:
        """The manifest's entry for a stored object, with its name in the folder."""
        return dict(self._stored[name])

    def put(self, name: str, content_type: str, content: bytes) -> dict[str, Any]:
        """Stores a small object; returns the manifest's entry for it."""
        with self.create(name, content_type) as writer:
            writer.write(content)
        return self.stored(name)

    def read(self, name: str, deadline: Deadline | None = None) -> bytes:
        """The current content of an object; `deadline` takes the place of the folder's."""
        limits = storage_client.limits(deadline or self._deadline)
        with storage_client.translated(self.location.bucket):
            content: bytes = self._blob(name).download_as_bytes(**limits)
        return content

    def holds(self, name: str, content: bytes) -> bool:
        """Whether an object is there with this content, after all that failed before."""
        try:
            return self.read(name, Deadline(storage_client.CLEAN_UP_SECONDS)) == content
        except (StorageFailed, TimedOut):
            return False

    def remove(self, first: str | None = None) -> list[str]:
        """Removes the objects that this run stored, as far as possible.

        An account that may not delete leaves them all. The log says why each is left.

        Args:
            first: the object that names the others, if there is one. While it may be there, or may
                still arrive, the others stay: a manifest never names an object that is gone.

        Returns:
            The names of those that are left.
        """
        folder = CloudFolder(self.location, Deadline(storage_client.CLEAN_UP_SECONDS))
        left: dict[str, str] = {}
        for name in sorted(self._writers, key=lambda each: each != first):
            reason = "the manifest may name it" if first in left else self._remove(folder, name)
            if name == first and not reason and name in self._pending:
                reason = "its upload may still be completed"
            if reason:
                left[name] = reason
        self._tell_left(left)
        return [*left]

    def _remove(self, folder: CloudFolder, name: str) -> str:
        """Removes an object of this run; returns why it may still be there, empty if it is gone.

        An upload may have succeeded although its response was lost: an object with the size and
        the checksum of what was sent is this run's.
        """
        try:
            listed = folder.look_up(name)
        except BadSource:
            return ""
        except (StorageFailed, TimedOut) as error:
            return storage_client.reason(error)
        if not self._is_sent(name, listed.bytes, listed.crc32c):
            return "it is not what was sent"
        return folder.delete(name, listed)

    def remove_all(self) -> None:
        """Removes all objects of the folder, also those that other processes stored.

        As far as possible: the log says what is left.
        """
        folder = CloudFolder(self.location, Deadline(REMOVE_ALL_SECONDS))
        try:
            listed = folder.files()
        except (StorageFailed, TimedOut) as error:
            left = {"*": storage_client.reason(error)}
        else:
            left = {name: folder.delete(name, each) for name, each in listed.items()}
        self._tell_left({name: reason for name, reason in left.items() if reason})

    def _tell_left(self, left: dict[str, str]) -> None:
        if left:
            logs.event("objects left behind", "WARNING", folder=self.address, objects=left)
