"""Which backups of a database count, and which of them is the newest.

A backup counts if it is whole and holds rows. One without rows, such as that of the night after a
truncation, neither hides that backups are missing nor takes the place of one with rows.
"""

from collections.abc import Iterable, Sequence

from hiring.deadline import Deadline
from hiring.errors import BackupMissing, BadSource
from hiring.progress import status
from hiring.settings import Settings
from hiring.storage.catalog import (
    FOLDER_NAME,
    BackupFolder,
    pass_over,
    read,
    read_all,
    read_one,
)
from hiring.storage.folders import CloudFolder, SourceFolder
from hiring.storage.manifest import MANIFEST, Manifest
from hiring.tables import TABLES
from hiring.terminal import age_in_words, counted


def of_database(folders: Iterable[BackupFolder], database: str) -> list[BackupFolder]:
    """The complete backups of a database, in the order given.

    Names are compared as the server that was backed up compares them. A manifest that does not say
    how is compared without case, unless the folder has backups of both spellings.
    https://dev.mysql.com/doc/refman/8.4/en/identifier-case-sensitivity.html
    """
    complete = [(each, each.manifest) for each in folders if each.manifest]
    spellings = {manifest.database for _, manifest in complete}
    has_both = [each.lower() for each in spellings].count(database.lower()) > 1
    return [each for each, manifest in complete if is_of(manifest, database, has_both=has_both)]


def is_of(manifest: Manifest, database: str, *, has_both: bool = False) -> bool:
    """Whether a backup is of a database; `has_both`: case counts if the manifest does not say."""
    variable = manifest.lower_case_table_names
    with_case = has_both if variable is None else variable == 0
    return manifest.database == database or (
        not with_case and manifest.database.lower() == database.lower()
    )


def with_rows(folders: Iterable[BackupFolder]) -> list[BackupFolder]:
    """Those that count: whole, and with rows; in the order given."""
    return [each for each in folders if each.rows() and not each.faults]


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
    return _newest(read(place), place.address, database, tables)


def find_newest(settings: Settings, deadline: Deadline) -> BackupFolder:
    """The newest backup that counts of the settings' database.

    Raises: as `find`.
    """
    place, folders = read_all(settings, deadline)
    found = _newest(folders, place.address, settings.database, TABLES)
    if not found:
        raise BadSource(none_counts(folders, place.address, settings.database))
    return found


def _newest(
    folders: list[BackupFolder], address: str, database: str, tables: Sequence[str]
) -> BackupFolder | None:
    if not any(each.manifest or each.unreadable for each in folders):
        return None
    own = of_database(folders, database)
    counting = with_rows(own)
    for each in own[: own.index(counting[0]) if counting else None]:
        pass_over(each, each.faults[0] if each.faults else "it holds no rows")
    if not counting:
        hint = "give the address of one backup, or --from-database"
        raise BadSource(f"{none_counts(folders, address, database)}; {hint}")
    found = choose(counting)
    if not found.rows(tables):
        raise BadSource(_without_rows(counting, tables))
    status("backup found", backup=found.address)
    return found


def none_counts(folders: list[BackupFolder], address: str, database: str) -> str:
    """Says that no backup of a database counts, and what is there instead."""
    if not folders:
        return f"{address} does not exist"
    if own := of_database(folders, database):
        why = f"is not whole: {own[0].faults[0]}" if own[0].faults else "holds no rows"
        return (
            f"{address} holds no whole backup with rows of database {database};"
            f" the newest, {own[0].address}, {why}"
        )
    if others := sorted({each.manifest.database for each in folders if each.manifest}):
        return f"{address} holds no backup of database {database}, only of {', '.join(others)}"
    unreadable = next((f": {each.unreadable}" for each in folders if each.unreadable), "")
    return f"{address} holds no readable backup{unreadable}"


def _without_rows(counting: list[BackupFolder], tables: Sequence[str]) -> str:
    message = f"the newest backup, {counting[0].address}, holds no rows of {', '.join(tables)}"
    if older := next((each for each in counting if each.rows(tables)), None):
        message += f"; the newest one with rows is {older.address}, {age_in_words(older.age)} old"
    return f"{message}; give the address of the backup that you mean"


def check_age(settings: Settings, max_age_hours: int, deadline: Deadline) -> dict[str, object]:
    """The newest backup that counts of the settings' database, and its age in hours.

    Raises:
        BackupMissing: there is none, or none that is young enough.
        StorageFailed: Cloud Storage refused or failed.
    """
    place, folders = read_all(settings, deadline)
    own = of_database(folders, settings.database)
    counting = with_rows(own)
    if not counting:
        raise BackupMissing(none_counts(folders, place.address, settings.database))
    found = choose(counting)
    hours = round(found.age.total_seconds() / 3600, 2)
    if hours > max_age_hours:
        message = (
            f"the newest complete backup with rows of database {settings.database} is {hours}"
            f" hours old, more than {max_age_hours}: {found.address}"
        )
        if newer := own.index(found):
            message += f"; {counted(newer, 'newer one')} without rows or not whole"
        raise BackupMissing(message)
    return {"backup": found.address, "age_hours": hours, "max_age_hours": max_age_hours}
