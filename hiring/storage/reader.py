"""The bytes of a file as a stream: counted, with their checksum, and decompressed."""

import base64
import contextlib
import functools
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import google_crc32c

from hiring.errors import BadSource

BUFFER_BYTES = 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"

ErrorsTranslated = Callable[[], contextlib.AbstractContextManager[None]]


class Reader(io.RawIOBase):
    """A stream of a file's bytes that counts them and computes their checksum.

    Args:
        errors_translated: makes a context in which the stream's errors become the bundle's own.
        size: number of bytes after which the stream is not asked for more, if it is known.

    Attributes:
        bytes: number of bytes read so far.
    """

    def __init__(
        self, stream: Any, errors_translated: ErrorsTranslated, size: int | None = None
    ) -> None:
        self._stream = stream
        self._size = size
        self._errors_translated = errors_translated
        self._checksum = google_crc32c.Checksum()
        self.bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.bytes == self._size:
            return 0
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


def content_of(stored: Reader, name: str, where: str, *, is_gzip: bool = False) -> Reader:
    """The content of a stored file, decompressed if it is compressed.

    Args:
        where: its address, for messages.
        is_gzip: whether it was stored with `Content-Encoding: gzip`.
    """
    content = _decompressed(stored, where) if is_gzip else stored
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
