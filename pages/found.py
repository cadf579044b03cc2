"""What the page of a report shows: read from the database, and filtered here alone."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import reports
from hiring.mysql.connection import Connection
from hiring.mysql.statements import select
from pages.names import NAMELESS, plain_words, visible
from pages.query import ReportQuery

PAGE_ROWS = 2000
"""Number of table rows beyond which the page shows the jobs of one department at a time."""

_FILTERED = "(hires.department_id IN %(departments)s OR hires.job_id IN %(jobs)s)"


@dataclass
class YearlyHires:
    """The hires of a department, or of one of its jobs.

    Attributes:
        identity: its id.
        name: as stored.
        years: hires by quarter, or one number, for each year with any.
        jobs: number of jobs in a department, in the year in which they were most.
    """

    identity: object
    name: object
    years: dict[int, tuple[int, ...]] = field(default_factory=dict)
    jobs: int = 0

    def of(self, year: int) -> int:
        """The hires of a year."""
        return sum(self.years.get(year, ()))


@dataclass
class Found:
    """What the page shows.

    Attributes:
        departments: with hires in the requested years, in the order of names.
        before: with hires in the year before a single year.
        jobs: of each open department, by its id.
        hidden_jobs: number of jobs that would be too many to show; 0 if none are hidden.
        sums: hires and number of departments of each year, whatever the filter hides.
        years: with hires, to link to; None if they are not known.
        empty: whether the database has no hires at all.
    """

    departments: list[YearlyHires]
    before: list[YearlyHires] = field(default_factory=list)
    jobs: dict[object, list[YearlyHires]] = field(default_factory=dict)
    hidden_jobs: int = 0
    sums: dict[int, tuple[int, int]] = field(default_factory=dict)
    years: list[int] | None = None
    empty: bool = False

    def shown_years(self, query: ReportQuery) -> range:
        """The requested years, without those before the first hire and after the last one."""
        years = {year for each in self.departments for year in each.years} & {*query.all_years}
        return range(min(years), max(years) + 1)

    def mean(self, year: int) -> Decimal:
        """The mean of the departments that hired in a year."""
        hires, departments = self.sums[year]
        return Decimal(hires) / departments

    def is_above(self, department: YearlyHires, year: int) -> bool:
        """Whether a department hired more than the mean, compared in whole numbers."""
        hires, departments = self.sums.get(year, (0, 0))
        return department.of(year) * departments > hires


def read(connection: Connection, query: ReportQuery) -> Found:
    """Reads what the page shows.

    Raises:
        TooManyRows: the departments and years are too many.
    """
    # The year before a single one is for comparison.
    first = query.first if query.last else max(query.first - 1, reports.FIRST_YEAR)
    period = first, query.last or query.first
    sums = {}
    if query.by_quarter:
        condition, ids = _matching(connection, query)
        everyone = _quarterly(connection, period, condition, ids)
    else:
        everyone = _by_department(connection, period)
        for year in query.all_years:
            hires = [each.of(year) for each in everyone if each.of(year)]
            sums[year] = sum(hires), len(hires)
        everyone = [each for each in everyone if matches(query.filter, each.name)]
    departments = [each for each in everyone if each.years.keys() & query.all_years]
    found = Found(
        departments,
        before=[each for each in everyone if query.last is None and each.of(query.first - 1)],
        sums=sums,
        years=reports.years_with_hires(connection, query.first, period[1]),
    )
    if not departments:
        found.empty = not select(connection, reports.ANY_HIRE)
    elif query.by_quarter:
        opened, found.hidden_jobs = _opened(query, departments)
        if opened:
            both = f"{condition} AND" if condition else "WHERE"
            ids["open"] = tuple(each.identity for each in opened)
            found.jobs = _jobs(connection, query, f"{both} hires.department_id IN %(open)s", ids)
    return found


def _matching(connection: Connection, query: ReportQuery) -> tuple[str, dict[str, Any]]:
    """The condition for the names that the filter finds, and the ids that it needs."""
    if not query.filter.strip():
        return "", {}
    ids = {
        name: tuple(
            identity
            for identity, found in connection.stream(statement, {})
            if matches(query.filter, found)
        )
        for name, statement in reports.NAMES_BY_ID.items()
    }
    # No id is in a list of NULL alone; a list has to hold something.
    return f"WHERE {_FILTERED}", {name: found or (None,) for name, found in ids.items()}


def matches(wanted: str, name: object) -> bool:
    """Whether a name contains what the filter looks for; case and accents make no difference."""
    return plain_words(wanted.strip()) in plain_words(visible(name) or NAMELESS)


def _quarterly(
    connection: Connection, period: tuple[int, int], condition: str, ids: dict[str, Any]
) -> list[YearlyHires]:
    departments: dict[object, YearlyHires] = {}
    rows = reports.run(
        connection,
        reports.DEPARTMENTS,
        *period,
        condition=condition,
        most=reports.ANSWER_ROWS,
        **ids,
    )
    for year, name, *quarters, identity, jobs in rows:
        department = departments.setdefault(identity, YearlyHires(identity, name))
        department.years[year] = tuple(quarters)
        department.jobs = max(department.jobs, jobs)
    return list(departments.values())


def _by_department(connection: Connection, period: tuple[int, int]) -> list[YearlyHires]:
    departments: dict[object, YearlyHires] = {}
    report = reports.HIRING_BY_DEPARTMENT
    rows = reports.run(connection, report, *period, condition="", most=reports.ANSWER_ROWS)
    for year, identity, name, hired in rows:
        departments.setdefault(identity, YearlyHires(identity, name)).years[year] = (hired,)
    return sorted(departments.values(), key=lambda each: visible(each.name).casefold())


def _opened(query: ReportQuery, departments: list[YearlyHires]) -> tuple[list[YearlyHires], int]:
    """The departments whose jobs are shown, and the number of rows if there would be too many."""
    by_id = {visible(each.identity): each for each in departments}
    if query.jobs == "shown":
        opened = departments
    else:
        opened = [by_id[identity] for identity in query.open if identity in by_id]
    rows = len(departments) + sum(each.jobs for each in opened)
    if rows <= PAGE_ROWS:
        return opened, 0
    # The last one is the one that was opened last.
    return ([] if query.jobs == "shown" else opened[-1:]), rows


def _jobs(
    connection: Connection, query: ReportQuery, condition: str, ids: dict[str, Any]
) -> dict[object, list[YearlyHires]]:
    jobs: dict[object, dict[object, YearlyHires]] = {identity: {} for identity in ids["open"]}
    rows = reports.run(
        connection,
        reports.QUARTERLY_HIRED,
        query.first,
        query.last or query.first,
        condition=condition,
        most=reports.ANSWER_ROWS,
        **ids,
    )
    for year, _, name, *quarters, department, identity in rows:
        job = jobs[department].setdefault(identity, YearlyHires(identity, name))
        job.years[year] = tuple(quarters)
    found: dict[object, list[YearlyHires]] = {each: list(of.values()) for each, of in jobs.items()}
    if query.last is not None:  # the rows came one year after the other
        for of in found.values():
            of.sort(key=lambda job: visible(job.name).casefold())
    return found
