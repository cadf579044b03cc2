"""The two hiring reports: their SQL, and what their columns mean.

Each is one statement over the hires of one year or of several, a half-open range of
`employees.datetime` that an index can answer, grouped before the names are joined. STRAIGHT_JOIN
keeps that order: left to itself, MariaDB counts the hires of each department one by one, looks up
each row by an index, and takes five times as long. No table has an alias: under LOCK
TABLES, where `backup_first` runs them, MySQL refuses one.
"""

import datetime
import decimal
import itertools
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql

from hiring.errors import TooManyRows
from hiring.mysql.connection import Connection, limited
from hiring.mysql.server_errors import SLOW

DEFAULT_YEAR = 2021
FIRST_YEAR, LAST_YEAR = 1000, 9998
"""The years whose first day, and the next year's, MySQL can hold."""
MOST_YEARS = 50
"""Maximum number of years of a report."""
ANSWER_ROWS, TEXT_ROWS = 100_000, 5_000
"""Maximum number of rows of an answer; a grid of text is for people."""
ANSWER_BYTES = 16_000_000
"""Maximum length of an answer; Cloud Run's own is 32 MB."""
ROW_BYTES = 1_000_000
"""Maximum length of a row of an answer, which is copied a dozen times on its way."""
HELD_BYTES = 8_000_000
"""Maximum memory for the names of a format that needs all rows at once: text and the page."""
COUNT_SECONDS = 5
"""Time limit for counting the rows of a report that has too many."""

NAMES = ("department", "job")
"""The columns that hold names; the others hold numbers."""

ReportRow = tuple[Any, ...]


# MySQL lets the month be 0 and sorts it before January: in a range of days, `2021-00-15` belongs to
# 2020. GROUP BY has the expression, not its alias, which a column of employees could be called too.
_YEAR_OF_HIRE = "YEAR(datetime) - (MONTH(datetime) = 0)"
_ONE_YEAR = dict.fromkeys(("of_hire", "by_year", "hires_year", "year", "within_year"), "")
_SEVERAL_YEARS = {
    "of_hire": f"{_YEAR_OF_HIRE} AS year, ",
    "by_year": f"{_YEAR_OF_HIRE}, ",
    "hires_year": "hires.year, ",
    "year": "year, ",
    "within_year": "PARTITION BY hires.year",
}


@dataclass(frozen=True)
class Report:
    """One report: a statement's template has places for the hires, in groups, and for years.

    The name is that in its URL and its file names; the title is for people.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    template: str
    hires: str

    def statement(self, *, several_years: bool = False) -> str:
        """The SQL, which takes a `period`; with several years, each row begins with its year."""
        years = _SEVERAL_YEARS if several_years else _ONE_YEAR
        return self.template.format(hires=self.hires.format(**years), **years)

    @property
    def yearly_hires(self) -> str:
        """The SQL of the hires alone, in groups, each with its year."""
        return self.hires.format(**_SEVERAL_YEARS)


QUARTERLY_HIRED = Report(
    name="quarterly-hired",
    title="Hires per department and job in each quarter",
    columns=("department", "job", "Q1", "Q2", "Q3", "Q4"),
    template="""
        SELECT {hires_year}departments.department, jobs.job,
            hires.q1, hires.q2, hires.q3, hires.q4
        FROM ({hires}) AS hires
        STRAIGHT_JOIN departments ON departments.id = hires.department_id
        STRAIGHT_JOIN jobs ON jobs.id = hires.job_id
        ORDER BY {hires_year}departments.department, jobs.job, departments.id, jobs.id
        """,
    hires="""
        SELECT {of_hire}department_id, job_id,
            COUNT(IF(QUARTER(datetime) = 1, 1, NULL)) AS q1,
            COUNT(IF(QUARTER(datetime) = 2, 1, NULL)) AS q2,
            COUNT(IF(QUARTER(datetime) = 3, 1, NULL)) AS q3,
            COUNT(IF(QUARTER(datetime) = 4, 1, NULL)) AS q4
        FROM employees
        WHERE datetime >= %(start)s AND datetime < %(end)s
        GROUP BY {by_year}department_id, job_id
        """,
)
"""Hires by department and job per quarter: a row for each pair with a hire that year.

A hire without an existing department and job is not in it. Departments or jobs that share a name
stay apart; the page tells them by their ids.
"""

HIRING_BY_DEPARTMENT = Report(
    name="hiring-by-department",
    title="Departments that hired more than the mean",
    columns=("id", "department", "hired"),
    template="""
        SELECT {year}id, department, hired
        FROM (
            SELECT {hires_year}departments.id, departments.department, hires.hired,
                SUM(hires.hired) OVER ({within_year}) AS total,
                COUNT(*) OVER ({within_year}) AS hiring_departments
            FROM ({hires}) AS hires
            STRAIGHT_JOIN departments ON departments.id = hires.department_id
        ) AS counted
        WHERE hired * hiring_departments > total
        ORDER BY {year}hired DESC, department, id
        """,
    hires="""
        SELECT {of_hire}department_id, COUNT(*) AS hired
        FROM employees
        WHERE datetime >= %(start)s AND datetime < %(end)s
        GROUP BY {by_year}department_id
        """,
)
"""Departments whose hires in a year are above the mean of those that hired someone, most first.

