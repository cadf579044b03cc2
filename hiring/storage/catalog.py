"""The backups in a bucket: each folder with its objects and its manifest, newest first."""

import datetime
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from google.api_core.exceptions import NotFound
from google.cloud.storage import Client

from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.settings import StorageLocation
from hiring.storage import storage_client
from hiring.storage.manifest import MANIFEST, Manifest, read_manifest

BACKUPS = "backups/"
"""The folder of all backups, below the prefix of GCS_PATH."""

FOLDER_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z", re.ASCII)
"""The name of a backup's folder: the time of its snapshot."""

MANIFEST_BYTES = 16 * 1024 * 1024
"""The largest manifest that is read; one of 10,000 objects has 3 MB."""

MANIFEST_READERS = 16
"""Manifests that are read at a time."""

LISTED = "items(name,size,crc32c,generation,timeCreated,contentEncoding),nextPageToken"


@dataclass(frozen=True)
class ListedObject:
    """An object as Cloud Storage lists it.

    Attributes:
        bytes: that are stored.
        crc32c: of the stored bytes.
        generation: its own.
        created: Cloud Storage's own time.
        is_compressed: whether a copy was stored with `Content-Encoding: gzip`; size and checksum
            then say nothing of its content.
    """

    bytes: int
    crc32c: str
    generation: int
    created: datetime.datetime
    is_compressed: bool = False


@dataclass(frozen=True)
class Folder:
    """A folder among the backups, complete or not.

    Attributes:
        address: ends with a slash.
        manifest: None where it is missing or `fault` says what is wrong with it.
        fault: why the manifest cannot be read; empty where it can, or where there is none.
        objects: by their names in the folder; empty for a folder that is not in Cloud Storage.
    """

    address: str
    manifest: Manifest | None
    fault: str = ""
    objects: dict[str, ListedObject] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.address.rstrip("/").rpartition("/")[2]

    @property
    def order(self) -> str:
        """Sorts folders by the time of their snapshot, written as in their names."""
        if self.manifest is None:
            return self.name
        return f"{self.manifest.time.astimezone(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"


def all_backups(location: StorageLocation) -> StorageLocation:
    """The location of all backups, from that of GCS_PATH."""
    return StorageLocation(location.bucket, f"{location.prefix}{BACKUPS}")


def read(location: StorageLocation, deadline: Deadline) -> list[Folder]:
    """The folders at a location, newest first; no folder is an empty list.

    Raises:
        StorageFailed: Cloud Storage refused or failed.
        TimedOut: no time is left.
    """
    folders: dict[str, dict[str, ListedObject]] = {}
    try:
        for inner, listed in _list(location, deadline):
            name, slash, rest = inner.partition("/")
            if slash and rest:
                folders.setdefault(name, {})[rest] = listed
        client = storage_client.client()

        def describe(name: str) -> Folder:
            place = StorageLocation(location.bucket, f"{location.prefix}{name}/")
            return _describe(client, place, folders[name], deadline)

        with ThreadPoolExecutor(MANIFEST_READERS) as readers:
            return newest_first(readers.map(describe, folders))
    except storage_client.ERRORS as error:
        raise storage_client.storage_failed(location.bucket, error) from error


def read_one(location: StorageLocation, deadline: Deadline) -> Folder:
    """The folder at a location; it has no object if there is none.

    Raises: as `read`.
    """
    try:
        client = storage_client.client()
        return _describe(client, location, dict(_list(location, deadline)), deadline)
    except storage_client.ERRORS as error:
        raise storage_client.storage_failed(location.bucket, error) from error


def _list(location: StorageLocation, deadline: Deadline) -> Iterator[tuple[str, ListedObject]]:
    bucket = storage_client.client().bucket(location.bucket)
    for blob in bucket.list_blobs(
        prefix=location.prefix, fields=LISTED, **storage_client.limits(deadline)
    ):
        yield (
            blob.name.removeprefix(location.prefix),
            ListedObject(
                blob.size,
                blob.crc32c,
                blob.generation,
                blob.time_created,
                is_compressed=blob.content_encoding == "gzip",
            ),
        )


def _describe(
    client: Client,
    location: StorageLocation,
    objects: dict[str, ListedObject],
    deadline: Deadline,
) -> Folder:
    address = f"gs://{location.bucket}/{location.prefix}"
    listed = objects.get(MANIFEST)
    if listed is None:
        return Folder(address, None, objects=objects)
    if listed.bytes > MANIFEST_BYTES:
        fault = f"{MANIFEST} has {listed.bytes} bytes, more than any manifest"
        return Folder(address, None, fault, objects)
    blob = client.bucket(location.bucket).blob(f"{location.prefix}{MANIFEST}")
    try:
        found: bytes = blob.download_as_bytes(**storage_client.limits(deadline))
    except NotFound:  # pruned since it was listed
        return Folder(address, None, objects=objects)
    try:
        return Folder(address, read_manifest(found), objects=objects)
    except BadSource as error:
        return Folder(address, None, str(error), objects)


def newest_first(folders: Iterable[Folder]) -> list[Folder]:
    """The folders in the order of their snapshots, newest first."""
    return sorted(folders, key=lambda folder: folder.order, reverse=True)


def complete(folders: Iterable[Folder], database: str) -> list[Folder]:
    """The complete backups of a database, in the order given."""
    return [each for each in folders if each.manifest and each.manifest.database == database]


def faults(folder: Folder) -> list[str]:
    """The differences between listed objects and manifest, a sentence each; empty if whole.

    A copy in another place has generations of its own. So they count only if at least one of them
    is the manifest's. Of a compressed object, only reading it tells more.
    """
    if folder.manifest is None:
        return [folder.fault or f"there is no {MANIFEST}"]
    files = folder.manifest.files
    listed = {each.name: folder.objects.get(each.name) for each in files}
    is_copy = not any(
        found and found.generation == each.generation
        for each in files
        if (found := listed[each.name])
    )
    sentences = []
    for each in files:
        found = listed[each.name]
        if found is None:
            sentences.append(f"{each.name} is not there")
        elif found.is_compressed:
            continue
        elif found.bytes != each.bytes:
            sentences.append(f"{each.name} has {found.bytes} bytes, its manifest says {each.bytes}")
        elif found.crc32c != each.crc32c:
            sentences.append(
                f"{each.name} has the CRC32C {found.crc32c}, its manifest says {each.crc32c}"
            )
        elif found.generation != each.generation and not is_copy:
            sentences.append(f"{each.name} was written again after its manifest")
    return sentences


def age_in_words(seconds: float) -> str:
    """An age as people say it: `5 minutes`, `26 hours`, `12 days`."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
