"""Decides which backups to keep, and removes the others.

The age of a backup is measured from the newest complete backup, or from this machine's clock if
that is earlier: a clock that is ahead removes nothing. The manifest of a backup is removed first,
so that an interrupted removal never leaves a manifest without its objects.
"""

import datetime
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from google.api_core.exceptions import NotFound

import db
from hiring.core import logs
from hiring.core.deadline import Deadline
from hiring.core.errors import BundleError, TimedOut
from hiring.core.settings import StorageLocation
from hiring.export import catalog, storage_client
from hiring.export.catalog import Folder, ListedObject
from hiring.export.manifest import MANIFEST

UNDER_WAY = datetime.timedelta(days=2)
"""A younger folder without a manifest may belong to a backup that is still running."""

KEPT_BY_THE_FUNCTION = 7
"""Number of newest backups that the function's pruning keeps, whatever their age."""

REMOVERS = 8
"""Number of folders that are removed at a time."""

_TABLES = "|".join(db.TABLES)
OWN_NAMES = re.compile(
    rf"(invalid/)?({_TABLES})(-\d{{5,}}-\d+)?\.(avro|jsonl)"
    r"|reports/[a-z-]+-\d{4}\.(json|ndjson)|schema\.sql|manifest\.json",
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
    """The objects that a backup stored, its manifest first."""
    named = {each.name for each in folder.manifest.files} if folder.manifest else set()
    own = [each for each in folder.objects if each in named or OWN_NAMES.fullmatch(each)]
    return {each: folder.objects[each] for each in sorted(own, key=lambda name: name != MANIFEST)}


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

    def remove_one(folder: Folder) -> Removal:
        removal = _remove(location, folder, deadline)
        progress()
        return removal

    with ThreadPoolExecutor(REMOVERS) as removers:
        return list(removers.map(remove_one, folders))


def _remove(location: StorageLocation, folder: Folder, deadline: Deadline) -> Removal:
    bucket = storage_client.client().bucket(location.bucket)
    left: dict[str, str] = {}
    for name, listed in _own_objects(folder).items():
        blob = bucket.blob(f"{location.prefix}{folder.name}/{name}")
        try:
            blob.delete(if_generation_match=listed.generation, **storage_client.limits(deadline))
        except NotFound:  # another prune removed it, or an answer was lost
            continue
        except TimedOut as error:
            left[name] = str(error)
        except storage_client.ERRORS as error:
            left[name] = storage_client.reason(error)
        if MANIFEST in left:
            break
    return Removal(folder, left)


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
