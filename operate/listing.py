"""`manage.py list` prints every folder among the backups, newest first, and why each one stays."""

import argparse
import datetime
import json
from typing import Any

from hiring.deadline import Deadline
from hiring.progress import answer
from hiring.settings import Settings
from hiring.storage import catalog, newest, retention
from hiring.terminal import age_in_words, counted, fitted, table_lines

LIST_SECONDS = 600
"""How long listing the backups may take."""
TERMINAL_WIDTH = 80

NO_RULE = "no rule of KEEP_BACKUPS_DAYS, _WEEKS or _MONTHS is set: all of them stay"

HEADERS = (
    *("backup", "database", "server", "taken at", "age", "rows", "bytes", "invalid", "state"),
)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the list; returns the exit status."""
    place, folders = catalog.read_all(settings, Deadline(LIST_SECONDS))
    entries = _entries(settings, folders)
    if options.json:
        lines = json.dumps(entries, indent=2).splitlines()
    elif options.long:
        lines = table_lines([_details(each) for each in entries], HEADERS)
    else:
        lines = [
            f"{counted(len(folders), 'folder')} in {place.address}",
            *([NO_RULE] if folders and not retention.rules_of_function(settings) else []),
            *(_line(folder, entry) for folder, entry in zip(folders, entries, strict=True)),
        ]
    answer(*lines)
    return 0


def _entries(settings: Settings, folders: list[catalog.BackupFolder]) -> list[dict[str, Any]]:
    """The list's entries, with what the function's next prune would do to each."""
    if rules := retention.rules_of_function(settings):
        decisions = retention.decide(folders, settings.database, rules)
        return [_entry(each.folder) | {"stays": each.stays, "why": each.why} for each in decisions]
    own = {each.address for each in newest.of_database(folders, settings.database)}
    return [
        _entry(each)
        | {"stays": True, "why": None if each.address in own else retention.of_another(each)}
        for each in folders
    ]


def _entry(folder: catalog.BackupFolder) -> dict[str, Any]:
    """The entry for a folder; without a manifest, its age is that of its newest object."""
    manifest = folder.manifest
    created = max(each.created for each in folder.files.values() if each.created)
    age = folder.age if manifest else datetime.datetime.now(datetime.UTC) - created
    return {
        "backup": folder.address,
        "database": manifest.database if manifest else None,
        "server": manifest.server_version if manifest else None,
        "taken_at": manifest.taken_at if manifest else None,
        "age_seconds": round(age.total_seconds()),
        "rows": {name: table.rows + table.invalid_rows for name, table in manifest.tables.items()}
        if manifest
        else {},
        "bytes": sum(each.bytes for each in folder.files.values()),
        "invalid_rows": manifest.invalid_rows if manifest else None,
        "complete": not folder.faults,
        "fault": folder.faults[0] if folder.faults else None,
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


def _line(folder: catalog.BackupFolder, entry: dict[str, Any]) -> str:
    rows = counted(folder.rows(), "row") if folder.manifest else "-"
    return fitted(f"{folder.name:<23} {rows:>12} {_age(entry):>11} {_state(entry)}", TERMINAL_WIDTH)


def _details(entry: dict[str, Any]) -> tuple[object, ...]:
    return (
        entry["backup"],
        entry["database"],
        entry["server"],
        entry["taken_at"],
        _age(entry),
        ", ".join(f"{table} {rows:,}" for table, rows in entry["rows"].items()),
        entry["bytes"],
        entry["invalid_rows"],
        _state(entry),
    )
