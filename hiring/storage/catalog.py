"""The backups in a folder, in their one order, each with what its listing tells.

They are ordered by the earlier of `taken_at` and the time at which Cloud Storage stored the
manifest there: a database server whose clock is ahead must not hide newer backups. A copy is
stored long after `taken_at`; in a local folder, there is `taken_at` alone.
"""

import datetime
import functools
import re
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hiring.errors import BadSource
from hiring.progress import status
from hiring.settings import LONGEST_TASK_SECONDS
from hiring.storage.folders import ListedFile, SourceFolder
from hiring.storage.manifest import MANIFEST, Manifest, StoredFile, printed, read_manifest
from hiring.storage.storage_client import CONNECTIONS
from hiring.tables import TABLES

BACKUPS = "backups/"
"""The folder of all backups, below the prefix of GCS_PATH."""

FOLDER_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z", re.ASCII)
"""The name of a backup's folder: the time of its snapshot."""

_TABLES = "|".join(TABLES)
OWN_NAMES = re.compile(
    rf"(invalid/)?({_TABLES})(-\d{{5,}}-\d+)?\.(avro|jsonl)"
    r"|reports/[a-z-]+(-\d{4})?\.(json|ndjson)|schema\.sql|manifest\.json",
    re.ASCII,
)
"""The names that this project gives to the objects of a backup."""

_parsing = threading.Lock()
"""Held while a manifest is parsed: one at a time takes the memory."""

EARLIEST = datetime.datetime.min.replace(tzinfo=datetime.UTC)

LONGEST_BACKUP = datetime.timedelta(seconds=LONGEST_TASK_SECONDS)
"""No backup takes longer, since LONGEST_TASK_SECONDS ends it.

Its manifest is stored that long after `taken_at` at most. A folder without one that got an object
within this time may be under way.
"""


@dataclass(frozen=True)
class BackupFolder:
    """A folder among the backups, complete or not.

    Attributes:
        source: reads it.
        files: as they are listed, by their paths in the folder.
        manifest: None where it is missing, or cannot be read for the reason `unreadable`.
    """

    source: SourceFolder
    files: dict[str, ListedFile]
    manifest: Manifest | None = None
    unreadable: str = ""

    @property
    def address(self) -> str:
        """Of the folder, ending with a slash."""
        return self.source.address

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.address.removesuffix("/").rpartition("/")[2]

    @functools.cached_property
    def is_copy(self) -> bool:
        """Whether the backup was stored elsewhere: no object has the manifest's generation."""
        return not any(
            (found := self.files.get(each.name)) and found.generation == each.generation
            for each in (self.manifest.files if self.manifest else ())
        )

    @property
    def stored(self) -> datetime.datetime | None:
        """When Cloud Storage stored the manifest; None for a copy."""
        return None if self.is_copy else self.files[MANIFEST].created

    @property
    def time(self) -> datetime.datetime:
        """The one time by which backups are ordered; without a manifest, that of the name.

        No backup, and no copy, was taken later than its manifest came to its place.
        """
        if self.manifest:
            return min(self.manifest.time, self.files[MANIFEST].created or self.manifest.time)
        try:
            return datetime.datetime.strptime(self.name, "%Y%m%dT%H%M%S.%f%z")
        except ValueError:
            return EARLIEST

    @property
    def age(self) -> datetime.timedelta:
        """The time since then, by this machine's clock."""
        return datetime.datetime.now(datetime.UTC) - self.time

    def rows(self, tables: Iterable[str] = TABLES) -> int:
        """Number of rows and invalid records of tables; 0 without a manifest."""
        return self.manifest.all_rows(tables) if self.manifest else 0

    @functools.cached_property
    def faults(self) -> list[str]:
        """The differences between listed files and manifest, a sentence each; empty if whole."""
        if self.manifest is None:
            return [self.unreadable or f"there is no {MANIFEST}"]
        return [fault for each in self.manifest.files if (fault := self._fault(each))]

    def _fault(self, stored: StoredFile) -> str | None:
        found = self.files.get(stored.name)
        if found is None:
            return f"{stored.name} is not there"
        if found.is_compressed:  # only reading it tells more
            return None
        if found.bytes != stored.bytes:
            return f"{stored.name} has {found.bytes} bytes, its manifest says {stored.bytes}"
        if found.crc32c not in (None, stored.crc32c):
            return f"{stored.name} has the CRC32C {found.crc32c}, its manifest says {stored.crc32c}"
        if found.generation != stored.generation and not self.is_copy:
            return f"{stored.name} was written again after its manifest"
        return None

    @property
    def own_files(self) -> dict[str, ListedFile]:
        """The files that a backup stored."""
        named = {each.name for each in self.manifest.files} if self.manifest else set()
        return {
            name: listed
            for name, listed in self.files.items()
            if name in named or OWN_NAMES.fullmatch(name)
        }


def read(place: SourceFolder) -> list[BackupFolder]:
    """The backup folders in a folder, newest first; no folder is an empty list.

    Raises:
        BadSource: the folder can't be read.
        StorageFailed: Cloud Storage refused or failed.
        TimedOut: no time is left.
    """
    grouped: dict[str, dict[str, ListedFile]] = {}
    for path, listed in place.files().items():
        name, slash, inner = path.partition("/")
        if slash:
            grouped.setdefault(name, {})[inner] = listed

    with ThreadPoolExecutor(CONNECTIONS) as readers:
        found = [*readers.map(_describe, map(place.folder, grouped), grouped.values())]
    found.sort(key=lambda each: (each.time, each.name), reverse=True)
    for each in found:
        if each.unreadable:
            pass_over(each, each.unreadable)
    _compare_times(found)
    return found


def read_one(source: SourceFolder) -> BackupFolder:
    """The backup in a folder; without files if there is none.

    Raises: as `read`.
    """
    found = _describe(source, source.files())
    _compare_times([found])
    return found


def _describe(source: SourceFolder, files: dict[str, ListedFile]) -> BackupFolder:
    manifest, unreadable = None, ""
    if MANIFEST in files:
        try:
            content = source.read(MANIFEST, files[MANIFEST])
            with _parsing:
                manifest = read_manifest(content)
        except BadSource as error:
            unreadable = str(error)
    return BackupFolder(source, files, manifest, unreadable)


def _compare_times(folders: list[BackupFolder]) -> None:
    """Warns of the newest backup whose `taken_at` and stored time contradict each other."""
    odd = [
        {"backup": each.address, "taken_at": each.manifest.taken_at, "stored_at": printed(stored)}
        for each in folders
        if each.manifest
        and (stored := each.files[MANIFEST].created)
        and (
            stored < each.manifest.time
            or (stored > each.manifest.time + LONGEST_BACKUP and not each.is_copy)
        )
    ]
    for each in odd[:1]:
        reason = "a clock was wrong; the earlier time counts"
        status("times contradict", "WARNING", **each, backups=len(odd), reason=reason)


def pass_over(folder: BackupFolder, reason: str) -> None:
    """Warns that a folder does not count."""
    status("backup passed over", "WARNING", backup=folder.address, reason=reason)
