"""The backups in a bucket: each folder with its objects and its manifest, newest first."""

import datetime
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from google.api_core.exceptions import NotFound

from hiring.core.deadline import Deadline
from hiring.core.errors import BadSource
from hiring.core.settings import StorageLocation
from hiring.export import storage_client
from hiring.export.manifest import MANIFEST, Manifest, read_manifest

BACKUPS = "backups/"
"""The folder of all backups, below the prefix of GCS_PATH."""

FOLDER_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z", re.ASCII)
"""The name of a backup's folder: the time of its snapshot."""

MANIFEST_BYTES = 16 * 1024 * 1024
"""The largest manifest that is read; one of 10,000 objects has 3 MB."""

MANIFEST_READERS = 8
"""Manifests that are read at a time; the client keeps ten connections."""

LISTED = "items(name,size,crc32c,generation,timeCreated),nextPageToken"


@dataclass(frozen=True)
class ListedObject:
    """An object as Cloud Storage lists it; `created` is Cloud Storage's own time."""

    bytes: int
    crc32c: str
    generation: int
    created: datetime.datetime


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


def read(location: StorageLocation, deadline: Deadline) -> list[Folder]:
    """The folders at a location, newest first; no folder is an empty list.

    Raises:
        StorageFailed: Cloud Storage refused or failed.
        TimedOut: no time is left.
    """
    bucket = storage_client.client().bucket(location.bucket)
    folders: dict[str, dict[str, ListedObject]] = {}

    def describe_cloud(name: str) -> Folder:
        blob = bucket.blob(f"{location.prefix}{name}/{MANIFEST}")
        address = f"gs://{location.bucket}/{location.prefix}{name}/"

        def content() -> bytes | None:
            try:
                found: bytes = blob.download_as_bytes(**storage_client.limits(deadline))
            except NotFound:  # pruned since it was listed
                return None
            return found

        return describe(address, folders[name], content)

    try:
        for blob in bucket.list_blobs(
            prefix=location.prefix, fields=LISTED, **storage_client.limits(deadline)
        ):
            name, slash, inner = blob.name.removeprefix(location.prefix).partition("/")
            if slash and inner:
                folders.setdefault(name, {})[inner] = ListedObject(
                    blob.size, blob.crc32c, blob.generation, blob.time_created
                )
        with ThreadPoolExecutor(MANIFEST_READERS) as readers:
            return newest_first(readers.map(describe_cloud, folders))
    except storage_client.ERRORS as error:
        raise storage_client.storage_failed(location.bucket, error) from error


def describe(
    address: str, objects: dict[str, ListedObject], content: Callable[[], bytes | None]
) -> Folder:
    """A folder with what its manifest says.

    Args:
        address: of the folder.
        objects: in the folder.
        content: reads the manifest; None where there is none any more.
    """
    listed = objects.get(MANIFEST)
    if listed is None:
        return Folder(address, None, objects=objects)
    if listed.bytes > MANIFEST_BYTES:
        fault = f"{MANIFEST} has {listed.bytes} bytes, more than any manifest"
        return Folder(address, None, fault, objects)
    found = content()
    if found is None:
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


def age_in_words(seconds: float) -> str:
    """An age as people say it: `5 minutes`, `26 hours`, `12 days`."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
