"""Both reports, for every year and every range of years, equal a computation in plain Python."""

import collections
import itertools
from typing import Any, NamedTuple

import pytest
from conftest import Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_challenge import FOLDER, read
from werkzeug.test import Client

from local import sample

Rows = list[dict[str, Any]]


class Hire(NamedTuple):
    """A hire: its day as `YYYY-MM-DD...`, and the ids of its department and job."""

    day: str
    department: int
    job: int


class Company:
    """Departments, jobs and hires, stored in a database, and the reports on them in plain Python.

    Only the order of names is the server's: Python has no collation.

    Args:
        database: empty; everything is inserted into it.
        departments: the names, by id.
        jobs: the names, by id.
        hires: in any order.
    """

    def __init__(
        self,
        database: Database,
        departments: dict[int, str],
        jobs: dict[int, str],
        hires: list[Hire],
    ) -> None:
        database.insert("departments", list(departments.items()))
        database.insert("jobs", list(jobs.items()))
        if hires:
            database.insert(
                "employees", [(number, "x", *hire) for number, hire in enumerate(hires, start=1)]
            )
        self._departments, self._jobs = departments, jobs
        self._department_place, self._job_place = (
            dict(database.execute(f"SELECT id, RANK() OVER (ORDER BY {name}) FROM {name}s"))
            for name in ("department", "job")
        )
        self._of_year: dict[int, list[Hire]] = collections.defaultdict(list)
        for hire in hires:
            self._of_year[int(hire.day[:4])].append(hire)

    def quarterly_hired(self, year: int) -> Rows:
        """Hires by department and job in each quarter of a year."""
        counted: dict[tuple[int, int], list[int]] = collections.defaultdict(lambda: [0] * 4)
        for day, department, job in self._of_year[year]:
            counted[department, job][(int(day[5:7]) - 1) // 3] += 1

        def place(pair: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
            return self._department_place[pair[0]], self._job_place[pair[1]], pair

        return [
            {
                "department": self._departments[department],
                "job": self._jobs[job],
                **dict(zip(("Q1", "Q2", "Q3", "Q4"), counted[department, job], strict=True)),
            }
            for department, job in sorted(counted, key=place)
        ]

    def hiring_by_department(self, year: int) -> Rows:
        """The departments that hired more in a year than the mean of those that hired."""
        hired = collections.Counter(hire.department for hire in self._of_year[year])
        return [
            {"id": number, "department": self._departments[number], "hired": hires}
            for number, hires in sorted(
                hired.items(),
                key=lambda item: (-item[1], self._department_place[item[0]], item[0]),
            )
            if hires * len(hired) > hired.total()
        ]

    @property
    def reports(self) -> dict[str, Any]:
        """The computation of each report, by its path."""
        return {
            "/quarterly-hired": self.quarterly_hired,
            "/hiring-by-department": self.hiring_by_department,
        }


def ask(client: Client, path: str, years: str) -> Rows:
    answer = client.get(f"{path}?format=json&year={years}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return list(answer.get_json())


def check_every_range(client: Client, company: Company, years: range) -> int:
    """Compares each year and each range within `years`; returns the number of compared answers."""
    compared = 0
    for path, compute in company.reports.items():
        expected = {year: compute(year) for year in years}
        for year in years:
            assert ask(client, path, str(year)) == expected[year], (path, year)
        for first, last in itertools.combinations_with_replacement(years, 2):
            rows = [
                {"year": year, **row} for year in range(first, last + 1) for row in expected[year]
            ]
            assert ask(client, path, f"{first}-{last}") == rows, (path, first, last)
            compared += 1
        compared += len(years)
    return compared


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the data set is not beside the project")
def test_every_year_and_range_of_a_real_data_set(client: Client, database: Database) -> None:
    """Both reports are right on a real data set, in two years with hires and two without."""
    rows = [row for row in read("hired_employees.csv") if all(row)]
    company = Company(
        database,
        {int(number): name for number, name in read("departments.csv")},
        {int(number): name for number, name in read("jobs.csv")},
        [
            Hire(day.removesuffix("Z"), int(department), int(job))
            for *_, day, department, job in rows
        ],
    )
    assert sorted(year for year in range(2000, 2040) if company.quarterly_hired(year)) == [
        2021,
        2022,
    ]
    assert check_every_range(client, company, range(2020, 2024)) == 2 * (4 + 10)


@pytest.mark.slow
def test_every_year_and_range_of_the_sample_data(client: Client, database: Database) -> None:
    """Both reports are right on the sample data's eight years and one more at each end."""
    company = Company(
        database,
        dict(sample.departments()),
        dict(sample.jobs()),
        [
            Hire(f"{day:%Y-%m-%d %H:%M:%S}", department, job)
            for _, _, day, department, job in sample.employees()
        ],
    )
    assert company.hiring_by_department(2018)
    assert company.hiring_by_department(2025)
    assert check_every_range(client, company, range(2017, 2027)) == 2 * (10 + 55)


EDGES = ["01-01 00:00:00", "03-31 23:59:59", "04-01 00:00:00", "06-30 23:59:59", "07-01 00:00:00"]
EDGES += ["09-30 23:59:59", "10-01 00:00:00", "12-31 23:59:59", "02-28 12:00:00"]
HIRES = st.lists(
    st.builds(
        lambda year, day, department, job: Hire(f"{year}-{day}", department, job),
        st.integers(1995, 2030) | st.sampled_from([1000, 2020, 2021]),
        st.sampled_from(EDGES),
        st.integers(1, 4),
        st.integers(1, 3),
    ),
    max_size=60,
)
RANGES = st.tuples(st.integers(1990, 2030), st.integers(0, 49))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hires=HIRES, years=RANGES)
def test_any_range_of_any_hires(
    client: Client, database: Database, hires: list[Hire], years: tuple[int, int]
) -> None:
    """Both reports are right for any hires and any range of up to 50 years."""
    for table in ("employees", "jobs", "departments"):
        database.execute(f"DELETE FROM {table}")
    departments = {1: "b", 2: "A", 3: "b", 4: "ä"}
    company = Company(database, departments, {1: "y", 2: "X", 3: "y"}, hires)
    first, more = years
    for path, compute in company.reports.items():
        rows = [
            {"year": year, **row}
            for year in range(first, first + more + 1)
            for row in compute(year)
        ]
        assert ask(client, path, f"{first}-{first + more}") == rows
