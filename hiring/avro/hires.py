"""The hires of every year, counted while their rows pass through a backup, and their two reports.

The server takes seconds to count ten million hires; the backup reads them anyway. The server only
says in which order names come. It counts, too, where this cannot: see `HireCounts`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiring.avro import mapping
from hiring.avro.buffers import Mask, cells_from
from hiring.avro.encoding import Block
from hiring.avro.parsing import Values
from hiring.avro.schema import Table
from hiring.mysql.connection import Connection
from hiring.mysql.packets import WORD_BYTES, Ints
from hiring.mysql.statements import quote, select

WHOLE = (mapping.INT, mapping.LONG)
TIMES = (mapping.DATE, mapping.DATETIME, mapping.TIMESTAMP)
HIRE = {"datetime": TIMES, "department_id": WHOLE, "job_id": WHOLE}
"""The columns that tell whose hire a row is, and the types with which it can be counted."""

MOST_CELLS = 1_000_000
"""Counts that are kept, 4 bytes each: one for each year, department, job and quarter."""

MOST_SPAN = 200_000
"""Largest distance of the smallest id from the largest, for a table of 8 bytes an id."""

MOST_ID = 2**62
"""From here on, the difference of two ids may be larger than 64 bits."""

MOST_NAME_BYTES = 1_000_000
"""Bytes of all names of departments, or of jobs."""

ROWS_TOGETHER = 1000
"""Rows of a report that are made at a time."""

NAMES_SIZE = """
SELECT COUNT(id), COUNT(DISTINCT id), MIN(id), MAX(id), SUM(LENGTH({name}))
FROM {table}
"""

RANKED_NAMES = """
SELECT id, {name}, DENSE_RANK() OVER (ORDER BY {name})
FROM {table}
WHERE id IS NOT NULL
ORDER BY {name}, id
"""
"""The names in the order of their collation, and ranks: equal where the server takes two for equal.

