"""Chooses a backup: the one at an address, or a database's newest one in a folder of backups.

Right after a truncation, the newest complete backup may hold no rows; it may also be of another
database that shares GCS_PATH. Restoring it would lose the present rows, so neither is chosen unless
the operator names it.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.progress import status
from hiring.settings import Settings, StorageLocation
from hiring.storage import catalog
from hiring.storage.folders import CloudFolder, LocalFolder, SourceFolder, find
from hiring.storage.manifest import MANIFEST, read_manifest
from hiring.tables import TABLES
from restore.backup_source import Backup

LIST_SECONDS = 600
"""How long listing the backups may take."""


def all_backups(settings: Settings) -> StorageLocation:
    """The location of all backups.

    Raises:
        Misconfigured: GCS_PATH is not set.
    """
    return catalog.all_backups(settings.require_storage())


def newest_backup(settings: Settings) -> Backup:
    """The newest complete backup of the settings' database.

    Raises:
        BadSource: there is none, or it holds no rows.
        StorageFailed: Cloud Storage refused or failed.
    """
    location = all_backups(settings)
    folder = find(f"gs://{location.bucket}/{location.prefix}")
    if found := find_backup(folder, settings.database):
        return found
    raise BadSource(f"{folder.address} holds no complete backup")


def find_backup(
    folder: SourceFolder, database: str, tables: Sequence[str] = TABLES
) -> Backup | None:
    """The backup in a folder, or the newest complete one of a database in its subfolders.

    Args:
        folder: a backup, or a folder of backups.
        database: whose backups count in a folder of backups.
        tables: that are to be read; the newest backup must hold a row of them.

    Returns:
        The backup; None if neither the folder nor any subfolder has a manifest.

    Raises:
        BadSource: no whole backup in the folder is of the database, or the newest holds no rows.
        StorageFailed: Cloud Storage refused or failed.
    """
    if MANIFEST in folder.names():
        return _found(folder)
    backups = _backups_in(folder)
    for each in backups:
        if each.fault:
            status("backup passed over", "WARNING", backup=each.address, reason=each.fault)
    complete = catalog.complete(backups, database)
    if not complete:
        others = sorted({each.manifest.database for each in backups if each.manifest})
        broken = [each for each in backups if each.fault]
        if not others and broken:
            raise BadSource(f"{folder.address} holds no readable backup: {broken[0].fault}")
        if not others:
            return None
        raise BadSource(
            f"{folder.address} holds no backup of database {database}, only of {', '.join(others)};"
            " give the address of one backup, or --from-database"
        )
    whole = _from_first_whole(complete)
    _check_holds_rows(whole, tables)
    return _found(find(whole[0].address))


def _from_first_whole(complete: list[catalog.Folder]) -> list[catalog.Folder]:
    """The newest backup whose objects all exist, and those before it."""
    for place, each in enumerate(complete):
        # The listing of a bucket has told all sizes and checksums already.
        faults = catalog.faults(each) if each.objects else _faults_of_files(each)
        if not faults:
            return complete[place:]
        status("backup passed over", "WARNING", backup=each.address, reason=faults[0])
    raise BadSource(f"{each.address} is not whole: {faults[0]}")


def _faults_of_files(backup: catalog.Folder) -> list[str]:
    """How a backup on this machine differs from its manifest, without reading its files."""
    folder, sentences = LocalFolder(Path(backup.address)), []
    for stored in backup.manifest.files if backup.manifest else ():
        try:
            size = folder.size(stored.name)
        except BadSource as error:
            sentences.append(str(error))
            continue
        if size != stored.bytes:
            sentences.append(f"{stored.name} has {size} bytes, its manifest says {stored.bytes}")
    return sentences


def _found(folder: SourceFolder) -> Backup:
    status("backup found", backup=folder.address)
    return Backup(folder)


def _check_holds_rows(complete: list[catalog.Folder], tables: Sequence[str]) -> None:
    manifests = [each.manifest for each in complete if each.manifest]
    if manifests[0].all_rows(tables):
        return
    message = f"the newest backup, {complete[0].address}, holds no rows"
    if len(tables) < len(TABLES):
        message += f" of {', '.join(tables)}"
    for folder, manifest in zip(complete, manifests, strict=True):
        if manifest.all_rows(tables):
            age = datetime.datetime.now(datetime.UTC) - manifest.time
            message += (
                f"; the newest one with rows is {folder.address},"
                f" {catalog.age_in_words(age.total_seconds())} old"
            )
            break
    raise BadSource(f"{message}; give the address of the backup that you mean")


def _backups_in(folder: SourceFolder) -> list[catalog.Folder]:
    folders = folder.folders()
    if not isinstance(folder, CloudFolder):
        return catalog.newest_first(
            _described(each) for each in folders if MANIFEST in each.names()
        )
    # Without this check, the objects of a whole bucket would be listed.
    names = (PurePosixPath(each.address).name for each in folders)
    if not any(catalog.FOLDER_NAME.fullmatch(name) for name in names):
        return []
    return catalog.read(folder.location, Deadline(LIST_SECONDS))


def _described(folder: SourceFolder) -> catalog.Folder:
    try:
        return catalog.Folder(folder.address, read_manifest(folder.read(MANIFEST)))
    except BadSource as error:
        return catalog.Folder(folder.address, None, str(error))
