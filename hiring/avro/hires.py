"""The hires of one year, counted while their rows pass through a backup.

The server takes seconds to count ten million hires for the reports; the backup reads them anyway.
"""

import json
from collections import Counter, defaultdict

import numpy as np

from hiring.avro import mapping
from hiring.avro.buffers import cells_from
from hiring.avro.encoding import Block
from hiring.avro.parsing import Values, integers
from hiring.avro.schema import Column, Table
from hiring.mysql.packets import Ints

COUNTABLE = {
    "datetime": (mapping.DATE, mapping.DATETIME, mapping.TIMESTAMP),
    "department_id": (mapping.INT, mapping.LONG),
    "job_id": (mapping.INT, mapping.LONG),
}
"""The columns that tell whose hire a row is, and the types with which it can be counted."""

MOST_GROUPS = 20_000
"""Of one quarter, department and job each: their counts fit into a statement of 1 MB."""

MOST_WAITING = 50_000
"""Hires that wait to be counted at once, in 400 KB."""

DEPARTMENT_BITS, JOB_BITS, QUARTER_BITS = 29, 31, 3
"""What of a group's number holds which; together they fit into 64 bits with a sign."""


class HireCounts:
    """Counts the hires of a year by department, job and quarter.

    Args:
        table: the employees.
        year: in which a hire counts, four digits.
    """

    def __init__(self, table: Table, year: int) -> None:
        self._year = np.frombuffer(f"{year:04}".encode(), "<u4")
        columns = {column.name.lower(): column for column in table.columns}
        self._columns = [columns[name] for name in COUNTABLE if name in columns]
        self._places = [table.columns.index(column) for column in self._columns]
        kinds = [column.type for column in self._columns]
        self._can_count = len(kinds) == len(COUNTABLE) and all(
            kind in taken and not column.mysql_type.startswith("year")
            for kind, column, taken in zip(kinds, self._columns, COUNTABLE.values(), strict=True)
        )
        self._rows = 0
        self._waiting: list[Ints] = []
        self._groups: Counter[int] = Counter()

    def add(self, block: Block) -> None:
        """Counts the rows of a block, if they can be counted exactly."""
        # A row with an invalid date may belong to a year, or a quarter, by the server's own rules.
        self._can_count = self._can_count and not block.invalid
        if not self._can_count:
            return
        self._rows += block.rows
        times, departments, jobs = (block.columns[place] for place in self._places)
        digits = cells_from(times.packets, times.starts, len("2021-07-"))
        hired = digits.view("<u4")[:, 0] == self._year
        rows = np.flatnonzero(hired & ~times.nulls & ~departments.nulls)
        if not len(rows):
            return
        month = (digits[rows, 5] - ord("0")) * 10 + (digits[rows, 6] - ord("0"))
        department = _numbers(self._columns[1], departments, rows)
        # A hire without a job counts for its department: 0 stands for NULL.
        job = np.where(jobs.nulls[rows], 0, _numbers(self._columns[2], jobs, rows) + 1)
        for number, bits in ((department, DEPARTMENT_BITS), (job, JOB_BITS)):
            if number.min() < 0 or number.max() >> bits:
                self._can_count = False
                return
        groups = (department << JOB_BITS | job) << QUARTER_BITS | (month.astype(np.int64) - 1) // 3
        self._waiting.append(groups)
        if sum(map(len, self._waiting)) >= MOST_WAITING:
            self._count_waiting()

    def _count_waiting(self) -> None:
        if self._waiting:
            numbers, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
            self._groups.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
            self._waiting = []
        self._can_count = self._can_count and len(self._groups) <= MOST_GROUPS

    def as_json(self, rows: int) -> str | None:
        """The counts as the reports take them: `[[department_id, job_id, Q1, Q2, Q3, Q4], ...]`.

        Args:
            rows: that the table has.

        Returns:
            None if not each of these rows was counted: the server has to count them then.
        """
        self._count_waiting()
        if not self._can_count or self._rows != rows:
            return None
        quarters: dict[tuple[int, int | None], list[int]] = defaultdict(lambda: [0] * 4)
        for group, hires in self._groups.items():
            pair, quarter = divmod(group, 1 << QUARTER_BITS)
            department, job = divmod(pair, 1 << JOB_BITS)
            quarters[department, job - 1 if job else None][quarter] = hires
        return json.dumps([[*pair, *hires] for pair, hires in quarters.items()])


def _numbers(column: Column, values: Values, rows: Ints) -> Ints:
    """The numbers in some rows of a column; NULL is 0."""
    some = Values(values.packets, values.starts[rows], values.lengths[rows], values.nulls[rows])
    return integers(column, some, np.zeros(len(rows), np.bool_))
