"""The folder that a load reads: on this machine, or in Cloud Storage.

Both kinds list their files and open them as streams. Their errors become the bundle's own. The
checksum of what Cloud Storage sends is computed before it is decompressed and compared at its end,
because the client does not notice when a compressed object is cut off.
"""

import base64
import contextlib
import functools
import gzip
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
from google.api_core.exceptions import NotFound
from google.cloud.storage import Blob

from hiring.errors import BadSource
from hiring.progress import status
from hiring.settings import StorageLocation
from hiring.storage import storage_client

BUFFER_BYTES = 1024 * 1024
READ_CHUNK_BYTES = 2 * 1024 * 1024
"""Bytes that one request asks for; the client holds a chunk several times over."""

MOST_SMALL_BYTES = 16 * 1024 * 1024
"""The longest manifest or schema.sql that is read; this project's are shorter."""
GZIP_MAGIC = b"\x1f\x8b"

ErrorsTranslated = Callable[[], contextlib.AbstractContextManager[None]]


class SourceFolder(ABC):
    """A folder to read from.

    Attributes:
        address: as the operator would write it, ending with a slash.
    """

    address: str

    @abstractmethod
    def names(self) -> set[str]:
        """The names of the files directly in the folder."""

    @abstractmethod
    def folders(self) -> list["SourceFolder"]:
        """The folders directly in the folder, sorted by name."""

    @abstractmethod
    def open(self, name: str) -> contextlib.AbstractContextManager["Reader"]:
        """Opens a file's content, from its beginning.

        Raises:
            BadSource: the file does not exist or can't be read.
            StorageFailed: Cloud Storage refused or failed.
        """

    def read(self, name: str) -> bytes:
        """The content of a small file.

        Raises:
            BadSource: it is longer than MOST_SMALL_BYTES; or as `open`.
            StorageFailed: as `open`.
        """
        with self.open(name) as reader:
            content = io.BufferedReader(reader, BUFFER_BYTES).read(MOST_SMALL_BYTES + 1)
            if len(content) > MOST_SMALL_BYTES:
                raise BadSource(f"{self.address}{name} is longer than {MOST_SMALL_BYTES} bytes")
            return content


class Reader(io.RawIOBase):
    """A stream of a file's bytes that counts them and computes their checksum.

    Args:
        stream: to read from.
        errors_translated: makes a context in which its errors become the bundle's own.

    Attributes:
        bytes: number of bytes read so far.
    """

    def __init__(self, stream: Any, errors_translated: ErrorsTranslated) -> None:
        self._stream = stream
        self._errors_translated = errors_translated
        self._checksum = google_crc32c.Checksum()
        self.bytes = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer, as far as the file has bytes."""
        with self._errors_translated():
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._checksum.update(data)
        self.bytes += len(data)
        return len(data)

    def drain(self) -> None:
        """Reads the rest, for the count and the checksum only."""
        while self.read(BUFFER_BYTES):
            pass

    @property
    def crc32c(self) -> str:
        """The CRC32C of the bytes read so far, as Cloud Storage prints it."""
        return base64.b64encode(self._checksum.digest()).decode()


def _content(stored: Reader, name: str, where: str, encoding: str | None = None) -> Reader:
    """The content of a file, decompressed if it is compressed."""
    content = stored
    if encoding == "gzip":
        content = _decompressed(stored, where)
    if not name.endswith(".gz"):
        return content
    # `gcloud storage cp --gzip-local` compresses a .gz file again.
    ahead = io.BufferedReader(content, BUFFER_BYTES)
    if ahead.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
        return _decompressed(ahead, where)
    return Reader(ahead, contextlib.nullcontext)


def _decompressed(stream: Any, where: str) -> Reader:
    return Reader(gzip.GzipFile(fileobj=stream), functools.partial(_gzip_errors, where))


@contextlib.contextmanager
def _gzip_errors(where: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadSource(f"{where} can't be decompressed: {error}") from error


class LocalFolder(SourceFolder):
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.address = f"{path}/"

    def names(self) -> set[str]:
        return {path.name for path in self._entries() if path.is_file()}

    def folders(self) -> list[SourceFolder]:
        return [LocalFolder(path) for path in sorted(self._entries()) if path.is_dir()]

    def _entries(self) -> list[Path]:
        with self._errors_translated(""):
            return list(self._path.iterdir())

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            BadSource: it is not there.
        """
        with self._errors_translated(name):
            return (self._path / name).stat().st_size

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        path = self._path / name
        with self._errors_translated(name):
            if path.exists() and not path.is_file():  # a pipe could block, a device has no end
                raise BadSource(f"{self.address}{name} is not a file")
            stream = path.open("rb")
        with stream:
            stored = Reader(stream, functools.partial(self._errors_translated, name))
            yield _content(stored, name, f"{self.address}{name}")

    @contextlib.contextmanager
    def _errors_translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BadSource(f"{self.address}{name}: {error.strerror}") from error


