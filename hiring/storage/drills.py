"""The records of drills: which backup was restored on trial, when, and with what result."""

import datetime
import json
from typing import Any

from hiring.deadline import Deadline
from hiring.errors import DrillMissing
from hiring.settings import Settings
from hiring.storage.folders import CloudFolder

DRILLS = "drills/"
"""The folder of the records, below the prefix of GCS_PATH."""
GOOD = "good"
"""The result of a drill whose comparisons all held."""
FRESH = datetime.timedelta(days=2)
"""A drill of a backup that was older at the time says nothing about the newest ones."""
RECORD_BYTES = 1024 * 1024
"""The longest record that is read; one has about a thousand bytes."""


def check_age(settings: Settings, max_age_days: int, deadline: Deadline) -> dict[str, Any]:
    """The newest good drill of a database that counts, and its age.

    Raises:
        DrillMissing: there is none, or none that is young enough.
        StorageFailed: Cloud Storage refused or failed.
    """
    database = settings.database
    folder = CloudFolder(settings.require_storage(), deadline).folder(DRILLS.rstrip("/"))
    for name, listed in sorted(folder.files().items(), reverse=True):
        drill = read_record(folder.read(name, listed)) if listed.bytes < RECORD_BYTES else None
        if drill is None or drill[0] != database:
            continue
        # A clock that was ahead must not hide that drills are missing.
        started = min(drill[1], listed.created or drill[1])
        age = datetime.datetime.now(datetime.UTC) - started
        days = round(age.total_seconds() / 86400, 2)
        found = f"{folder.address}{name}"
        if days > max_age_days:
            raise DrillMissing(
                f"the newest good drill of database {database} is {days} days old, more than"
                f" {max_age_days}: {found}"
            )
        return {"drill": found, "age_days": days, "max_drill_age_days": max_age_days}
    raise DrillMissing(f"there is no good drill of database {database} in {folder.address}")


def read_record(content: bytes) -> tuple[str, datetime.datetime] | None:
    """The database and the start of a good drill of a fresh backup with rows; None for others."""
    try:
        record = json.loads(content)
        taken = datetime.datetime.fromisoformat(record["taken_at"])
        started = datetime.datetime.fromisoformat(record["started_at"])
        counts = record["result"] == GOOD and sum(record["rows"].values()) > 0
        fresh = started - taken <= FRESH
        return (str(record["database"]), started) if counts and fresh else None
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None  # anyone who may write to the bucket may have put anything there
