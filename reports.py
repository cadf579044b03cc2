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

from pymysql.connections import Connection

DEFAULT_YEAR = 2021

NAMES = ("department", "job")
"""The columns that hold names; the others hold numbers."""

Row = tuple[Any, ...]


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
        SELECT departments.department, jobs.job, hires.q1, hires.q2, hires.q3, hires.q4
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
stay apart.
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

The comparison is in whole numbers: a mean, rounded to MySQL's four decimals, could tip it.
"""


def run(connection: Connection, report: Report, year: int) -> list[Row]:
    """The rows of a report.

    Args:
        connection: to read on.
        report: which.
        year: 1000 to 9998, the years whose first and next first day MySQL can hold.

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


def as_json(report: Report, rows: list[Row]) -> str:
    """The report as a JSON list of objects, one a line, as an answer and as a backup hold it."""
    objects = [
        json.dumps(dict(zip(report.columns, row, strict=False)), ensure_ascii=False, default=_plain)
        for row in rows
    ]
    return "[" + ",\n ".join(objects) + "]\n"


def _plain(value: object) -> int | str:
    """JSON for what an id or a name may be beside a number or text."""
    if isinstance(value, decimal.Decimal) and value == int(value):
        return int(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
