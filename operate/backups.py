"""`manage.py backup`, `list`, `check` and `prune`: take backups, show, compare and remove them."""

import argparse
import datetime
from typing import Any

import backup
from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.progress import Progress, answer, answer_json, status
from hiring.settings import Settings
from hiring.storage import catalog, folders, newest, retention
from hiring.terminal import age_in_words, confirm, counted, fitted, table_lines
from operate import endings
from restore.backup_source import Backup

TERMINAL_WIDTH = 80

NO_RULE = "no rule of KEEP_BACKUPS_DAYS, _WEEKS or _MONTHS is set: all of them stay"

HEADERS = ("backup", "database", "server", "taken at", "age", "rows", "bytes", "invalid", "state")


def run_backup(settings: Settings, _: argparse.Namespace, deadline: Deadline) -> int:
    """Takes a backup, prunes as the settings say, and prints what the function would answer."""
    answer_json(backup.take(settings, deadline))
    return 0


def run_list(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Prints every folder, newest first, and what the function's next prune would do with it."""
    place, found = catalog.read_all(settings, deadline)
    rules = retention.rules_of_function(settings)
    entries = [_entry(each) for each in retention.decide(found, settings.database, rules)]
    if options.json:
        answer_json(entries)
    elif options.long:
        answer(*table_lines([_details(each) for each in entries], HEADERS))
    else:
        answer(
            f"{counted(len(entries), 'folder')} in {place.address}",
            *([NO_RULE] if entries and not rules else []),
            *map(_line, entries),
        )
    return 0


def _entry(decision: retention.Decision) -> dict[str, Any]:
    """The entry for a folder; without a manifest, its age is that of its newest object."""
    folder, manifest = decision.folder, decision.folder.manifest
    created = max(each.created for each in folder.files.values() if each.created)
    age = folder.age if manifest else datetime.datetime.now(datetime.UTC) - created
    return {
        "backup": folder.address,
        "database": manifest.database if manifest else None,
        "server": manifest.server_version if manifest else None,
        "taken_at": manifest.taken_at if manifest else None,
        "age_seconds": round(age.total_seconds()),
        "rows": {name: manifest.all_rows([name]) for name in manifest.tables} if manifest else {},
        "bytes": sum(each.bytes for each in folder.files.values()),
        "invalid_rows": manifest.invalid_rows if manifest else None,
        "complete": not folder.faults,
        "fault": folder.faults[0] if folder.faults else None,
        "stays": decision.stays,
        "why": decision.why or None,
    }


def _age(entry: dict[str, Any]) -> str:
    return age_in_words(datetime.timedelta(seconds=entry["age_seconds"]))


def _state(entry: dict[str, Any]) -> str:
    """Why the folder stays or goes; without rules, whether it is whole."""
    if entry["why"]:
        return f"{'' if entry['stays'] else 'goes: '}{entry['why']}"
    if entry["fault"]:
        return str(entry["fault"])
    return "complete" if any(entry["rows"].values()) else "complete, without rows"


def _line(entry: dict[str, Any]) -> str:
    name = entry["backup"].rstrip("/").rpartition("/")[2]
    rows = counted(sum(entry["rows"].values()), "row") if entry["rows"] else "-"
    return fitted(f"{name:<23} {rows:>12} {_age(entry):>11} {_state(entry)}", TERMINAL_WIDTH)


def _details(entry: dict[str, Any]) -> tuple[object, ...]:
    rows = ", ".join(f"{table} {number:,}" for table, number in entry["rows"].items())
    return (
        *(entry[name] for name in ("backup", "database", "server", "taken_at")),
        *(_age(entry), rows, entry["bytes"], entry["invalid_rows"], _state(entry)),
    )


def run_check(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Checks that all that manifests name is there and undamaged; prints each backup's state.

    Raises:
        BadSource: there is no backup to check, or at least one is not whole.
    """
    broken = 0
    for folder in _chosen(settings, options, deadline):
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


def _chosen(
    settings: Settings, options: argparse.Namespace, deadline: Deadline
) -> list[catalog.BackupFolder]:
    if options.address:
        folder = catalog.read_one(folders.find_in_cloud(options.address, deadline))
        if not folder.files:
            raise BadSource(f"{folder.address} holds no backup")
        return [folder]
    place, found = catalog.read_all(settings, deadline)
    own = newest.of_database(found, settings.database)
    if options.all:
        # A folder without a manifest that can be read may be of this database.
        chosen = [*own, *(each for each in found if not each.manifest and each.own_files)]
    else:
        full = [each for each in own if each.rows()]
        chosen = [newest.choose(full)] if full else own[:1]
    if not chosen:
        raise BadSource(newest.none_counts(found, place.address, settings.database))
    return chosen


def _faults_of_content(folder: catalog.BackupFolder) -> list[str]:
    """The fault that reading every byte and decoding every row finds, if there is one."""
    try:
        source = Backup(folder)
        with Progress("checking", source.manifest.all_rows()) as progress:
            source.check(progress)
    except BadSource as error:
        return [str(error)]
    return []


def run_prune(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Removes the backups that no rule keeps, and prints why the others stay."""
    place, found = catalog.read_all(settings, deadline)
    rules = retention.Rules(
        options.keep_last, options.keep_days, options.keep_weekly, options.keep_monthly
    )
    decisions = retention.decide(found, settings.database, rules)
    answer(*(f"{'stays' if x.stays else 'goes':<6} {x.folder.address} {x.why}" for x in decisions))
    going = [each.folder for each in decisions if not each.stays]
    if options.dry_run:
        return 0
    if going and not options.yes:
        confirm(f"Remove {counted(len(going), 'folder')} of {place.address}?")
    objects = sum(len(each.own_files) for each in going)
    with Progress("removing", objects, "object") as progress:
        gone, left = retention.remove(place, going, progress)
    for address, why in left.items():
        status("not removed", "ERROR", object=address, reason=why)
    answer(f"{len(gone)} of {counted(len(going), 'folder')} removed")
    return endings.UNFINISHED if left else 0
