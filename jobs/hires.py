"""Hires as the newest complete backup holds them, for the jobs that count them.

A row that Avro can't hold stands in a backup as an invalid record, with its values as MySQL printed
them. The reports count it where its `datetime` falls into a year, so it is read here too.
"""

import decimal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hiring.core.errors import BadSource
from hiring.core.settings import StorageLocation
from loading import backup_source, sources
from loading.manifest import StoredFile

Hires = Counter[tuple[int, int, str | None, str | None]]
"""How many by year, month, department's and job's key; a month can be 0, see `month_of`."""


@dataclass(frozen=True)
class Part:
    """An object of a backup with rows of a table, in Avro or as invalid records."""

    stored: StoredFile
    invalid: bool


def newest_backup(location: StorageLocation) -> backup_source.Backup:
    """The newest complete backup.

    Raises:
        BadSource: there is none.
        StorageFailed: Cloud Storage refused or failed.
    """
    folder = sources.find(f"gs://{location.bucket}/{location.prefix}backups/")
    if found := backup_source.find_backup(folder):
        return backup_source.Backup(found)
    raise BadSource(f"{folder.address} holds no complete backup")


def parts(backup: backup_source.Backup, table: str) -> list[Part]:
    """The objects that together hold a table."""
    stored = backup.table(table)
    return [
        *(Part(each, invalid=False) for each in stored.objects),
        *(Part(each, invalid=True) for each in stored.invalid_objects),
    ]


def rows(backup: backup_source.Backup, part: Part) -> Iterator[dict[str, Any]]:
    """The rows of a part, by column; those of invalid records as MySQL printed them, in bytes.

    Raises:
        BadSource, StorageFailed: the part is not what the manifest says, or can't be read.
    """
    return backup.invalid_records(part.stored) if part.invalid else backup.records(part.stored)


def count(backup: backup_source.Backup, part: Part) -> Hires:
    """The hires of a part of `employees`; one without a `datetime` is in no year."""
    hires: Hires = Counter()
    for row in rows(backup, part):
        if (hired := row["datetime"]) is not None:
            hires[*month_of(hired), key_of(row["department_id"]), key_of(row["job_id"])] += 1
    return hires


def month_of(hired: Any) -> tuple[int, int]:
    """Year and month of a `datetime`: a date, a time, or as MySQL printed it.

    MySQL can hold a month 0. It sorts before January, so that a range of days puts it at the end of
    the year before: `2021-00-15` is a hire of 2020.
    """
    if not isinstance(hired, bytes):
        return hired.year, hired.month
    year, month = int(hired[:4]), int(hired[5:7])
    return (year, month) if month else (year - 1, month)


def key_of(value: Any) -> str | None:
    """An id as text, the same whether it was read from Avro or from an invalid record."""
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
