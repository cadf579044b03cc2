"""`manage.py check` checks that everything that a manifest names exists and is undamaged."""

import argparse

from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.progress import Progress, answer, status
from hiring.settings import Settings
from hiring.storage import catalog, folders, newest
from hiring.terminal import counted
from restore.backup_source import Backup


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Checks backups and prints each one's state; returns the exit status.

    Raises:
        BadSource: there is no backup to check, or at least one is not whole.
    """
    broken = 0
    for folder in _chosen(settings, options):
        status("checking backup", backup=folder.address)
        faults = folder.faults or ([] if options.quick else _faults_of_content(folder))
        for fault in faults:
            status("fault found", "ERROR", backup=folder.address, fault=fault)
        state = "damaged" if faults else "whole" if folder.rows() else "empty"
        answer(f"{state:<8} {folder.address}")
        broken += bool(faults)
    if broken:
        raise BadSource(f"{counted(broken, 'checked backup')} not whole")
    return 0


def _chosen(settings: Settings, options: argparse.Namespace) -> list[catalog.BackupFolder]:
    if options.address:
        folder = catalog.read_one(folders.find_in_cloud(options.address))
        if not folder.files:
            raise BadSource(f"{folder.address} holds no backup")
        return [folder]
    place, found = catalog.read_all(settings, Deadline(folders.COMMAND_SECONDS))
    own = newest.of_database(found, settings.database)
    if options.all:
        # A folder without a manifest that can be read may be of this database.
        unknown = [each for each in found if not each.manifest and each.own_files]
        chosen = [*own, *unknown]
    else:
        full = [each for each in own if each.rows()]
        chosen = [newest.choose(full)] if full else own[:1]
    if not chosen:
        raise BadSource(newest.none_counts(found, place.address, settings.database))
    return chosen


def _faults_of_content(folder: catalog.BackupFolder) -> list[str]:
    """The fault that reading every byte and decoding every row finds, if there is one."""
    try:
        backup = Backup(folder)
        with Progress("checking", backup.manifest.all_rows()) as progress:
            backup.check(progress)
    except BadSource as error:
        return [str(error)]
    return []
