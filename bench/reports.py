"""The reports: our SQL beside the straightforward one, and how many requests a second are answered.

[MYSQLD=...] python -m bench.reports [--rows 2000000] [--rounds 5] [--seconds 3]
"""

import argparse
import statistics
import threading
import time
import urllib.parse
from http.client import HTTPConnection
from typing import Any

import tabulate

import reports
from bench import stack
from bench.stack import Stack

CONNECTIONS = 8
FORMATS = ("text", "html", "json", "csv")

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
"""What one writes first."""


def compare(running: Stack, rounds: int) -> list[list[Any]]:
    """A line for each report: the seconds of both ways, in turn, and their ratio.

    Raises:
        AssertionError: they do not find the same.
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


def request_rate(url: str, path: str, seconds: float, *, reuse: bool) -> tuple[float, float]:
    """Requests a second that CONNECTIONS callers get at once, and the 95th percentile in ms."""
    address = urllib.parse.urlsplit(url)
    assert address.hostname
    times: list[float] = []
    end = time.monotonic() + seconds

    def call() -> None:
        connection = HTTPConnection(address.hostname or "", address.port)
        while (started := time.monotonic()) < end:
            headers = {} if reuse else {"Connection": "close"}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            times.append(time.monotonic() - started)
            if not reuse:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(times) / seconds, statistics.quantiles(times, n=20)[-1] * 1000


def measure_requests(running: Stack, seconds: float) -> list[list[Any]]:
    """A line for each report and format, with and without reuse of the HTTP connection."""
    lines = []
    for report in JOIN_FIRST:
        for name in FORMATS:
            path = f"/{report}?format={name}"
            running.get(path)
            kept = request_rate(running.url, path, seconds, reuse=True)
            fresh = request_rate(running.url, path, seconds, reuse=False)
            lines.append([path, *kept, *fresh])
    return lines


SQL_COLUMNS = ["report", "join first, YEAR() (s)", "this project (s)", "times as fast"]
HTTP_COLUMNS = [
    "request",
    "kept connections: /s",
    "p95 (ms)",
    "new connections: /s",
    "p95 (ms)",
]
SMALL_ROWS = 6_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reports")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    asked = parser.parse_args()
    with stack.running() as running:
        stack.fill(running, asked.rows)
        print(f"\n{asked.rows:,} hires ({stack.machine(running.server)})")
        lines = compare(running, asked.rounds)
        print(tabulate.tabulate(lines, SQL_COLUMNS, "github", floatfmt=("", ".2f", ".3f", ".0f")))
        stack.fill(running, SMALL_ROWS)
        print(f"\nWarm requests, {SMALL_ROWS:,} hires, {CONNECTIONS} callers at once")
        lines = measure_requests(running, asked.seconds)
        print(tabulate.tabulate(lines, HTTP_COLUMNS, "github", floatfmt=".0f"))


if __name__ == "__main__":
    main()
