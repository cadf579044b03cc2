"""The commands on backups: `backup`, `list`, `check`, `prune` and `bigquery`."""

import argparse
import datetime
from typing import Any

import backup
from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.progress import Progress, answer, answer_json, status
from hiring.settings import Settings
from hiring.storage import catalog, folders, newest, retention
from hiring.tables import TABLES
from hiring.terminal import age_in_words, confirm, counted, fitted, for_shell
from operate import endings
from restore.backup_source import Backup

TERMINAL_WIDTH = 80

NO_RULE = "no rule of KEEP_BACKUPS_DAYS, _WEEKS or _MONTHS is set: all of them stay"

LOAD = (
    *("load", "--source_format=AVRO", "--use_avro_logical_types"),
    # BigQuery takes the first type that holds a column's digits.
    *(f"--decimal_target_types={each}" for each in ("NUMERIC", "BIGNUMERIC", "STRING")),
)


def run_backup(settings: Settings, _: argparse.Namespace, deadline: Deadline) -> int:
    """Takes a backup, prunes as the settings say, and prints what the function would answer."""
    answer_json(backup.take(settings, deadline))
    return 0


def run_list(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Prints every folder, newest first, and what the function's next prune would do with it."""
    backups = newest.read_all(settings, deadline)
    rules = retention.rules_of_function(settings)
    entries = [_entry(each) for each in retention.decide(backups, rules)]
    if options.long:
        answer_json(entries)
    else:
        answer(
            f"{counted(len(entries), 'folder')} in {backups.place.address}",
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


def _state(entry: dict[str, Any]) -> str:
    """Why the folder stays or goes; without rules, whether it is whole."""
    if entry["why"]:
        return f"{'' if entry['stays'] else 'goes: '}{entry['why']}"
    if entry["fault"]:
        return str(entry["fault"])
    return "complete" if any(entry["rows"].values()) else "complete, without rows"


def _line(entry: dict[str, Any]) -> str:
    name = entry["backup"].removesuffix("/").rpartition("/")[2]
    rows = counted(sum(entry["rows"].values()), "row") if entry["rows"] else "-"
    age = age_in_words(datetime.timedelta(seconds=entry["age_seconds"]))
    return fitted(f"{name:<23} {rows:>12} {age:>11} {_state(entry)}", TERMINAL_WIDTH)


def run_check(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Checks that all that manifests name is there and undamaged; prints each backup's state.

    Raises BadSource if there is no backup, or one is not whole.
    """
    broken = 0
    for folder in _chosen(settings, options, deadline):
        status("checking backup", backup=folder.address)
        faults = folder.faults
        if not faults and not options.quick:
            try:
                source = Backup(folder)
                with Progress("checking", source.manifest.all_rows()) as progress:
                    source.check(progress)
            except BadSource as error:
                faults = [str(error)]
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
        if not folder.own_files:
            raise BadSource(f"{folder.address} is no backup")
        return [folder]
    backups = newest.read_all(settings, deadline)
    if options.all:
        # A folder without a manifest that can be read may be of this database.
        unknown = [each for each in backups.folders if not each.manifest and each.own_files]
        chosen = backups.own + unknown
    else:
        full = [each for each in backups.own if each.rows()]
        chosen = [newest.choose(full)] if full else backups.own[:1]
    if not chosen:
        raise BadSource(backups.none_counts())
    return chosen


def run_prune(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Removes the backups that no rule keeps, and prints why the others stay."""
    backups = newest.read_all(settings, deadline)
    rules = retention.Rules(
        options.keep_last, options.keep_days, options.keep_weekly, options.keep_monthly
    )
    decisions = retention.decide(backups, rules)
    answer(*(f"{'stays' if x.stays else 'goes':<6} {x.folder.address} {x.why}" for x in decisions))
    going = [each.folder for each in decisions if not each.stays]
    if options.dry_run:
        return 0
    if going and not options.yes:
        confirm(f"Remove {counted(len(going), 'folder')} of {backups.place.address}?")
    objects = sum(len(each.own_files) for each in going)
    with Progress("removing", objects, "object") as progress:
        gone, left = retention.remove(going, progress)
    for address, why in left.items():
        status("not removed", "ERROR", object=address, reason=why)
    answer(f"{len(gone)} of {counted(len(going), 'folder')} removed")
    return endings.UNFINISHED if left else 0


def run_bigquery(_: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Prints the `bq` commands that load one backup into BigQuery.

    https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-avro
    """
    folder = folders.find_in_cloud(options.address, deadline)
    manifest = Backup(catalog.read_one(folder)).manifest
    answer(
        f"# Backup of database {manifest.database}, taken at {manifest.taken_at}.",
        f"# The dataset must be in the location of bucket {folder.bucket}.",
    )
    for name in TABLES:
        table = manifest.tables[name]
        answer("", f"# Table {name}: {counted(table.rows, 'row')}.")
        if table.invalid_rows:
            answer(f"# Not in it: {counted(table.invalid_rows, 'invalid record')}, in invalid/.")
        addresses = ",".join(folder.address + stored.name for stored in table.objects)
        answer(for_shell(["bq", *LOAD, f"{options.dataset}.{name}", addresses]))
    return 0
