"""Measures the reports' SQL beside straightforward SQL.

[MYSQLD=...] python -m bench.reports [--rows 2000000] [--rounds 5]
"""

import argparse
import statistics
import time
from typing import Any

import tabulate

import reports
from bench import stack
from bench.stack import Stack

JOIN_FIRST = {
    "quarterly-hired": """
        SELECT departments.department, jobs.job,
            SUM(QUARTER(employees.datetime) = 1), SUM(QUARTER(employees.datetime) = 2),
            SUM(QUARTER(employees.datetime) = 3), SUM(QUARTER(employees.datetime) = 4)
        FROM employees
        JOIN departments ON departments.id = employees.department_id
        JOIN jobs ON jobs.id = employees.job_id
        WHERE YEAR(employees.datetime) = 2021
        GROUP BY departments.id, departments.department, jobs.id, jobs.job
        ORDER BY departments.department, jobs.job, departments.id, jobs.id
        """,
    "hiring-by-department": """
        SELECT departments.id, departments.department, COUNT(*) AS hired
        FROM employees
        JOIN departments ON departments.id = employees.department_id
        WHERE YEAR(employees.datetime) = 2021
        GROUP BY departments.id, departments.department
        HAVING COUNT(*) > (
            SELECT AVG(hired_each) FROM (
                SELECT COUNT(*) AS hired_each
                FROM employees
                JOIN departments ON departments.id = employees.department_id
                WHERE YEAR(employees.datetime) = 2021
                GROUP BY departments.id
            ) AS counts
        )
        ORDER BY hired DESC, departments.department, departments.id
        """,
}
"""The straightforward SQL: it joins first and calls YEAR() on each row."""


def compare(running: Stack, rounds: int) -> list[list[Any]]:
    """Measures both ways in turn; returns a line for each report: its seconds and their ratio.

    Raises:
        AssertionError: the ways return different rows.
    """
    lines = []
    with running.connect() as connection, connection.cursor() as cursor:
        for report in (reports.QUARTERLY_HIRED, reports.HIRING_BY_DEPARTMENT):
            ours, theirs = [], []
            for _ in range(rounds + 1):  # the first round warms the server's cache
                started = time.monotonic()
                rows = reports.run(connection, report, 2021)
                ours.append(time.monotonic() - started)
                started = time.monotonic()
                cursor.execute(JOIN_FIRST[report.name])
                found = cursor.fetchall()
                theirs.append(time.monotonic() - started)
                shown = [row[: len(report.columns)] for row in rows]
                if shown != list(found):
                    raise AssertionError(f"{report.name} differs")
            slow, fast = statistics.median(theirs[1:]), statistics.median(ours[1:])
            lines.append([report.name, slow, fast, slow / fast])
    return lines


SQL_COLUMNS = ["report", "join first, YEAR() (s)", "this project (s)", "times as fast"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reports")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with stack.running() as running:
        stack.fill(running, asked.rows)
        print(f"\n{asked.rows:,} hires ({stack.machine(running.server)})")
        lines = compare(running, asked.rounds)
        print(tabulate.tabulate(lines, SQL_COLUMNS, "github", floatfmt=("", ".2f", ".3f", ".0f")))


if __name__ == "__main__":
    main()
