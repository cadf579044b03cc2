"""The hires of a backup by department and month, for the forecast.

An invalid record, which holds its values as MySQL prints them, is a hire like any other.
"""

import decimal
from collections import Counter
from collections.abc import Iterator
from typing import Any

from restore.backup_source import Backup


def count_hires(backup: Backup) -> Counter[tuple[int, str]]:
    """Number of hires by month, counted from the year 0, and the department's key.

    Raises:
        BadSource, StorageFailed: an object differs from the manifest, or cannot be read.
    """
    hires: Counter[tuple[int, str]] = Counter()
    for row in _rows(backup, "employees"):
        if row["datetime"] is not None and row["department_id"] is not None:
            day = _text(row["datetime"])
            year, month = int(day[:4]), int(day[5:7])
            if month:  # MySQL allows the month 0
                hires[year * 12 + month - 1, _text(row["department_id"])] += 1
    return hires


def departments(backup: Backup) -> dict[str, tuple[Any, Any]]:
    """The ids and names of the departments, by key.

    Raises:
        BadSource, StorageFailed: as `count_hires`.
    """
    return {
        _text(row["id"]): (_plain(row["id"]), _plain(row["department"]))
        for row in _rows(backup, "departments")
    }


def _rows(backup: Backup, table: str) -> Iterator[dict[str, Any]]:
    stored = backup.manifest.tables[table]
    for each in stored.objects:
        yield from backup.records(each)
    for each in stored.invalid_objects:
        yield from backup.invalid_records(each)


def _text(value: Any) -> str:
    """A value as MySQL prints it."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return f"{value:f}" if isinstance(value, decimal.Decimal) else str(value)


def _plain(value: Any) -> Any:
    """A value of an invalid record as one of a valid row."""
    if not isinstance(value, bytes):
        return value
    return int(value) if value.isdigit() else _text(value)
