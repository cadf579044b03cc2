"""Decides which backups to keep, and removes the others.

The age of a backup is measured from the newest complete backup, or from this machine's clock if
that is earlier: a clock that is ahead removes nothing. The manifest of a backup is removed first,
so that an interrupted removal never leaves a manifest without its objects.
"""

import contextlib
import datetime
import itertools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from google.api_core.exceptions import NotFound

from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import BundleError, TimedOut
from hiring.settings import StorageLocation
from hiring.storage import catalog, storage_client
from hiring.storage.catalog import Folder, ListedObject
from hiring.storage.manifest import MANIFEST
from hiring.tables import TABLES

UNDER_WAY = datetime.timedelta(days=2)
"""A younger folder without a manifest may belong to a backup that is still running."""

KEPT_BY_THE_FUNCTION = 7
"""Number of newest backups that the function's pruning keeps, whatever their age."""

FOLDERS_TOGETHER = 20
"""Folders whose manifests are removed with one request, and then their objects."""
REMOVERS = 16
"""Requests that remove something at a time."""

_TABLES = "|".join(TABLES)
OWN_NAMES = re.compile(
    rf"(invalid/)?({_TABLES})(-\d{{5,}}-\d+)?\.(avro|jsonl)"
    r"|reports/[a-z-]+(-\d{4})?\.(json|ndjson)|schema\.sql|manifest\.json",
    re.ASCII,
)
"""The names that this project gives to the objects of a backup."""


@dataclass(frozen=True)
class Decision:
    """Whether a folder stays, with the reason."""

    folder: Folder
    stays: bool
    why: str


@dataclass(frozen=True)
class Removal:
    """The result of removing a folder: each object that is `left`, with the reason."""

    folder: Folder
    left: dict[str, str] = field(default_factory=dict)


def decide(
    folders: list[Folder],
    database: str,
    *,
    keep_last: int,
    keep_days: int,
    now: datetime.datetime,
) -> list[Decision]:
    """Decides which folders stay.

    Args:
        folders: newest first.
        database: whose backups may be removed.
        keep_last: number of newest backups that stay.
        keep_days: backups stay that are at most so many days older than the newest one.
        now: the time by this machine's clock.

    Returns:
        A decision for each folder, in their order.
    """
    whole = [each for each in catalog.complete(folders, database) if not catalog.faults(each)]
    if not whole:
        return [Decision(each, True, "there is no whole backup beside it") for each in folders]
    stored = {each.name: each.objects[MANIFEST].created for each in whole}
    last_stored = max(stored, key=lambda name: stored[name])
    newest = min(now, *(each.manifest.time for each in whole[:1] if each.manifest))
    started = min(now, stored[last_stored]) - UNDER_WAY
    places = {each.name: place for place, each in enumerate(whole)}

    def reason_to_stay(folder: Folder) -> str | None:
        if folder.manifest is None:
            return _reason_without_manifest(folder, started)
        if folder.manifest.database != database:
            return f"is a backup of database {folder.manifest.database}"
        if folder.name not in places:
            return f"is not whole: {catalog.faults(folder)[0]}"
        place = places[folder.name]
        if place == 0 or folder.name == last_stored:
            return "is the newest complete backup"
        if place < keep_last:
            return f"is one of the newest {keep_last}"
        if newest - folder.manifest.time <= datetime.timedelta(days=keep_days):
            return f"is within {keep_days} days of the newest"
        return None

    decisions = []
    for each in folders:
        why = reason_to_stay(each)
        without = "has no manifest" if each.manifest is None else "is older than what stays"
        decisions.append(Decision(each, why is not None, why or without))
    return decisions


def _reason_without_manifest(folder: Folder, started: datetime.datetime) -> str | None:
    if folder.fault:
        return f"has a manifest that cannot be read: {folder.fault}"
    if not catalog.FOLDER_NAME.fullmatch(folder.name):
        return "has not the name of a backup"
    if max(each.created for each in folder.objects.values()) >= started:
        return "has no manifest and may be under way"
    if not _own_objects(folder):
        return "holds nothing of a backup"
    return None