The comparison is in whole numbers: a mean, rounded to MySQL's four decimals, could tip it.
"""

REPORTS = (QUARTERLY_HIRED, HIRING_BY_DEPARTMENT)
"""All of them: what a backup stores and a drill compares."""

YEARS_SECONDS = 2
"""Time limit for finding the years to link to; the page can omit them."""
YEARS_BESIDE = 12
"""Years that are searched before the nearest one with hires, and after it."""

NEAREST_YEARS = """
SELECT
    (SELECT YEAR(MAX(datetime)) FROM employees
     WHERE datetime >= '1000-01-01' AND datetime < %(start)s
         AND datetime < MAKEDATE(YEAR(UTC_DATE()) + 2, 1)),
    (SELECT YEAR(MIN(datetime)) FROM employees
     WHERE datetime >= %(end)s AND datetime < MAKEDATE(YEAR(UTC_DATE()) + 2, 1)),
    YEAR(UTC_DATE()) + 1
"""
"""The nearest years with hires, before a day and from another on: each the end of an index range.

A date in the year 0, which MySQL may have let in, is in no report. A hire may be dated next year; a
later one is a typo, and its year is not offered.
"""

HAS_HIRES = """
    EXISTS (
        SELECT 1
        FROM employees
        WHERE datetime >= '{year}-01-01' AND datetime < '{next_year}-01-01'
    )
"""
"""Whether a year has a hire. Constant bounds let an index answer; a join with years would not."""


def run(
    connection: Connection,
    report: Report,
    first: int,
    last: int | None = None,
    *,
    most: int | None = None,
) -> Iterator[ReportRow]:
    """Yields the rows of a report on one year, or on several in one statement, as they arrive.

    Each row is a tuple with a value for each of the report's columns. For several years, the rows
    of one year come after those of the other, each with its year in front.

    Raises:
        TooManyRows: there are more than `most` rows, or one of them has more than ROW_BYTES.
    """
    statement = report.statement(several_years=last is not None)
    values = period(first, last or first)
    limit, longest = ("", math.inf) if most is None else (f" LIMIT {most + 1}", ROW_BYTES)
    rows = connection.stream(statement + limit, values, longest)
    yield from itertools.islice(rows, most)
    if list(rows):
        counting = f"SELECT COUNT(*) FROM ({statement}) AS counted"
        counted = _within(COUNT_SECONDS, connection, counting, values)
        raise too_many(counted[0] if counted else None)


def period(first: int, last: int) -> dict[str, datetime.date]:
    """What a statement takes: the first day of a year, and the one after the last of another."""
    return {"start": datetime.date(first, 1, 1), "end": datetime.date(last + 1, 1, 1)}


def _within(
    seconds: float, connection: Connection, statement: str, values: dict[str, datetime.date]
) -> tuple[Any, ...] | None:
    """The one row of a statement; None where the server stops it after so many seconds."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(limited(statement, seconds), values)
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row
    except pymysql.err.Error as error:
        if error.args[0] in SLOW:
            return None
        raise


def too_many(rows: int | None = None) -> TooManyRows:
    """The error for a report that is too large for an answer; `rows` is None if not known."""
    return TooManyRows(
        f"the report{f', {rows:,} rows,' if rows else ''} is too large for an answer:"
        f" at most {TEXT_ROWS:,} rows as text, {ANSWER_ROWS:,} rows and"
        f" {ANSWER_BYTES // 1_000_000} MB in any other format; ask for fewer years or for another"
        " format, or read the reports that every backup stores"
    )


def held(rows: Iterable[ReportRow]) -> Iterator[ReportRow]:
    """Yields rows that the caller holds all at once.

    Raises:
        TooManyRows: their names take more than HELD_BYTES.
    """
    taken = 0
    for row in rows:
        taken += names_bytes(row)
        if taken > HELD_BYTES:
            raise too_many()
        yield row


def names_bytes(row: ReportRow) -> int:
    """Memory that the names of a row take."""
    return sum([sys.getsizeof(value) for value in row if type(value) is not int])


def years_with_hires(connection: Connection, first: int, last: int) -> list[int] | None:
    """In order, the years shown, first to last, that have hires, and the nearest others.

    A hire counts whatever its department and job. None if it takes longer than YEARS_SECONDS.
    """
    values = period(first, last)
    nearest = _within(YEARS_SECONDS, connection, NEAREST_YEARS, values)
    if not nearest:
        return None
    before, after, latest = nearest
    years = [*range(first, last + 1)]
    if before is not None:
        years += range(max(before - YEARS_BESIDE + 1, FIRST_YEAR), min(before, first - 1) + 1)
    if after is not None:
        years += range(after, min(after + YEARS_BESIDE - 1, latest) + 1)
    years.sort()
    questions = ",".join(HAS_HIRES.format(year=year, next_year=year + 1) for year in years)
    answers = _within(YEARS_SECONDS, connection, f"SELECT {questions}", values)
    return list(itertools.compress(years, answers)) if answers else None


def as_json(columns: Sequence[str], rows: Iterable[ReportRow]) -> Iterator[str]:
    """Rows as a JSON list of objects, one a line, as an answer and as a backup hold them."""
    before = "["
    for line in as_objects(columns, rows):
        yield before + line
        before = ",\n "
    yield "[]\n" if before == "[" else "]\n"


def as_ndjson(columns: Sequence[str], rows: Iterable[ReportRow]) -> Iterator[str]:
    """Rows as JSON objects, one a line and nothing else: https://github.com/ndjson/ndjson-spec"""
    for line in as_objects(columns, rows):
        yield f"{line}\n"


def as_objects(columns: Sequence[str], rows: Iterable[ReportRow]) -> Iterator[str]:
    """Rows as JSON objects."""
    encode = json.JSONEncoder(ensure_ascii=False, default=plain).encode
    for row in rows:
        yield encode(dict(zip(columns, row, strict=False)))


def plain(value: object) -> int | str | None:
    """The value to show for an id or a name, which may be of any MySQL type."""
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, decimal.Decimal) and value == int(value):
        return int(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
