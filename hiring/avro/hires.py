"""The hires of every year, counted while their rows pass through a backup, and their two reports.

The server takes seconds to count ten million hires; the backup reads them anyway. The server only
says in which order names come, and counts itself where this module cannot: see `HireCounts`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hiring.avro import mapping
from hiring.avro.buffers import cells_from
from hiring.avro.columns import ColumnChunk
from hiring.avro.encoding import Block
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
"""Beyond it, the difference of two ids may take more than 64 bits."""
MOST_NAME_BYTES = 1_000_000
"""Bytes of all names of departments, or of jobs."""

YEARS = range(1000, 9999)
"""The years of a report."""
NO_YEAR, NEW_YEAR = 0, -1

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


class RankedNames:
    """Departments or jobs in the order of the server: the columns of RANKED_NAMES."""

    def __init__(self, rows: list[tuple[int, Any, int]]) -> None:
        self.ids = [row[0] for row in rows]
        self.names = [row[1] for row in rows]
        self.ranks = np.array([row[2] for row in rows], np.int64)
        low, high = min(self.ids, default=0), max(self.ids, default=0)
        self._before = low - 1
        self._places = np.zeros(high - low + 3, np.int64)
        self._places[np.array(self.ids, np.int64) - self._before] = np.arange(1, len(rows) + 1)

    def places(self, ids: ColumnChunk) -> Ints:
        """The places of ids in this order, from 1 on; 0 for an id that is not in it."""
        assert ids.numbers is not None
        places = self._places.take(ids.numbers.view(np.int64) - self._before, mode="clip")
        return np.where(ids.nulls, 0, places) if ids.nulls.any() else places


def _read_names(connection: Connection, table: Table, name: str) -> RankedNames | None:
    """None if the ids are no whole numbers that each occur once, or there are too many names."""
    if not _has(table, {"id": WHOLE, name: ()}):
        return None
    parts = {"table": quote(table.name), "name": quote(name)}
    ((ids, distinct, low, high, size),) = select(connection, NAMES_SIZE.format(**parts))
    unfit = ids and (ids != distinct or high - low > MOST_SPAN or abs(low) > MOST_ID)
    if unfit or (size or 0) > MOST_NAME_BYTES:
        return None
    return RankedNames(list(connection.stream(RANKED_NAMES.format(**parts), {})))


def _has(table: Table, columns: dict[str, tuple[mapping.TypeMapping, ...]]) -> bool:
    """Whether a table has columns of these types, or of any type where there are none."""
    # Not a YEAR: the server compares it by rules of its own.
    found = {
        column.name.lower(): column.type
        for column in table.columns
        if not column.mysql_type.startswith("year")
    }
    return all(
        name in found and (not types or found[name] in types) for name, types in columns.items()
    )


def count_hires(connection: Connection, tables: dict[str, Table]) -> "HireCounts | None":
    """What counts the hires of a backup; None where only the server can."""
    departments = _read_names(connection, tables["departments"], "department")
    jobs = _read_names(connection, tables["jobs"], "job")
    if departments is None or jobs is None or not _has(tables["employees"], HIRE):
        return None
    return HireCounts(tables["employees"], departments, jobs)


class HireCounts:
    """Counts hires by year, department, job and quarter; place 0 is for those that do not exist.

    `possible` becomes False at what cannot be counted exactly: an invalid row, whose date may
    belong to a year by the server's own rules, or more counts than MOST_CELLS.
    """

    def __init__(self, employees: Table, departments: RankedNames, jobs: RankedNames) -> None:
        self._departments, self._jobs = departments, jobs
        names = [column.name.lower() for column in employees.columns]
        self._columns = [names.index(name) for name in HIRE]
        self._shape = (len(departments.ids) + 1, len(jobs.ids) + 1, 4)
        # For each year the place of its counts; all years of no report share one.
        self._slots = np.full(YEARS.stop + 1, NO_YEAR, np.int64)
        self._slots[YEARS.start : YEARS.stop] = NEW_YEAR
        self._years: list[int] = []
        self._counts = np.zeros(MOST_CELLS, np.uint32)  # takes memory only where it is written
        self.possible = self._fits()

    def add(self, block: Block) -> None:
        """Counts the rows of a block."""
        self.possible = self.possible and not block.invalid
        if not self.possible:
            return
        times, departments, jobs = (block.chunks[place] for place in self._columns)
        years, quarters = _years_and_quarters(times)
        slots = self._slots.take(years)
        if slots.min() == NEW_YEAR:
            for year in np.unique(years[slots == NEW_YEAR]).tolist():
                self._years.append(year)
                self._slots[year] = len(self._years)
            slots = self._slots.take(years)
            self.possible = self._fits()
            if not self.possible:
                return
        cells = slots * self._shape[0]
        cells += self._departments.places(departments)
        cells *= self._shape[1]
        cells += self._jobs.places(jobs)
        cells *= 4
        cells += quarters
        np.add.at(self._counts, cells, np.uint32(1))

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
            pairs = np.argwhere(hired.any(axis=2))
            ranks = departments.ranks[pairs[:, 0]], jobs.ranks[pairs[:, 1]]
            order = np.lexsort((pairs[:, 1], pairs[:, 0], ranks[1], ranks[0]))
            for department, job in pairs[order]:
                quarters = hired[department, job].tolist()
                yield year, departments.names[department], jobs.names[job], *quarters

    def hiring_by_department(self) -> Iterator[tuple[Any, ...]]:
        """The rows of the report on all years, each with its year in front."""
        departments = self._departments
        for year, counts in self._by_year():
            hired = counts[1:].sum(axis=(1, 2), dtype=np.int64)
            above = np.flatnonzero(hired * np.count_nonzero(hired) > hired.sum())
            for place in above[np.argsort(-hired[above], kind="stable")].tolist():
                yield year, departments.ids[place], departments.names[place], int(hired[place])


_QUARTERS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], np.int64)
"""By the month."""


def _years_and_quarters(times: ColumnChunk) -> tuple[Ints, Ints]:
    """The years and the quarters, 0 to 3, of printed times: `2021-07-...`. NULL has the year 0."""
    assert times.content is not None
    printed = cells_from(times.content.source, times.content.starts, WORD_BYTES).view("<u8")[:, 0]
    digits = printed & np.uint64(0x000F0F000F0F0F0F)
    pairs = (digits * np.uint64(10) + (digits >> np.uint64(8))).view(np.int64)
    years = (pairs & 0xFF) * 100 + (pairs >> 16 & 0xFF)
    return np.where(times.nulls, 0, years), _QUARTERS.take(pairs >> 40 & 0xFF, mode="clip")
