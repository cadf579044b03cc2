"""`manage.py list` prints every folder among the backups, newest first, and why each one stays."""

import argparse
import datetime
from typing import Any

from hiring.deadline import Deadline
from hiring.progress import answer, answer_json
from hiring.settings import Settings
from hiring.storage import catalog, retention
from hiring.terminal import age_in_words, counted, fitted, table_lines

LIST_SECONDS = 600
"""How long listing the backups may take."""
TERMINAL_WIDTH = 80

NO_RULE = "no rule of KEEP_BACKUPS_DAYS, _WEEKS or _MONTHS is set: all of them stay"

HEADERS = ("backup", "database", "server", "taken at", "age", "rows", "bytes", "invalid", "state")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the list, with what the function's next prune would do; returns the exit status."""
    place, found = catalog.read_all(settings, Deadline(LIST_SECONDS))
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
