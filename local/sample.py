"""Generates the sample data, always the same: some 6,000 hires in the years 2018 to 2025.

Each department grows or shrinks over the years and hires more in some months than in others, so
that charts have something to show. Names are as awkward as real ones: apostrophes, accents, commas,
quotation marks, other scripts, an emoji.
"""

import csv
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

SEED = 20180101
FIRST_YEAR, LAST_YEAR = 2018, 2025
FIRST_HOUR, LAST_HOUR = 7, 19

COLUMNS = {
    "departments": ("id", "department"),
    "jobs": ("id", "job"),
    "employees": ("id", "name", "datetime", "department_id", "job_id"),
}


# Name, mean number of hires a month in the first year, what each later year adds as a part of that,
# and the months with twice as many hires.
DEPARTMENTS = (
    ("Engineering", 7.0, 0.16, (1, 2, 9)),
    ("Sales, Europe", 6.0, 0.05, (3, 9, 10)),
    ("Customer Care", 8.0, -0.04, (11, 12)),
    ("People's Operations", 3.0, 0.02, (1,)),
    ("Qualité & Méthodes", 3.5, 0.0, (5, 6)),
    ("Ingeniería de Datos", 2.0, 0.45, (2, 3)),
    ('"Skunk" Works', 1.5, 0.1, (7,)),
    ("営業部", 4.0, 0.08, (4,)),
    ("Growth 🚀", 2.5, 0.2, (8, 9)),
    ("Legal", 1.5, 0.0, (10,)),
    ("Finance, Tax & Audit", 3.0, -0.06, (1, 12)),
    ("Straßenbau", 6.5, -0.08, (4, 5, 6)),
)

ROLES = (
    "Account Manager",
    "Accountant",
    "Analyst, Business",
    "Architect",
    "Customer's Advocate",
    "Data Engineer",
    "Développeur Web",
    "Diseñador Gráfico",
    "Electrician",
    'Evangelist ("Dev" & Co.)',
    "Field Technician",
    "Lawyer",
    "Maître d'œuvre",
    "Nurse",
    "Paralegal",
    "Quality Inspector",
    "Recruiter",
    "Software Engineer",
    "Übersetzer",
    "データサイエンティスト",
)
LEVELS = ("", "Senior ", "Lead ")
JOBS = tuple(level + role for role in ROLES for level in LEVELS)
# Number of jobs that a department hires for; its first ones are the most common.
JOBS_OF_A_DEPARTMENT = 24

GIVEN_NAMES = ("Ana", "Bjørn", "Inés", "Jean-Luc", "Łukasz", "Mary Ann", "Siobhán", "Zoë 🦄")
FAMILY_NAMES = ("Bell, Jr.", "D'Angelo", 'El "Ñu"', "García", "O'Brien", "李", "佐藤", "Иванова")

Row = tuple[Any, ...]


def departments() -> Iterator[Row]:
    yield from enumerate((name for name, *_ in DEPARTMENTS), start=1)


def jobs() -> Iterator[Row]:
    yield from enumerate(JOBS, start=1)


def employees() -> Iterator[Row]:
    """The rows of `employees` in the order of hiring: id, name, datetime, department id, job id."""
    # Only `random()` gives the same numbers on every version of Python.
    draw = Random(SEED).random  # noqa: S311 (nothing secret)
    hires = (
        hire
        for year in range(FIRST_YEAR, LAST_YEAR + 1)
        for month in range(1, 13)
        for hire in sorted(hires_of_month(draw, year, month))
    )
    for employee_id, (hired, name, department_id, job_id) in enumerate(hires, start=1):
        yield employee_id, name, hired, department_id, job_id


TABLES = {"departments": departments, "jobs": jobs, "employees": employees}
"""The generator of each table's rows; referenced tables come first."""


def hires_of_month(draw: Any, year: int, month: int) -> Iterator[tuple[datetime, str, int, int]]:
    """One month's hires in no order: datetime, name, department id, job id."""
    seconds_a_day = (LAST_HOUR - FIRST_HOUR) * 3600
    opening = datetime(year, month, 1, FIRST_HOUR, tzinfo=UTC)
    days = monthrange(year, month)[1]
    for department_id, (_, monthly, growth, busy) in enumerate(DEPARTMENTS, start=1):
        mean = monthly * (1 + growth * (year - FIRST_YEAR)) * (2 if month in busy else 1)
        for _ in range(int(mean * (0.75 + draw() / 2) + draw())):
            hired = opening + timedelta(
                days=int(draw() * days), seconds=int(draw() * seconds_a_day)
            )
            name = f"{pick(draw, GIVEN_NAMES)} {pick(draw, FAMILY_NAMES)}"
            # The square makes a department's first jobs the most common ones.
            job = department_id * 5 + int(draw() * draw() * JOBS_OF_A_DEPARTMENT)
            yield hired, name, department_id, job % len(JOBS) + 1


def pick(draw: Any, names: tuple[str, ...]) -> str:
    return names[int(draw() * len(names))]


def write_csv(folder: Path) -> None:
    """Writes each table as a CSV file with a header line, into a folder that is there."""
    for table, rows in TABLES.items():
        with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS[table])
            writer.writerows(rows())
