"""The two hiring reports: their SQL, and what their columns mean.

Each is one statement over one year's hires, a half-open range of `employees.datetime` that an index
can answer, grouped before the names are joined. STRAIGHT_JOIN keeps that order: left to itself,
MariaDB counts the hires of each department again, with as many looks into the table as it has rows,
and takes five times as long. No table has an alias: under LOCK TABLES, where
`backup_first` runs them, MySQL refuses one.
"""

import datetime
import decimal
import json
from dataclasses import dataclass
from typing import Any

import pymysql

import db
from hiring.core.connection import Connection
from hiring.core.server_errors import SLOW

DEFAULT_YEAR = 2021
FIRST_YEAR, LAST_YEAR = 1000, 9998
"""The years whose first day, and the next year's, MySQL can hold."""

NAMES = ("department", "job")
"""The columns that hold names; the others hold numbers."""

ReportRow = tuple[Any, ...]


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        name: as in its URL and its file names.
        title: for people.
        columns: what each row shows; the statement may select more, for the page alone.
        statement: takes `start` and `end`, the first day of the year and of the next.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    statement: str


QUARTERLY_HIRED = Report(
    name="quarterly-hired",
    title="Hires per department and job in each quarter",
    columns=("department", "job", "Q1", "Q2", "Q3", "Q4"),
    statement="""
        SELECT departments.department, jobs.job, hires.q1, hires.q2, hires.q3, hires.q4,
            departments.id
        FROM (
            SELECT department_id, job_id,
                COUNT(IF(QUARTER(datetime) = 1, 1, NULL)) AS q1,
                COUNT(IF(QUARTER(datetime) = 2, 1, NULL)) AS q2,
                COUNT(IF(QUARTER(datetime) = 3, 1, NULL)) AS q3,
                COUNT(IF(QUARTER(datetime) = 4, 1, NULL)) AS q4
            FROM employees
            WHERE datetime >= %(start)s AND datetime < %(end)s
            GROUP BY department_id, job_id
        ) AS hires
        STRAIGHT_JOIN departments ON departments.id = hires.department_id
        STRAIGHT_JOIN jobs ON jobs.id = hires.job_id
        ORDER BY departments.department, jobs.job, departments.id, jobs.id
        """,
)
"""Hires by department and job per quarter: a row for each pair with a hire that year.

A hire without an existing department and job is not in it. Departments or jobs that share a name
stay apart; the page tells them by the department's id, which the other formats do not show.
"""

HIRING_BY_DEPARTMENT = Report(
    name="hiring-by-department",
    title="Departments that hired more than the mean",
    columns=("id", "department", "hired"),
    statement="""
        SELECT id, department, hired, total / hiring_departments AS mean
        FROM (
            SELECT departments.id, departments.department, hires.hired,
                SUM(hires.hired) OVER () AS total,
                COUNT(*) OVER () AS hiring_departments
            FROM (
                SELECT department_id, COUNT(*) AS hired
                FROM employees
                WHERE datetime >= %(start)s AND datetime < %(end)s
                GROUP BY department_id
            ) AS hires
            STRAIGHT_JOIN departments ON departments.id = hires.department_id
        ) AS counted
        WHERE hired * hiring_departments > total
        ORDER BY hired DESC, department, id
        """,
)
"""Departments whose hires that year are above the mean of those that hired someone, most first.

The comparison is in whole numbers: a mean, rounded to MySQL's four decimals, could tip it. The mean
is there for the page alone.
"""

YEARS_SECONDS = 2
"""How long the links to other years may take: the page can do without them."""
YEARS_AROUND = 25
"""How far from the year shown a year is looked for: a date mistyped by centuries costs nothing."""

# The limit of one statement, for either server: what the one runs is a comment to the other.
# https://mariadb.com/kb/en/comment-syntax/#executable-comment-syntax
# https://dev.mysql.com/doc/refman/8.4/en/optimizer-hints.html#optimizer-hints-execution-time
_LIMITED_SELECT = (
    f"/*M! SET STATEMENT max_statement_time={YEARS_SECONDS} FOR */"
    f" SELECT /*+ MAX_EXECUTION_TIME({YEARS_SECONDS * 1000}) */"
)

FIRST_AND_LAST_YEAR = f"""
{_LIMITED_SELECT}
    YEAR(MIN(datetime)), YEAR(MAX(datetime))
FROM employees
WHERE datetime >= '1000-01-01'
"""
"""The years of the first and the last hire: the two ends of an index on `datetime`.

A date in the year 0, which MySQL may have let in, is in no report.
"""

HAS_HIRES = """
    EXISTS (
        SELECT 1
        FROM employees
        WHERE datetime >= '{year}-01-01' AND datetime < '{next_year}-01-01'
    )
"""
"""Whether one year has a hire: the constants let an index answer, a join with years would not."""


def run(connection: Connection, report: Report, year: int) -> list[ReportRow]:
    """The rows of a report.

    Args:
        connection: to read on.
        report: which.
        year: FIRST_YEAR to LAST_YEAR.

    Returns:
        A tuple for each row, with a value for each of the report's columns, or more.
    """
    bounds = {
        "start": datetime.date(year, 1, 1),
        "end": datetime.date(year + 1, 1, 1),
    }
    with connection.cursor() as cursor:
        cursor.execute(report.statement, bounds)
        return list(cursor.fetchall())


def years_with_hires(connection: Connection, around: int) -> list[int] | None:
    """The years to offer beside the one shown; a hire counts whatever its department and job.

    Args:
        connection: to read on.
        around: the year shown; those further than YEARS_AROUND from it are not looked for.

    Returns:
        The years in order, or None where they were not found within YEARS_SECONDS.
    """
    try:
        ((first, last),) = db.select(connection, FIRST_AND_LAST_YEAR)
        if first is None:
            return []
        earliest = max(first, around - YEARS_AROUND)
        years = range(earliest, min(last, around + YEARS_AROUND, LAST_YEAR) + 1)
        if not years:
            return []
        questions = [HAS_HIRES.format(year=year, next_year=year + 1) for year in years]
        (answers,) = db.select(connection, _LIMITED_SELECT + ",".join(questions))
    except pymysql.err.Error as error:
        if error.args[0] in SLOW:
            return None
        raise
    return [year for year, has_hires in zip(years, answers, strict=True) if has_hires]


def as_json(report: Report, rows: list[ReportRow]) -> str:
    """The report as a JSON list of objects, one a line, as an answer and as a backup hold it."""
    objects = [
        json.dumps(dict(zip(report.columns, row, strict=False)), ensure_ascii=False, default=plain)
        for row in rows
    ]
    return "[" + ",\n ".join(objects) + "]\n"


def plain(value: object) -> int | str | None:
    """What is shown of an id or a name, which may be of any type that MySQL has."""
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, decimal.Decimal) and value == int(value):
        return int(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
