"""What the page of a report shows: read from the database, and filtered here alone."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import db
import reports
from hiring.errors import BadParameter
from hiring.mysql.connection import Connection
from pages.names import NAMELESS, Label, labels, plain_words, visible
from pages.query import QUARTERS, ReportQuery

PAGE_ROWS = 2000
"""Number of table rows beyond which the page shows the jobs of one department at a time."""
PAGE_DEPARTMENTS, PAGE_NUMBERS = 10_000, 400_000
"""Maximum number of departments, or jobs, and of numbers to read for a page: it sorts them all."""
FILTERED_NAMES = 10_000
"""Maximum number of departments, or jobs, that a filter may find: the server gets their ids."""

_NAMES = {
    "departments": "SELECT id, department FROM departments",
    "jobs": "SELECT id, job FROM jobs",
}
_CONDITIONS = {
    "jobs": "(hires.department_id IN %(departments)s OR hires.job_id IN %(jobs)s)",
    "open": "hires.department_id IN %(open)s",
}
"""The hires to count, by the name of the ids that each needs."""
_JOIN_JOBS = "STRAIGHT_JOIN jobs ON jobs.id = hires.job_id"
_ROWS = """
    SELECT departments.id, {table}.id AS row_id, {table}.{name}, hires.*
    FROM (
        SELECT {groups}, COUNT(DISTINCT IF(hires.year >= {first}, {counted}, NULL)) AS jobs,
            {numbers}
        FROM ({hires}) AS hires
        {jobs}
        {condition}
        GROUP BY {groups}
    ) AS hires
    STRAIGHT_JOIN departments ON departments.id = hires.department_id
    {jobs_of_rows}
    ORDER BY {table}.{name}, {table}.id
    LIMIT {limit}
    """
"""A row for each department, or for each of its jobs, with a number for each column of the page."""


@dataclass
class Hires:
    """The hires of a department, or of one of its jobs.

    Attributes:
        jobs: number of a department's jobs with hires in the requested years; 0 for a job.
        numbers: by column of the page; `before` counts the year before a single one.
        opened: the jobs to show; none for a folded department.
    """

    identity: object
    name: object
    jobs: int
    numbers: dict[str, int]
    label: Label | str = ""
    opened: list["Hires"] = field(default_factory=list)


@dataclass
class Found:
    """What the page shows.

    Attributes:
        departments: with hires in the requested years, in the order of names.
        gone: with hires in the year before a single one only.
        sums: hires of a column and its number of departments, whatever the filter hides.
        years: with hires, to link to; None if they are not known.
        hidden_jobs: number of rows with jobs that would be too many to show; 0 if none are hidden.
        empty: whether the database has no hires at all.
    """

    query: ReportQuery
    departments: list[Hires]
    gone: list[Hires] = field(default_factory=list)
    sums: dict[str, tuple[int, int]] = field(default_factory=dict)
    years: list[int] | None = None
    hidden_jobs: int = 0
    empty: bool = False

    @property
    def rows(self) -> int:
        """The number of all rows that were read."""
        return sum(1 + len(each.opened) for each in self.departments + self.gone)

    @functools.cached_property
    def total(self) -> dict[str, int]:
        """The sums of all departments that are shown."""
        rows = [each.numbers for each in self.departments + self.gone]
        return {column: sum(row[column] for row in rows) for column in rows[0]}

    @functools.cached_property
    def drawn(self) -> list[str]:
        """The columns with bars; of several years, those from the first hire to the last one."""
        if self.query.last is None:
            return list(QUARTERS) if self.query.by_quarter else ["hires"]
        years = [year for year in self.query.all_years if self.total[str(year)]]
        shown = range(years[0], years[-1] + 1) if years else self.query.all_years
        return list(map(str, shown))

    def mean(self, column: str) -> Decimal:
        """The mean of the departments that hired someone."""
        hires, departments = self.sums[column]
        return Decimal(hires) / departments

    def is_above(self, department: Hires, column: str) -> bool:
        """Whether a department hired more than the mean, compared in whole numbers."""
        hires, departments = self.sums.get(column, (0, 0))
        return department.numbers[column] * departments > hires


def read(connection: Connection, query: ReportQuery) -> Found:
    """Reads what the page shows.

    Raises:
        TooManyRows: the departments and years are too many.
        BadParameter: the filter finds too many names.
    """
    ids = _matching(connection, query)
    rows = [each for _, each in _rows(connection, query, ids)]
    sums = {}
    if not query.by_quarter:
        for column in ["hires"] if query.last is None else map(str, query.all_years):
            numbers = [each.numbers[column] for each in rows]
            sums[column] = sum(numbers), sum(map(bool, numbers))
        if query.filter:
            rows = [each for each in rows if matches(query.filter, each.name)]
    _label(rows)
    found = Found(
        query,
        departments=[each for each in rows if each.jobs],
        gone=[each for each in rows if not each.jobs],
        sums=sums,
        years=reports.years_with_hires(connection, query.first, query.last or query.first),
    )
    if not found.departments:
        found.empty = not db.has_rows(connection, "employees")
    elif query.by_quarter:
        opened, found.hidden_jobs = _opened(query, found.departments)
        if opened:
            by_id = {each.identity: each for each in opened}
            for department, job in _rows(connection, query, {**ids, "open": list(by_id)}):
                if department in by_id:  # MySQL's `=` takes '01' and 1 for the same id
                    by_id[department].opened.append(job)
            for each in opened:
                _label(each.opened)
    return found


def _matching(connection: Connection, query: ReportQuery) -> dict[str, list[object]]:
    """The ids of the names that the filter finds, where the server has to look for them."""
    if not query.filter or not query.by_quarter:
        return {}
    ids = {}
    for table, statement in _NAMES.items():
        names = connection.stream(statement, {}, reports.ROW_BYTES)
        found = [identity for identity, name in names if matches(query.filter, name)]
        if len(found) > FILTERED_NAMES:
            raise BadParameter(
                f"the filter finds more than {FILTERED_NAMES:,} {table}; give more of the name"
            )
        # No id is in a list of NULL alone; a list has to hold something.
        ids[table] = found or [None]
    return ids


def matches(wanted: str, name: object) -> bool:
    """Whether a name contains what the filter looks for; case and accents make no difference."""
    return plain_words(wanted) in plain_words(visible(name) or NAMELESS)


def _numbers(query: ReportQuery) -> dict[str, str]:
    """The SQL of each number to read, by its column."""
    hired = "hires.q1 + hires.q2 + hires.q3 + hires.q4" if query.by_quarter else "hires.hired"
    if query.last is not None:
        return {str(year): f"IF(hires.year = {year}, {hired}, 0)" for year in query.all_years}
    shown = {each: f"hires.{each}" for each in QUARTERS} if query.by_quarter else {"hires": hired}
    this_year = {key: f"IF(hires.year = {query.first}, {sql}, 0)" for key, sql in shown.items()}
    return {**this_year, "before": f"IF(hires.year = {query.first - 1}, {hired}, 0)"}


def _rows(
    connection: Connection, query: ReportQuery, ids: dict[str, list[object]]
) -> Iterator[tuple[object, Hires]]:
    """Yields a department's id and its hires or, of open ones, the hires of each of its jobs."""
    numbers = _numbers(query)
    most = min(PAGE_DEPARTMENTS, PAGE_NUMBERS // len(numbers))
    by_job = "open" in ids
    conditions = [condition for name, condition in _CONDITIONS.items() if name in ids]
    statement = _ROWS.format(
        table="jobs" if by_job else "departments",
        name="job" if by_job else "department",
        groups="hires.department_id, hires.job_id" if by_job else "hires.department_id",
        first=query.first,
        counted="hires.job_id" if query.by_quarter else "hires.department_id",
        numbers=", ".join(
            f"CAST(SUM({number}) AS SIGNED) AS `{column}`" for column, number in numbers.items()
        ),
        hires=query.report.yearly_hires,
        jobs=_JOIN_JOBS if query.by_quarter else "",
        condition=f"WHERE {' AND '.join(conditions)}" if conditions else "",
        jobs_of_rows=_JOIN_JOBS if by_job else "",
        limit=most + 1,
    )
    # The year before a single one is for comparison, of departments alone.
    first = query.first if query.last or by_job else max(query.first - 1, reports.FIRST_YEAR)
    period = reports.period(first, query.last or query.first)
    rows = connection.stream(statement, {**ids, **period}, reports.ROW_BYTES)
    for count, row in enumerate(reports.held(rows)):
        if count == most:
            raise reports.too_many()
        shown = dict(zip(numbers, row[-len(numbers) :], strict=True))
        hires = sum(shown.values()) - shown.get("before", 0)
        if query.last is None:
            shown["change"] = hires - shown["before"]
        jobs = 0 if by_job else row[-len(numbers) - 1]
        yield row[0], Hires(row[1], row[2], jobs, {**shown, "hires": hires})


def _label(rows: list[Hires]) -> None:
    names = labels({each.identity: each.name for each in rows})
    for each in rows:
        each.label = names[each.identity]


def _opened(query: ReportQuery, departments: list[Hires]) -> tuple[list[Hires], int]:
    """The departments whose jobs are shown, and the number of rows if there would be too many."""
    by_id = {visible(each.identity): each for each in departments}
    if query.jobs == "shown":
        opened = departments
    else:
        opened = [by_id[identity] for identity in query.open if identity in by_id]
    rows = len(departments) + sum(each.jobs for each in opened)
    if rows <= PAGE_ROWS or (query.jobs != "shown" and len(opened) < 2):
        return opened, 0
    # The last one is the one that was opened last.
    return ([] if query.jobs == "shown" else opened[-1:]), rows
