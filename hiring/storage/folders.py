"""The reader of a folder: on this machine, or in Cloud Storage.

Both kinds list their files and open them as streams; their errors become the bundle's own. The
checksum is of the bytes as Cloud Storage sends them, still compressed. It is compared when all have
arrived: the client does not notice when a compressed object is cut off.
"""

import contextlib
import datetime
import functools
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import NotFound
from google.cloud.storage import Blob

from hiring.deadline import Deadline
from hiring.errors import BadSource, StorageFailed, TimedOut
from hiring.settings import StorageLocation
from hiring.storage import storage_client
from hiring.storage.reader import BUFFER_BYTES, Reader, content_of

READ_CHUNK_BYTES = 2 * 1024 * 1024
"""Bytes that one request asks for; the client holds a chunk several times over."""

MOST_SMALL_BYTES = 3 * 1024 * 1024
"""The longest manifest, of 16,000 objects; 3 MB of empty lists take 80 MB of memory."""

LEVELS = 3
"""How deep a local folder is listed: backups/20261122T151624.123456Z/reports/quarterly.json."""

LISTED = "items(name,size,crc32c,generation,timeCreated,contentEncoding),prefixes,nextPageToken"


@dataclass(frozen=True)
class ListedFile:
    """A file as its folder lists it; of a local one, only the size is known.

    Attributes:
        created: Cloud Storage's own time.
        is_compressed: whether a copy was stored with `Content-Encoding: gzip`; size and checksum
            then say nothing of its content.
    """

    bytes: int
    crc32c: str | None = None
    generation: int | None = None
    created: datetime.datetime | None = None
    is_compressed: bool = False


class SourceFolder(ABC):
    """A folder to read from.

    Attributes:
        address: as the operator would write it, ending with a slash.
    """

    address: str

    @abstractmethod
    def entries(self) -> tuple[set[str], list[str]]:
        """The names of the files, and those of the folders, directly in the folder."""

    @abstractmethod
    def files(self) -> dict[str, ListedFile]:
        """Every file below the folder, by its path there."""

    @abstractmethod
    def folder(self, name: str) -> "SourceFolder":
        """A folder in the folder."""

    @abstractmethod
    def open(
        self, name: str, listed: ListedFile | None = None
    ) -> contextlib.AbstractContextManager[Reader]:
        """Opens a file's content; Cloud Storage is not asked again about a listed file.

        Raises:
            BadSource: the file does not exist or can't be read.
            StorageFailed: Cloud Storage refused or failed.
        """

    def read(self, name: str, listed: ListedFile | None = None) -> bytes:
        """The content of a small file; raises as `open`, BadSource where it is too long."""
        with self.open(name, listed) as reader:
            content = io.BufferedReader(reader, BUFFER_BYTES).read(MOST_SMALL_BYTES + 1)
            if len(content) > MOST_SMALL_BYTES:
                raise BadSource(f"{self.address}{name} is longer than {MOST_SMALL_BYTES} bytes")
            return content


class LocalFolder(SourceFolder):
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.address = f"{path}/"

    def entries(self) -> tuple[set[str], list[str]]:
        with self._errors_translated(""):
            paths = sorted(self._path.iterdir())
            files = {path.name for path in paths if path.is_file()}
            return files, [path.name for path in paths if path.is_dir()]

    def files(self) -> dict[str, ListedFile]:
        with self._errors_translated(""):
            return {
                path.relative_to(self._path).as_posix(): ListedFile(path.stat().st_size)
                for level in range(1, LEVELS + 1)
                for path in self._path.glob("/".join("*" * level))
                if path.is_file()
            }

    def folder(self, name: str) -> SourceFolder:
        return LocalFolder(self._path / name)

    @contextlib.contextmanager
    def open(self, name: str, listed: ListedFile | None = None) -> Iterator[Reader]:  # noqa: ARG002
        path = self._path / name
        with self._errors_translated(name):
            if path.exists() and not path.is_file():  # a pipe could block, a device has no end
                raise BadSource(f"{self.address}{name} is not a file")
            stream = path.open("rb")
        with stream:
            stored = Reader(stream, functools.partial(self._errors_translated, name))
            yield content_of(stored, name, f"{self.address}{name}")

    @contextlib.contextmanager
    def _errors_translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BadSource(f"{self.address}{name}: {error.strerror}") from error


