"""The hires of the newest complete backup, for the jobs that count them.

A backup keeps a row that Avro cannot hold as an invalid record, with its values as MySQL prints
them. The reports count such a row in the year of its `datetime`, so the jobs read it too.
"""

import decimal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hiring.storage.manifest import StoredFile
from restore import backup_source

Hires = Counter[tuple[int, int, str | None, str | None]]
"""Number of hires by year, month, department's key and job's key."""


@dataclass(frozen=True)
class StoredPart:
    """An object of a backup with rows of one table, in Avro or as invalid records."""

    stored: StoredFile
    invalid: bool


def parts(backup: backup_source.Backup, table: str) -> list[StoredPart]:
    """The objects that together hold a table."""
    stored = backup.manifest.tables[table]
    return [
        *(StoredPart(each, invalid=False) for each in stored.objects),
        *(StoredPart(each, invalid=True) for each in stored.invalid_objects),
    ]


def rows(backup: backup_source.Backup, part: StoredPart) -> Iterator[dict[str, Any]]:
    """The rows of a part, by column; values of invalid records are bytes as MySQL prints them.

    Raises:
        BadSource, StorageFailed: the part differs from the manifest, or cannot be read.
    """
    return backup.invalid_records(part.stored) if part.invalid else backup.records(part.stored)


def count(backup: backup_source.Backup, part: StoredPart) -> Hires:
    """Counts the hires of a part of `employees`; a hire without a `datetime` is in no year."""
    hires: Hires = Counter()
    for row in rows(backup, part):
        if (hired := row["datetime"]) is not None:
            hires[*month_of(hired), key_of(row["department_id"]), key_of(row["job_id"])] += 1
    return hires


def month_of(hired: Any) -> tuple[int, int]:
    """Year and month of a `datetime`: a date, a time, or the text that MySQL prints.

    MySQL allows the month 0, which sorts before January. In a range of days it belongs to the end
    of the year before: `2021-00-15` is a hire of 2020.
    """
    if not isinstance(hired, bytes):
        return hired.year, hired.month
    year, month = int(hired[:4]), int(hired[5:7])
    return (year, month) if month else (year - 1, month)


def key_of(value: Any) -> str | None:
    """An id as text, equal for Avro and invalid records."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    return None if value is None else str(value)


def names(backup: backup_source.Backup, table: str, column: str) -> dict[str, tuple[Any, Any]]:
    """The ids and names of `departments` or `jobs`, small tables, by the ids' keys.

    Args:
        backup: to read from.
        table: which.
        column: that holds the names.
    """
    found = {}
    for part in parts(backup, table):
        for row in rows(backup, part):
            identity, name = row["id"], row[column]
            if part.invalid:
                identity, name = _identity(identity), key_of(name)
            found[str(key_of(identity))] = identity, name
    return found


def _identity(printed: bytes) -> int | str:
    text = str(key_of(printed))
    return int(text) if text.isascii() and text.isdigit() else text
