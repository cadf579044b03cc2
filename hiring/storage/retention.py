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
from hiring.storage.catalog import FOLDER_NAME, LONGEST_BACKUP, BackupFolder
from hiring.storage.folders import CloudFolder
from hiring.storage.manifest import MANIFEST
from hiring.storage.newest import Backups, read_all
from hiring.storage.storage_client import CONNECTIONS
from hiring.tables import TABLES
from hiring.terminal import counted

KEPT_BY_THE_FUNCTION = 7
"""Number of newest backups with rows that the function's pruning keeps, whatever their age."""


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
    """Whether a folder stays, with the reason; it is empty where no rule is asked."""

    folder: BackupFolder
    stays: bool
    why: str


def rules_of_function(settings: Settings) -> Rules | None:
    """The rules by which the function prunes after a backup; None where it keeps all."""
    kept = settings.keep_backups_days, settings.keep_backups_weeks, settings.keep_backups_months
    return Rules(KEPT_BY_THE_FUNCTION, *(number or 0 for number in kept)) if any(kept) else None


def decide(
    backups: Backups, rules: Rules | None, now: datetime.datetime | None = None
) -> list[Decision]:
    """Decides for each folder whether it stays; only backups of the database may be removed.

    Args:
        backups: all that are there.
        rules: that keep backups; without them all stay.
        now: the time; by this machine's clock unless it is given.
    """
    own, counting = {each.address for each in backups.own}, backups.counting
    reference = min([now or datetime.datetime.now(datetime.UTC), *(x.time for x in counting[:1])])
    kept = _kept(counting, rules, reference) if rules else {}
    last_stored = max(backups.own, key=lambda each: each.stored or each.time, default=None)

    def reason_to_stay(folder: BackupFolder) -> str | None:
        if rules and not counting:
            return f"no whole backup with rows of database {backups.database} is there"
        if folder.manifest and folder.address not in own:
            return f"is a backup of database {folder.manifest.database:.80}"
        if rules is None:
            return ""
        if not FOLDER_NAME.fullmatch(folder.name):
            return "has not the name of a backup"  # a person put it there
        if folder.manifest is None:
            return _reason_without_manifest(folder, reference)
        if folder.faults:
            return f"is not whole: {folder.faults[0]}"
        why = kept.get(folder.address) if folder.rows() else _within(folder, rules, reference)
        return why or ("is the one stored last" if folder is last_stored else None)

    decisions = []
    for each in backups.folders:
        why = reason_to_stay(each)
        gone = "is older than what stays" if each.manifest else "has no manifest"
        decisions.append(Decision(each, why is not None, gone if why is None else why))
    return decisions


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
    return [*{period(each.time): each for each in reversed(counting)}.values()][::-1]


def _within(folder: BackupFolder, rules: Rules, reference: datetime.datetime) -> str | None:
    if reference - folder.time <= datetime.timedelta(days=rules.days):
        return f"is within {counted(rules.days, 'day')} of the newest"
    return None


def _reason_without_manifest(folder: BackupFolder, reference: datetime.datetime) -> str | None:
    if folder.unreadable:
        return f"has a manifest that cannot be read: {folder.unreadable}"
    created = [each.created for each in folder.files.values() if each.created]
    if any(reference - each <= LONGEST_BACKUP for each in created):
        return "has no manifest and may be under way"
    return None if folder.own_files else "holds nothing of a backup"


def remove(
    folders: list[BackupFolder], progress: Callable[[], None] = lambda: None
) -> tuple[list[str], dict[str, str]]:
    """Removes folders in Cloud Storage as far as possible; calls `progress` after each object.

    Returns:
        The addresses of the folders that are gone, and that of each object that may still be there,
        with the reason.
    """

    def remove_file(path: tuple[BackupFolder, str]) -> str:
        folder, name = path
        assert isinstance(folder.source, CloudFolder)
        reason = folder.source.delete(name, folder.files[name])
        progress()
        return reason

    left: dict[str, str] = {}
    with ThreadPoolExecutor(CONNECTIONS) as removers:
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
    gone = [each.address for each in folders if not any(x.startswith(each.address) for x in left)]
    return gone, left


def after_backup(settings: Settings, rules: Rules, deadline: Deadline) -> dict[str, object]:
    """Prunes after a backup; a failure is a warning, never an error.

    Returns:
        What `remove` returns, and as `failed` why the backups could not be listed.
    """
    try:
        decisions = decide(read_all(settings, deadline), rules)
        removed, left = remove([each.folder for each in decisions if not each.stays])
    except BundleError as error:
        logs.event("prune failed", "WARNING", reason=str(error))
        return {"removed": [], "left": {}, "failed": str(error)}
    logs.event("backups pruned", "WARNING" if left else "INFO", removed=removed, left=left)
    return {"removed": removed, "left": left}