def _own_objects(folder: Folder) -> dict[str, ListedObject]:
    """The objects that a backup stored."""
    named = {each.name for each in folder.manifest.files} if folder.manifest else set()
    return {
        name: listed
        for name, listed in folder.objects.items()
        if name in named or OWN_NAMES.fullmatch(name)
    }


def remove(
    location: StorageLocation,
    folders: list[Folder],
    deadline: Deadline,
    progress: Callable[[], None] = lambda: None,
) -> list[Removal]:
    """Removes folders as far as possible.

    Args:
        location: of all backups.
        folders: to remove.
        deadline: after which nothing more is removed.
        progress: called after each folder.

    Returns:
        A result for each folder, in their order.
    """

    def remove_some(first: int) -> list[Removal]:
        some = folders[first : first + FOLDERS_TOGETHER]
        removals = _remove(location, some, deadline)
        for _ in some:
            progress()
        return removals

    with ThreadPoolExecutor(REMOVERS) as removers:
        done = removers.map(remove_some, range(0, len(folders), FOLDERS_TOGETHER))
        return list(itertools.chain.from_iterable(done))


def _remove(location: StorageLocation, folders: list[Folder], deadline: Deadline) -> list[Removal]:
    """Removes the manifests, and then the other objects of each folder whose manifest is gone."""
    manifests: dict[str, int] = {}
    others: dict[str, int] = {}
    for folder in folders:
        for name, listed in _own_objects(folder).items():
            kind = manifests if name == MANIFEST else others
            kind[f"{folder.name}/{name}"] = listed.generation
    left = _delete(location, manifests, deadline)
    kept = {path.partition("/")[0] for path in left}
    going = [path for path in others if path.partition("/")[0] not in kept]
    for first in range(0, len(going), storage_client.DELETED_TOGETHER):
        some = going[first : first + storage_client.DELETED_TOGETHER]
        left |= _delete(location, {path: others[path] for path in some}, deadline)
    return [
        Removal(
            folder,
            {
                path.removeprefix(f"{folder.name}/"): why
                for path, why in left.items()
                if path.startswith(f"{folder.name}/")
            },
        )
        for folder in folders
    ]


def _delete(
    location: StorageLocation, generations: dict[str, int], deadline: Deadline
) -> dict[str, str]:
    """Deletes objects by their paths among the backups; returns why others are still there."""
    names = {f"{location.prefix}{path}": each for path, each in generations.items()}
    with contextlib.suppress(TimedOut):
        if len(names) > 1 and storage_client.delete_together(location.bucket, names, deadline):
            return {}
    bucket = storage_client.client().bucket(location.bucket)
    left: dict[str, str] = {}
    for path, generation in generations.items():
        blob = bucket.blob(f"{location.prefix}{path}")
        try:
            blob.delete(if_generation_match=generation, **storage_client.limits(deadline))
        except NotFound:  # it went with the others, or another prune removed it
            continue
        except TimedOut as error:
            left[path] = str(error)
        except storage_client.ERRORS as error:
            left[path] = storage_client.reason(error)
    return left


def after_backup(
    location: StorageLocation, database: str, keep_days: int, deadline: Deadline
) -> dict[str, object]:
    """Prunes after a backup by the function; a failure is a warning, never an error.

    Returns:
        `removed`, the addresses of removed backups; `left`, the reason for each object that could
        not be removed; and `failed`, the reason, if the backups could not be listed.
    """
    place = catalog.all_backups(location)
    try:
        decisions = decide(
            catalog.read(place, deadline),
            database,
            keep_last=KEPT_BY_THE_FUNCTION,
            keep_days=keep_days,
            now=datetime.datetime.now(datetime.UTC),
        )
        going = [each.folder for each in decisions if not each.stays]
        removals = remove(place, going, deadline)
    except BundleError as error:
        logs.event("prune failed", "WARNING", reason=str(error))
        return {"removed": [], "left": {}, "failed": str(error)}
    removed = [each.folder.address for each in removals if not each.left]
    left = {each.folder.address + name: why for each in removals for name, why in each.left.items()}
    logs.event("backups pruned", "WARNING" if left else "INFO", removed=removed, left=left)
    return {"removed": removed, "left": left}
