"""Decides which backups to keep, and removes the others.

A backup stays if any rule keeps it. Ages are measured from the newest backup that counts, or from
this machine's clock if that is earlier: a clock that is ahead removes nothing. The manifest of a
backup is removed first, so that an interrupted removal never leaves one without its objects.
"""

import datetime
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import BundleError
from hiring.settings import Settings
from hiring.storage.catalog import FOLDER_NAME, LONGEST_BACKUP, BackupFolder, read_all
from hiring.storage.folders import CloudFolder
from hiring.storage.manifest import MANIFEST
from hiring.storage.newest import of_database, with_rows
from hiring.tables import TABLES

KEPT_BY_THE_FUNCTION = 7
"""Number of newest backups with rows that the function's pruning keeps, whatever their age."""

REMOVERS = 16
"""Objects that are removed at a time."""


@dataclass(frozen=True)
class Rules:
    """What keeps a backup; only backups with rows count.

    Attributes:
        last: so many of the newest.
        days: those at most so many days older than the newest; an empty backup too.
        weeks: the newest of each of the last so many ISO weeks that have one, in UTC.
        months: the same, for months.
    """

    last: int
    days: int = 0
    weeks: int = 0
    months: int = 0


@dataclass(frozen=True)
class Decision:
    """Whether a folder stays, with the reason."""

    folder: BackupFolder
    stays: bool
    why: str


def rules_of_function(settings: Settings) -> Rules | None:
    """The rules by which the function prunes after a backup; None where it keeps all."""
    kept = settings.keep_backups_days, settings.keep_backups_weeks, settings.keep_backups_months
    return Rules(KEPT_BY_THE_FUNCTION, *(number or 0 for number in kept)) if any(kept) else None


def decide(
    folders: list[BackupFolder],
    database: str,
    rules: Rules,
    now: datetime.datetime | None = None,
) -> list[Decision]:
    """Decides which folders stay.

    Args:
        folders: newest first.
        database: whose backups may be removed.
        rules: that keep backups.
        now: the time; by this machine's clock unless it is given.

    Returns:
        A decision for each folder, in their order.
    """
    own = {each.address: each for each in of_database(folders, database)}
    counting = with_rows(own.values())
    if not counting:
        none = f"no whole backup with rows of database {database} is there"
        return [Decision(each, True, none) for each in folders]
    reference = min(now or datetime.datetime.now(datetime.UTC), counting[0].time)
    kept = _kept(counting, rules, reference)
    last_stored = max(own.values(), key=lambda each: each.stored or each.time)

    def reason_to_stay(folder: BackupFolder) -> str | None:
        if folder.manifest is None:
            return _reason_without_manifest(folder, reference)
        if folder.address not in own:
            return of_another(folder)
        if folder.faults:
            return f"is not whole: {folder.faults[0]}"
        within = _within(folder, rules, reference)
        why = kept.get(folder.address) if folder.rows() else within
        return why or ("is the one stored last" if folder is last_stored else None)

    decisions = []
    for each in folders:
        why = reason_to_stay(each)
        gone = "has no manifest" if each.manifest is None else "is older than what stays"
        decisions.append(Decision(each, why is not None, why or gone))
    return decisions


def of_another(folder: BackupFolder) -> str | None:
    """Says that a backup is another database's; None for a folder without a manifest."""
    return f"is a backup of database {folder.manifest.database}" if folder.manifest else None


def _kept(
    counting: list[BackupFolder], rules: Rules, reference: datetime.datetime
) -> dict[str, str]:
    """The addresses that a rule keeps, each with the first rule that does."""
    weeks = _newest_of_each(counting, lambda time: time.isocalendar()[:2])
    months = _newest_of_each(counting, lambda time: (time.year, time.month))
    kept = [
        (counting[:1], "is the newest with rows"),
        *(
            ([each for each in counting if each.rows([table])][:1], f"is the newest with {table}")
            for table in TABLES
        ),
        (counting[: rules.last], f"is one of the newest {rules.last}"),
        *(([each], why) for each in counting if (why := _within(each, rules, reference))),
        (weeks[: rules.weeks], "is the newest of its week"),
        (months[: rules.months], "is the newest of its month"),
    ]
    return {each.address: why for folders, why in reversed(kept) for each in folders}


def _newest_of_each(
    counting: list[BackupFolder], period: Callable[[datetime.datetime], Hashable]
) -> list[BackupFolder]:
    newest: dict[Hashable, BackupFolder] = {}
    for each in counting:
        newest.setdefault(period(each.time), each)
    return list(newest.values())


def _within(folder: BackupFolder, rules: Rules, reference: datetime.datetime) -> str | None:
    if reference - folder.time <= datetime.timedelta(days=rules.days):
        return f"is within {rules.days} days of the newest"
    return None


def _reason_without_manifest(folder: BackupFolder, reference: datetime.datetime) -> str | None:
    if folder.unreadable:
        return f"has a manifest that cannot be read: {folder.unreadable}"
    if not FOLDER_NAME.fullmatch(folder.name):
        return "has not the name of a backup"
    created = [each.created for each in folder.files.values() if each.created]
    if any(reference - each <= LONGEST_BACKUP for each in created):
        return "has no manifest and may be under way"
    return None if folder.own_files else "holds nothing of a backup"


def remove(
    place: CloudFolder, folders: list[BackupFolder], progress: Callable[[], None] = lambda: None
) -> dict[str, str]:
    """Removes folders as far as possible.

    Args:
        place: of all backups; its deadline ends the removal.
        folders: in it.
        progress: called after each object.

    Returns:
        The address of each object that may still be there, with the reason.
    """

    def remove_file(path: tuple[BackupFolder, str]) -> str:
        folder, name = path
        reason = place.delete(f"{folder.name}/{name}", folder.files[name])
        progress()
        return reason

    left: dict[str, str] = {}
    with ThreadPoolExecutor(REMOVERS) as removers:
        for is_manifest in (True, False):
            paths = [
                (folder, name)
                for folder in folders
                for name in folder.own_files
                if (name == MANIFEST) is is_manifest and folder.address + MANIFEST not in left
            ]
            for (folder, name), reason in zip(paths, removers.map(remove_file, paths), strict=True):
                if reason:
                    left[folder.address + name] = reason
    return left


def after_backup(settings: Settings, rules: Rules, deadline: Deadline) -> dict[str, object]:
    """Prunes after a backup by the function; a failure is a warning, never an error.

    Returns:
        `removed`, the addresses of removed backups; `left`, the reason for each object that could
        not be removed; and `failed`, the reason, if the backups could not be listed.
    """
    try:
        place, folders = read_all(settings, deadline)
        decisions = decide(folders, settings.database, rules)
        going = [each.folder for each in decisions if not each.stays]
        left = remove(place, going)
    except BundleError as error:
        logs.event("prune failed", "WARNING", reason=str(error))
        return {"removed": [], "left": {}, "failed": str(error)}
    removed = [
        each.address for each in going if not any(path.startswith(each.address) for path in left)
    ]
    logs.event("backups pruned", "WARNING" if left else "INFO", removed=removed, left=left)
    return {"removed": removed, "left": left}