class CloudFolder(SourceFolder):
    """A folder in Cloud Storage: the objects whose names begin with its path.

    Args:
        bucket: its name.
        path: empty, or ending with a slash.
    """

    def __init__(self, bucket: str, path: str) -> None:
        self._bucket = storage_client.client().bucket(bucket)
        self._path = path
        self.address = f"gs://{bucket}/{path}"

    @property
    def location(self) -> StorageLocation:
        """The folder as a location."""
        return StorageLocation(self._bucket.name, self._path)

    def names(self) -> set[str]:
        return self._list()[0]

    def folders(self) -> list[SourceFolder]:
        return [CloudFolder(self._bucket.name, path) for path in sorted(self._list()[1])]

    def _list(self) -> tuple[set[str], set[str]]:
        with self._errors_translated(""):
            found = self._bucket.list_blobs(prefix=self._path, delimiter="/", **self._limits())
            names = {blob.name.removeprefix(self._path) for blob in found}
            return names, set(found.prefixes)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        blob, stored, content = self._open(name)
        yield content
        stored.drain()
        if (stored.bytes, stored.crc32c) != (blob.size, blob.crc32c):
            raise BadSource(
                f"{self.address}{name} came with {stored.bytes} bytes and the CRC32C"
                f" {stored.crc32c}, Cloud Storage stores {blob.size} bytes with {blob.crc32c}"
            )

    def beginning(self, name: str) -> Reader:
        """Opens a file to read only its beginning: the rest is neither read nor compared.

        Raises: as `open`.
        """
        return self._open(name)[2]

    def _open(self, name: str) -> tuple[Blob, Reader, Reader]:
        """The object of a file, its stored bytes, and its content."""
        blob = self._bucket.blob(self._path + name)
        with self._errors_translated(name):
            blob.reload(**self._limits())  # the stream reads this generation
        stream = blob.open("rb", chunk_size=READ_CHUNK_BYTES, raw_download=True, **self._limits())
        stored = Reader(stream, functools.partial(self._errors_translated, name))
        where = f"{self.address}{name}"
        return blob, stored, _content(stored, name, where, blob.content_encoding)

    @staticmethod
    def _limits() -> dict[str, Any]:
        return {
            "retry": storage_client.repeating(storage_client.RETRY_SECONDS, _tell_repetition),
            "timeout": storage_client.TIMEOUT_SECONDS,
        }

    @contextlib.contextmanager
    def _errors_translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except NotFound as error:
            raise BadSource(f"{self.address}{name} is not there") from error
        except storage_client.ERRORS as error:
            raise storage_client.storage_failed(self._bucket.name, error) from error


def _tell_repetition(error: Exception) -> None:
    reason = storage_client.reason(error)
    status("storage request repeated", "WARNING", reason=reason)


def find(address: str) -> SourceFolder:
    """The folder at an address: a path, or `gs://bucket/path`.

    Raises:
        BadSource: the address is malformed.
    """
    if not address.startswith("gs://"):
        return LocalFolder(Path(address))
    bucket, _, path = address.removeprefix("gs://").partition("/")
    if not bucket:
        raise BadSource(f"{address} names no bucket; for example gs://my-bucket/hiring/backups/")
    return CloudFolder(bucket, f"{path.removesuffix('/')}/" if path else "")


def find_in_cloud(address: str) -> CloudFolder:
    """The folder at an address in Cloud Storage.

    Raises:
        BadSource: the address is not in Cloud Storage, or is malformed.
    """
    folder = find(address)
    if not isinstance(folder, CloudFolder):
        raise BadSource(f"{address} is not an address in Cloud Storage, gs://...")
    return folder
