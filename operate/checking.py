"""`manage.py check` checks that everything that a manifest names exists and is undamaged."""

import argparse

from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.progress import Progress, answer, status
from hiring.settings import Settings
from hiring.storage import catalog
from hiring.storage.folders import find, find_in_cloud
from restore.backup_source import Backup
from restore.choice import LIST_SECONDS, all_backups


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Checks backups and prints each one's state; returns the exit status.

    Raises:
        BadSource: there is no backup to check, or at least one is not whole.
        StorageFailed: Cloud Storage refused or failed.
    """
    broken = 0
    for folder in _chosen(settings, options):
        status("checking backup", backup=folder.address)
        faults = catalog.faults(folder) or ([] if options.quick else _faults_of_content(folder))
        for fault in faults:
            status("fault found", "ERROR", backup=folder.address, fault=fault)
        answer(f"{'damaged' if faults else 'whole':<8} {folder.address}")
        broken += bool(faults)
    if broken:
        raise BadSource(f"{broken} of the checked backups are not whole")
    return 0


def _chosen(settings: Settings, options: argparse.Namespace) -> list[catalog.Folder]:
    deadline = Deadline(LIST_SECONDS)
    if options.address:
        place = find_in_cloud(options.address)
        folder = catalog.read_one(place.location, deadline)
        if not folder.objects:
            raise BadSource(f"{place.address} holds no backup")
        return [folder]
    location = all_backups(settings)
    folders = catalog.read(location, deadline)
    complete = catalog.complete(folders, settings.database)
    # A manifest that cannot be read may belong to this database.
    chosen = [each for each in folders if each.fault or each in complete]
    if not options.all:
        chosen = complete[:1]
    if not chosen:
        raise BadSource(
            f"gs://{location.bucket}/{location.prefix} holds no backup of database"
            f" {settings.database}"
        )
    return chosen


def _faults_of_content(folder: catalog.Folder) -> list[str]:
    """The fault that reading every byte and decoding every row finds, if there is one."""
    try:
        backup = Backup(find(folder.address))
        with Progress("checking", backup.manifest.all_rows()) as progress:
            backup.check(progress)
    except BadSource as error:
        return [str(error)]
    return []
