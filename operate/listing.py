"""`manage.py list` prints every folder among the backups, newest first."""

import argparse
import datetime
import json
from typing import Any

import tabulate

from hiring.deadline import Deadline
from hiring.progress import answer
from hiring.settings import Settings
from hiring.storage import catalog
from restore.choice import LIST_SECONDS, all_backups


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the list; returns the exit status."""
    entries = [_entry(each) for each in catalog.read(all_backups(settings), Deadline(LIST_SECONDS))]
    if options.json:
        answer(json.dumps(entries, indent=2, ensure_ascii=False))
        return 0
    rows = [
        (
            each["backup"],
            each["database"],
            each["server"],
            each["taken_at"],
            catalog.age_in_words(each["age_seconds"]),
            ", ".join(f"{table} {rows:,}" for table, rows in each["rows"].items()),
            each["bytes"],
            each["invalid_rows"],
            "complete" if each["complete"] else each["fault"],
        )
        for each in entries
    ]
    headers = (
        *("backup", "database", "server", "taken at", "age", "rows", "bytes", "invalid", "state"),
    )
    answer(tabulate.tabulate(rows, headers, intfmt=","))
    return 0


def _entry(folder: catalog.Folder) -> dict[str, Any]:
    """The list's entry for a folder; without a manifest, its age is that of its newest object."""
    manifest = folder.manifest
    created = max(each.created for each in folder.objects.values())
    faults = catalog.faults(folder)
    age = datetime.datetime.now(datetime.UTC) - (manifest.time if manifest else created)
    return {
        "backup": folder.address,
        "database": manifest.database if manifest else None,
        "server": manifest.server_version if manifest else None,
        "taken_at": manifest.taken_at if manifest else None,
        "age_seconds": round(age.total_seconds()),
        "rows": {name: table.rows + table.invalid_rows for name, table in manifest.tables.items()}
        if manifest
        else {},
        "bytes": sum(each.bytes for each in folder.objects.values()),
        "invalid_rows": manifest.invalid_rows if manifest else None,
        "complete": not faults,
        "fault": faults[0] if faults else None,
    }