class CloudFolder(SourceFolder):
    """A folder in Cloud Storage: the objects whose names begin with its path.

    The deadline ends each request.
    """

    def __init__(self, location: StorageLocation, deadline: Deadline) -> None:
        self._bucket = storage_client.client().bucket(location.bucket)
        self._path = location.prefix
        self._deadline = deadline
        self.address = f"gs://{location.bucket}/{location.prefix}"

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return str(self._bucket.name)

    def entries(self) -> tuple[set[str], list[str]]:
        files, folders = self._list("/")
        return set(files), [path.removeprefix(self._path).rstrip("/") for path in folders]

    def files(self) -> dict[str, ListedFile]:
        return self._list()[0]

    def folder(self, name: str) -> "CloudFolder":
        return CloudFolder(
            StorageLocation(self._bucket.name, f"{self._path}{name}/"), self._deadline
        )

    def _list(self, delimiter: str | None = None) -> tuple[dict[str, ListedFile], list[str]]:
        """The objects below the folder, and the folders directly in it if there is a delimiter."""
        with self._errors_translated(""):
            found = self._bucket.list_blobs(
                prefix=self._path,
                delimiter=delimiter,
                fields=LISTED,
                **storage_client.limits(self._deadline),
            )
            # The console marks an empty folder with an object whose name ends with a slash.
            files = {
                blob.name.removeprefix(self._path): _listed(blob)
                for blob in found
                if not blob.name.endswith("/")
            }
            return files, sorted(found.prefixes)

    @contextlib.contextmanager
    def open(self, name: str, listed: ListedFile | None = None) -> Iterator[Reader]:
        listed = listed or self.look_up(name)
        # The stream reads the listed generation, which never changes.
        blob = self._bucket.blob(self._path + name, generation=listed.generation)
        stream = blob.open(
            "rb",
            chunk_size=READ_CHUNK_BYTES,
            raw_download=True,
            **storage_client.limits(self._deadline),
        )
        translated = functools.partial(self._errors_translated, name)
        stored = Reader(stream, translated, listed.bytes)
        yield content_of(stored, name, f"{self.address}{name}", is_gzip=listed.is_compressed)
        stored.drain()
        if (stored.bytes, stored.crc32c) != (listed.bytes, listed.crc32c):
            raise BadSource(
                f"{self.address}{name} came with {stored.bytes} bytes and the CRC32C"
                f" {stored.crc32c}, Cloud Storage stores {listed.bytes} bytes with {listed.crc32c}"
            )

    def look_up(self, name: str) -> ListedFile:
        """An object as Cloud Storage holds it now; raises BadSource where it is not there."""
        blob = self._bucket.blob(self._path + name)
        with self._errors_translated(name):
            blob.reload(**storage_client.limits(self._deadline))
            return _listed(blob)

    def delete(self, name: str, listed: ListedFile) -> str:
        """Deletes a listed generation; returns why it is still there, empty if it is gone."""
        blob = self._bucket.blob(self._path + name)
        try:
            with self._errors_translated(name):
                blob.delete(
                    if_generation_match=listed.generation, **storage_client.limits(self._deadline)
                )
        except BadSource:  # another one removed it
            pass
        except (StorageFailed, TimedOut) as error:
            return storage_client.reason(error)
        return ""

    @contextlib.contextmanager
    def _errors_translated(self, name: str) -> Iterator[None]:
        try:
            with storage_client.translated(self._bucket.name):
                yield
        except StorageFailed as error:
            if name and isinstance(error.__cause__, NotFound):
                raise BadSource(f"{self.address}{name} is not there") from error
            raise


def _listed(blob: Blob) -> ListedFile:
    # Cloud Storage's JSON may leave out the size of an object of zero bytes.
    return ListedFile(
        blob.size or 0,
        blob.crc32c,
        blob.generation,
        blob.time_created,
        is_compressed=blob.content_encoding == "gzip",
    )


def find(address: str, deadline: Deadline) -> SourceFolder:
    """The folder at an address: a path, or `gs://bucket/path`; raises as `find_in_cloud`."""
    if address.startswith("gs://"):
        return find_in_cloud(address, deadline)
    return LocalFolder(Path(address))


def find_in_cloud(address: str, deadline: Deadline) -> CloudFolder:
    """The folder at an address in Cloud Storage; raises BadSource where the address is no such."""
    found = re.fullmatch("gs://([^/]+)/?(.*?)/?", address, re.DOTALL)
    if not found:
        raise BadSource(
            f"{address} is no folder in Cloud Storage, such as gs://my-bucket/hiring/backups/"
        )
    path = f"{found[2]}/" if found[2] else ""
    return CloudFolder(StorageLocation(found[1], path), deadline)
