"""The hires of a backup by department and month, for the forecast."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from restore.backup_source import Backup

YEAR = 12  # months
LONGEST = 10 * YEAR
"""Maximum number of months to learn from; older ones say little about next year."""

Months = npt.NDArray[np.float64]
"""Number of hires in consecutive months."""


@dataclass(frozen=True)
class History:
    """The hires of each department, by its id, in the months from `start` to before `end`.

    Months are counted from the year 0; `coming` is the first one after the backup's.
    """

    start: int
    end: int
    coming: int
    departments: dict[Any, Any]
    hires: dict[Any, Months]


def read_history(backup: Backup) -> History:
    """Hires by department, from the first month with hires to the last one.

    The month of the backup is not over, so it is left out. Months without hires at the end mean
    that the records end there, not that hiring stopped.
    """
    departments = {row["id"]: row["department"] for row in _records(backup, "departments")}
    taken = _month(backup.manifest.taken_at)
    counted = Counter(
        (row["department_id"], _month(row["datetime"]))
        for row in _records(backup, "employees")
        if row["department_id"] in departments and row["datetime"] is not None
    )
    months = [month for _, month in counted if month < taken]
    end = max(months, default=-1) + 1
    start = max(min(months, default=0), end - LONGEST)
    hires = {
        key: np.array([counted[key, month] for month in range(start, end)], dtype=np.float64)
        for key in departments
    }
    return History(start, end, taken + 1, departments, hires)


def _records(backup: Backup, table: str) -> Iterator[dict[str, Any]]:
    for stored in backup.manifest.tables[table].objects:
        yield from backup.records(stored)


def _month(moment: object) -> int:
    year, month = str(moment).split("-")[:2]
    return int(year) * YEAR + int(month) - 1


def as_text(month: int) -> str:
    """A month, counted from the year 0, such as 2021-03."""
    return f"{month // YEAR:04}-{month % YEAR + 1:02}"
