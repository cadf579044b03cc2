"""The newest backup and the newest drill that count, and how old they are.

A backup counts if it is whole and holds rows. One without rows, such as that of the night after a
truncation, neither hides that backups are missing nor takes the place of one with rows.
"""

import contextlib
import datetime
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hiring.deadline import Deadline
from hiring.errors import BackupMissing, BadSource, DrillMissing
from hiring.progress import status
from hiring.settings import Settings
from hiring.storage.catalog import BACKUPS, FOLDER_NAME, BackupFolder, pass_over, read, read_one
from hiring.storage.folders import CloudFolder, ListedFile, SourceFolder
from hiring.storage.manifest import MANIFEST, Manifest
from hiring.tables import TABLES
from hiring.terminal import age_in_words, counted

DRILLS = "drills/"
"""The folder of the records of drills, below the prefix of GCS_PATH."""
GOOD = "good"
"""The result of a drill whose comparisons all held."""
FRESH = datetime.timedelta(days=2)
"""A drill of a backup that was older at the time says nothing about the newest ones."""
RECORD_BYTES = 1024 * 1024
"""The longest record that is read; one has about a thousand bytes."""


@dataclass(frozen=True)
class Backups:
    """The folders in a place, newest first, and which of them count for a database."""

    place: SourceFolder
    folders: list[BackupFolder]
    database: str

    @functools.cached_property
    def own(self) -> list[BackupFolder]:
        """The complete backups of the database.

        Names are compared as the server that was backed up compares them. A manifest that does not
        say how is compared without case, unless there are backups of both spellings.
        https://dev.mysql.com/doc/refman/8.4/en/identifier-case-sensitivity.html
        """
        complete = [(each, each.manifest) for each in self.folders if each.manifest]
        spellings = {manifest.database for _, manifest in complete}
        has_both = [each.lower() for each in spellings].count(self.database.lower()) > 1
        return [each for each, found in complete if is_of(found, self.database, has_both=has_both)]

    @functools.cached_property
    def counting(self) -> list[BackupFolder]:
        """Those of the database that are whole and hold rows."""
        return [each for each in self.own if each.rows() and not each.faults]

    def newest(self, tables: Sequence[str] = TABLES) -> BackupFolder | None:
        """The newest that counts, which must hold a row of the tables; None without a manifest.

        Raises:
            BadSource: none counts, or it has no such row.
        """
        if not any(each.manifest or each.unreadable for each in self.folders):
            return None
        for each in self.own[: self.own.index(self.counting[0]) if self.counting else None]:
            pass_over(each, each.faults[0] if each.faults else "it holds no rows")
        if not self.counting:
            hint = "give the address of one backup, or --from-database"
            raise BadSource(f"{self.none_counts()}; {hint}")
        found = choose(self.counting)
        if not found.rows(tables):
            message = f"the newest backup, {found.address}, holds no rows of {', '.join(tables)}"
            if older := next((each for each in self.counting if each.rows(tables)), None):
                age = age_in_words(older.age)
                message += f"; the newest one with rows is {older.address}, {age} old"
            raise BadSource(f"{message}; give the address of the backup that you mean")
        status("backup found", backup=found.address)
        return found

    def none_counts(self) -> str:
        """Says that no backup of the database counts, and what is there instead."""
        address = self.place.address
        if not self.folders:
            return f"{address} does not exist"
        if self.own:
            newest = self.own[0]
            why = f"is not whole: {newest.faults[0]}" if newest.faults else "holds no rows"
            return (
                f"{address} holds no whole backup with rows of database {self.database};"
                f" the newest, {newest.address}, {why}"
            )
        if others := sorted({each.manifest.database for each in self.folders if each.manifest}):
            names = ", ".join(others)
            return f"{address} holds no backup of database {self.database}, only of {names:.200}"
        unreadable = next((f": {each.unreadable}" for each in self.folders if each.unreadable), "")
        return f"{address} holds no readable backup{unreadable}"


def is_of(manifest: Manifest, database: str, *, has_both: bool = False) -> bool:
    """Whether a backup is of a database; `has_both`: case counts if the manifest does not say."""
    variable = manifest.lower_case_table_names
    with_case = has_both if variable is None else variable == 0
    return manifest.database == database or (
        not with_case and manifest.database.lower() == database.lower()
    )


def choose(counting: list[BackupFolder]) -> BackupFolder:
    """The newest of backups, which are in their order.

    Warns if another one was stored later. By a clock that fell back for less than LONGEST_BACKUP, a
    newer backup looks older, and its two times do not contradict each other.
    """
    chosen = counting[0]
    stored = {each.stored: each for each in counting if each.stored}
    if chosen.stored and (last := max(stored)) > chosen.stored:
        status(
            "another backup was stored later",
            "WARNING",
            backup=chosen.address,
            stored_later=stored[last].address,
            reason="its taken_at is earlier: both ran at the same time, or a clock fell back;"
            " give its address if that is the one you mean",
        )
    return chosen


