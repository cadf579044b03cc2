"""`manage.py list` prints every folder among the backups, newest first, and why each one stays."""

import argparse
import datetime
import json
from typing import Any

from hiring.deadline import Deadline
from hiring.progress import answer
from hiring.settings import Settings
from hiring.storage import catalog, retention
from hiring.terminal import age_in_words, counted, fitted, table_lines

LIST_SECONDS = 600
"""How long listing the backups may take."""
TERMINAL_WIDTH = 80

HEADERS = (
    *("backup", "database", "server", "taken at", "age", "rows", "bytes", "invalid", "state"),
)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the list; returns the exit status."""
    deadline = Deadline(LIST_SECONDS)
    place = catalog.all_backups(settings, deadline)
    folders = catalog.read_all(settings, deadline)
    entries = _entries(settings, folders)
    if options.json:
        lines = json.dumps(entries, indent=2).splitlines()
    elif options.long:
        lines = table_lines([_details(each) for each in entries], HEADERS)
    else:
        lines = [
            f"{counted(len(folders), 'folder')} in {place.address}",
            *(_line(folder, entry) for folder, entry in zip(folders, entries, strict=True)),
        ]
    for line in lines:
        answer(line)
    return 0


def _entries(settings: Settings, folders: list[catalog.BackupFolder]) -> list[dict[str, Any]]:
    """The list's entries, with what the function's next prune would do to each."""
    rules = retention.rules_of_function(settings)
    if not rules:
        return [_entry(each) | {"stays": True, "why": None} for each in folders]
    return [
        _entry(each.folder) | {"stays": each.stays, "why": each.why}
        for each in retention.decide(folders, settings.database, rules)
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
    return fitted(
        f"{folder.name:<23} {rows:>12} {_age(entry):>10}  {_state(entry)}", TERMINAL_WIDTH
    )


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