No table has an alias: under LOCK TABLES, where `backup_first` runs this, MySQL refuses one.
"""


@dataclass(frozen=True)
class RankedNames:
    """Departments or jobs in the order of the server: by name, then id.

    Attributes:
        ids: whole numbers, each once.
        names: of any type.
        ranks: that rise with the names; equal where the server takes two names for equal.
    """

    ids: list[int]
    names: list[Any]
    ranks: Ints


def read_names(connection: Connection, table: Table, name: str) -> RankedNames | None:
    """Reads departments or jobs.

    Args:
        connection: to read on.
        table: which.
        name: the column of names.

    Returns:
        None if the ids are no whole numbers that each occur once, or there are too many names.
    """
    if not _has(table, {"id": WHOLE, name: ()}):
        return None
    parts = {"table": quote(table.name), "name": quote(name)}
    ((ids, distinct, low, high, size),) = select(connection, NAMES_SIZE.format(**parts))
    if ids and (ids != distinct or high - low > MOST_SPAN or abs(low) > MOST_ID):
        return None
    if (size or 0) > MOST_NAME_BYTES:
        return None
    rows = select(connection, RANKED_NAMES.format(**parts))
    return RankedNames(
        [row[0] for row in rows],
        [row[1] for row in rows],
        np.array([row[2] for row in rows], np.int64),
    )


def _has(table: Table, columns: dict[str, tuple[mapping.TypeMapping, ...]]) -> bool:
    """Whether a table has columns of these types, or of any type where there are none.

    A YEAR does not count: the server compares it by rules of its own.
    """
    found = {column.name.lower(): column for column in table.columns}
    return all(
        name in found
        and (not types or found[name].type in types)
        and not found[name].mysql_type.startswith("year")
        for name, types in columns.items()
    )


def count_hires(connection: Connection, tables: dict[str, Table]) -> "HireCounts | None":
    """What counts the hires of a backup; None where only the server can."""
    departments = read_names(connection, tables["departments"], "department")
    jobs = read_names(connection, tables["jobs"], "job")
    if departments is None or jobs is None or not _has(tables["employees"], HIRE):
        return None
    return HireCounts(tables["employees"], departments, jobs)


class HireCounts:
    """Counts hires by year, department, job and quarter.

    The years are those of a report, 1000 to 9998. Hires without an existing department count for
    department 0, those without an existing job for job 0: others begin at 1. `possible` becomes
    False at what cannot be counted exactly: an invalid row, whose date may belong to a year by the
    server's own rules, or more counts than MOST_CELLS.
    """

    def __init__(self, employees: Table, departments: RankedNames, jobs: RankedNames) -> None:
        self._departments, self._jobs = departments, jobs
        names = [column.name.lower() for column in employees.columns]
        self._columns = [names.index(name) for name in HIRE]
        self._find_department, self._find_job = _Finder(departments.ids), _Finder(jobs.ids)
        self._shape = (len(departments.ids) + 1, len(jobs.ids) + 1, 4)
        self._years: list[int] = []
        self._slots = np.full(YEARS.stop, NEW_YEAR, np.int64)
        self._slots[: YEARS.start] = self._slots[YEARS.stop - 1] = NO_YEAR
        self._counts = np.zeros(MOST_CELLS, np.uint32)  # takes memory only where it is written
        self.possible = self._fits()

    def add(self, block: Block) -> None:
        """Counts the rows of a block."""
        self.possible = self.possible and not block.invalid
        if not self.possible:
            return
        times, departments, jobs = (block.columns[place] for place in self._columns)
        department_ids, job_ids = (block.numbers[place] for place in self._columns[1:])
        assert department_ids is not None
        assert job_ids is not None
        years, quarters = _years_and_quarters(times)
        slots = self._slots.take(years)
        if slots.min() == NEW_YEAR:
            self._add_years(np.unique(years[slots == NEW_YEAR]).tolist())
            slots = self._slots.take(years)
        if not self.possible:
            return
        cells = slots * self._shape[0]
        cells += self._find_department(department_ids, departments.nulls)
        cells *= self._shape[1]
        cells += self._find_job(job_ids, jobs.nulls)
        cells *= 4
        cells += quarters
        np.add.at(self._counts, cells, np.uint32(1))

    def _add_years(self, years: list[int]) -> None:
        for year in years:
            self._years.append(year)
            self._slots[year] = len(self._years)
        self.possible = self._fits()

    def _fits(self) -> bool:
        return (len(self._years) + 1) * int(np.prod(self._shape, dtype=object)) <= MOST_CELLS

    def _by_year(self) -> Iterator[tuple[int, Any]]:
        """Each year, and its counts by department, job and quarter."""
        size = int(np.prod(self._shape))
        for year in sorted(self._years):
            first = int(self._slots[year]) * size
            yield year, self._counts[first : first + size].reshape(self._shape)

    def quarterly_hired(self) -> Iterator[tuple[Any, ...]]:
        """The rows of the report on all years, each with its year in front."""
        departments, jobs = self._departments, self._jobs
        for year, counts in self._by_year():
            hired = counts[1:, 1:]
            pairs = np.nonzero(hired.any(axis=2))
            ranks = departments.ranks[pairs[0]], jobs.ranks[pairs[1]]
            order = np.lexsort((pairs[1], pairs[0], ranks[1], ranks[0]))
            for start in range(0, len(order), ROWS_TOGETHER):
                some = order[start : start + ROWS_TOGETHER]
                places = pairs[0][some], pairs[1][some]
                for department, job, quarters in zip(
                    *(place.tolist() for place in places), hired[places].tolist(), strict=True
                ):
                    yield year, departments.names[department], jobs.names[job], *quarters

    def hiring_by_department(self) -> Iterator[tuple[Any, ...]]:
        """The rows of the report on all years, each with its year in front."""
        departments = self._departments
        for year, counts in self._by_year():
            hired = counts[1:].sum(axis=(1, 2), dtype=np.int64)
            above = np.flatnonzero(hired * np.count_nonzero(hired) > hired.sum())
            for place in above[np.argsort(-hired[above], kind="stable")].tolist():
                yield year, departments.ids[place], departments.names[place], int(hired[place])


class _Finder:
    """Finds the place of ids in a list, from 1 on; 0 stands for an id that is not in it."""

    def __init__(self, ids: list[int]) -> None:
        low, high = min(ids, default=0), max(ids, default=0)
        self._before = low - 1
        self._places = np.zeros(high - low + 3, np.int64)
        self._places[np.array(ids, np.int64) - self._before] = np.arange(1, len(ids) + 1)

    def __call__(self, ids: Ints, nulls: Mask) -> Ints:
        places = self._places.take(ids - self._before, mode="clip")
        return np.where(nulls, 0, places) if nulls.any() else places


YEARS = range(1000, 10_000)
"""The years that a `datetime` can have; the last one is in no report."""
NO_YEAR, NEW_YEAR = 0, -1

_QUARTERS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], np.int64)
"""By the month."""


def _years_and_quarters(times: Values) -> tuple[Ints, Ints]:
    """The years and the quarters, 0 to 3, of printed times: `2021-07-...`. NULL has the year 0."""
    printed = cells_from(times.packets, times.starts, WORD_BYTES).view("<u8")[:, 0]
    digits = printed & np.uint64(0x000F0F000F0F0F0F)
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    low = np.uint64(0xFF)
    years = (pairs & low) * np.uint64(100) + (pairs >> np.uint64(16) & low)
    months = (pairs >> np.uint64(40) & low).astype(np.int64)
    if times.nulls.any():
        years = np.where(times.nulls, 0, years)
    return years.astype(np.int64), _QUARTERS.take(months, mode="clip")