def read_all(settings: Settings, deadline: Deadline) -> Backups:
    """All backups; warns if there are none, since GCS_PATH may be wrong.

    Raises:
        Misconfigured: GCS_PATH is not set.
        StorageFailed, TimedOut: as `read`.
    """
    above = CloudFolder(settings.require_storage(), deadline)
    place = above.folder(BACKUPS.rstrip("/"))
    folders = read(place)
    if not folders:
        rest = "has other objects" if any(above.entries()) else "has no object at all"
        reason = f"GCS_PATH is {above.address}, which {rest}"
        status("no backups", "WARNING", place=place.address, reason=reason)
    return Backups(place, folders, settings.database)


def find(place: SourceFolder, database: str, tables: Sequence[str] = TABLES) -> BackupFolder | None:
    """The backup in a folder, or the newest one that counts of a database in its subfolders.

    Args:
        place: a backup, or a folder of backups.
        database: whose backups count in a folder of backups.
        tables: that are to be read; the newest backup must hold a row of them.

    Returns:
        The backup; None if neither the folder nor any subfolder has a manifest.

    Raises:
        BadSource: the manifest can't be read, or no backup below the folder counts.
        StorageFailed: Cloud Storage refused or failed.
    """
    names, folders = place.entries()
    if MANIFEST in names:
        found = read_one(place)
        if found.unreadable:
            raise BadSource(found.unreadable)
        status("backup found", backup=found.address)
        return found
    # Otherwise the objects of a whole bucket would be listed.
    if isinstance(place, CloudFolder) and not any(map(FOLDER_NAME.fullmatch, folders)):
        return None
    return Backups(place, read(place), database).newest(tables)


def find_newest(settings: Settings, deadline: Deadline) -> BackupFolder:
    """The newest backup that counts of the settings' database; raises as `find`."""
    backups = read_all(settings, deadline)
    if found := backups.newest():
        return found
    raise BadSource(backups.none_counts())


def check_age(settings: Settings, max_age_hours: int, deadline: Deadline) -> dict[str, object]:
    """The newest backup that counts of the settings' database, and its age in hours.

    Raises:
        BackupMissing: there is none, or none that is young enough.
        StorageFailed: Cloud Storage refused or failed.
    """
    backups = read_all(settings, deadline)
    if not backups.counting:
        raise BackupMissing(backups.none_counts())
    found = choose(backups.counting)
    hours = round(found.age.total_seconds() / 3600, 2)
    if hours > max_age_hours:
        message = (
            f"the newest complete backup with rows of database {settings.database} is {hours}"
            f" hours old, more than {max_age_hours}: {found.address}"
        )
        if newer := backups.own.index(found):
            message += f"; {counted(newer, 'newer one')} without rows or not whole"
        raise BackupMissing(message)
    return {"backup": found.address, "age_hours": hours, "max_age_hours": max_age_hours}


def check_drill_age(settings: Settings, max_age_days: int, deadline: Deadline) -> dict[str, Any]:
    """The newest good drill of the settings' database that counts, and its age in days.

    Raises:
        DrillMissing: there is none, or none that is young enough.
        StorageFailed: Cloud Storage refused or failed.
    """
    database = settings.database
    folder = CloudFolder(settings.require_storage(), deadline).folder(DRILLS.rstrip("/"))

    # By the earlier time, as backups: a clock that was ahead must not hide that drills are missing.
    def time(stored: tuple[str, ListedFile]) -> str:
        name, listed = stored
        return min(name, f"{listed.created:%Y%m%dT%H%M%S.%fZ}" if listed.created else name)

    for name, listed in sorted(folder.files().items(), key=time, reverse=True):
        drill = None
        with contextlib.suppress(BadSource):  # what cannot be read is no drill
            drill = read_drill(folder.read(name, listed)) if listed.bytes < RECORD_BYTES else None
        if drill is None or drill[0] != database:
            continue
        started = min(drill[1], listed.created or drill[1])
        age = datetime.datetime.now(datetime.UTC) - started
        days = round(age.total_seconds() / 86400, 2)
        found = f"{folder.address}{name}"
        if days > max_age_days:
            raise DrillMissing(
                f"the newest good drill of database {database} is {days} days old, more than"
                f" {max_age_days}: {found}"
            )
        return {"drill": found, "age_days": days, "max_drill_age_days": max_age_days}
    raise DrillMissing(f"there is no good drill of database {database} in {folder.address}")


def read_drill(content: bytes) -> tuple[str, datetime.datetime] | None:
    """The database and the start of a good drill of a fresh backup with rows; None for others."""
    try:
        record = json.loads(content)
        taken = datetime.datetime.fromisoformat(record["taken_at"])
        started = datetime.datetime.fromisoformat(record["started_at"])
        counts = record["result"] == GOOD and sum(record["rows"].values()) > 0
        fresh = started.tzinfo is not None and started - taken <= FRESH
        return (str(record["database"]), started) if counts and fresh else None
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None  # anyone who may write to the bucket may have put anything there
