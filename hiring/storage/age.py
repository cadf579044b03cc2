"""Finds the newest complete backup and its age."""

import datetime
from typing import Any

from hiring.deadline import Deadline
from hiring.errors import BackupMissing
from hiring.settings import StorageLocation
from hiring.storage import catalog
from hiring.storage.manifest import MANIFEST


def newest(
    location: StorageLocation, database: str, max_age_hours: int, deadline: Deadline
) -> dict[str, Any]:
    """The newest complete backup of a database and its age.

    The age is that of the snapshot, or of the stored manifest where that is older: a database
    server whose clock is ahead must not hide that backups are missing.

    Raises:
        BackupMissing: there is none, or none that is young enough.
        StorageFailed: Cloud Storage refused or failed.
    """
    now = datetime.datetime.now(datetime.UTC)
    ages = {
        folder.address: now - min(folder.manifest.time, folder.objects[MANIFEST].created)
        for folder in catalog.complete(
            catalog.read(catalog.all_backups(location), deadline), database
        )
        if folder.manifest and not catalog.faults(folder)
    }
    if not ages:
        raise BackupMissing(f"there is no complete backup of database {database}")
    address, age = min(ages.items(), key=lambda item: item[1])
    hours = round(age.total_seconds() / 3600, 2)
    if hours > max_age_hours:
        raise BackupMissing(
            f"the newest complete backup of database {database} is {hours} hours old, more than"
            f" {max_age_hours}: {address}"
        )
    return {"backup": address, "age_hours": hours, "max_age_hours": max_age_hours}
