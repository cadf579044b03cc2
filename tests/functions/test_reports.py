"""Both reports in every format, compared with plain Python."""

import collections
import csv
import datetime
import gc
import io
import itertools
import json
import random
from typing import Any

import pytest
from conftest import Database
from pymysql.connections import MySQLResult
from support import insert_names
from werkzeug.test import Client

import db
import reports
from hiring.deadline import Deadline
from hiring.settings import read_settings

Hire = tuple[int, str, str, int | None, int | None]


def fill(database: Database, seed: int, hires: int) -> None:
    """Inserts departments and jobs, some with the same name, and hires around the ends of years."""
    chance = random.Random(seed)
    database.insert("departments", [(number, f"D{number % 5}") for number in range(1, 8)])
    database.insert("jobs", [(number, f"J{number % 4}") for number in range(1, 7)])
    first = datetime.datetime(2019, 12, 30, tzinfo=datetime.UTC)
    moments = [
        first + datetime.timedelta(seconds=chance.randrange(3 * 366 * 86400)) for _ in range(hires)
    ]
    edges = ["2020-12-31 23:59:59", "2021-01-01 00:00:00", "2021-03-31 23:59:59"]
    edges += ["2021-04-01 00:00:00", "2021-12-31 23:59:59", "2022-01-01 00:00:00"]
    times = edges + [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in moments]
    database.insert(
        "employees",
        [
            (number, f"N{number}", time, chance.randrange(1, 8), chance.randrange(1, 7))
            for number, time in enumerate(times, 1)
        ],
    )


def read(database: Database, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement, with times in UTC."""
    with database.connect(init_command="SET time_zone = '+00:00'") as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall())


def quarterly(database: Database, year: int) -> list[dict[str, Any]]:
    """The quarterly report, computed row by row."""
    departments = dict(database.execute("SELECT id, department FROM departments"))
    jobs = dict(database.execute("SELECT id, job FROM jobs"))
    counted: dict[tuple[int, int], list[int]] = collections.defaultdict(lambda: [0] * 4)
    for moment, department, job in read(
        database, "SELECT COALESCE(datetime, ''), department_id, job_id FROM employees"
    ):
        moment = str(moment)
        if moment.startswith(str(year)) and department in departments and job in jobs:
            counted[department, job][(int(moment[5:7]) - 1) // 3] += 1
    return [
        {"department": departments[department], "job": jobs[job]}
        | {f"Q{quarter}": hires for quarter, hires in enumerate(quarters, 1)}
        for (department, job), quarters in sorted(
            counted.items(),
            key=lambda item: (departments[item[0][0]], jobs[item[0][1]], item[0]),
        )
    ]


def above_the_mean(database: Database, year: int) -> list[dict[str, Any]]:
    """The departments report, computed row by row."""
    departments = dict(database.execute("SELECT id, department FROM departments"))
    hired = collections.Counter(
        department
        for moment, department in read(
            database, "SELECT COALESCE(datetime, ''), department_id FROM employees"
        )
        if str(moment).startswith(str(year)) and department in departments
    )
    return [
        {"id": department, "department": departments[department], "hired": hires}
        for department, hires in sorted(
            hired.items(), key=lambda item: (-item[1], departments[item[0]], item[0])
        )
        if hires * len(hired) > sum(hired.values())
    ]


def get_json(client: Client, url: str) -> Any:
    response = client.get(url, headers={"Accept": "application/json"})
    assert (response.status_code, response.content_type) == (200, "application/json")
    return json.loads(response.get_data())


@pytest.mark.parametrize("year", [2019, 2020, 2021, 2022, 2023])
def test_reports_agree_with_plain_python(client: Client, database: Database, year: int) -> None:
    """Both reports equal an independent count, even at the edges of years and quarters."""
    fill(database, seed=year, hires=500)
    found = get_json(client, f"/quarterly-hired?year={year}")
    assert found == quarterly(database, year)
    found = get_json(client, f"/hiring-by-department?year={year}")
    assert found == above_the_mean(database, year)


@pytest.mark.parametrize(
    ("first", "last"), list(itertools.combinations_with_replacement(range(2019, 2024), 2))
)
def test_a_range_is_its_years_one_after_the_other(
    client: Client, database: Database, first: int, last: int
) -> None:
    """A report on several years has the rows of each year, with the year in front."""
    fill(database, seed=last, hires=500)
    for path, compute in (("quarterly-hired", quarterly), ("hiring-by-department", above_the_mean)):
        expected = [
            {"year": year, **row}
            for year in range(first, last + 1)
            for row in compute(database, year)
        ]
        url = f"/{path}?year={first}-{last}"
        assert get_json(client, url) == expected
        lines = client.get(f"{url}&format=ndjson").get_data(as_text=True).splitlines()
        assert [json.loads(line) for line in lines] == expected
        text = client.get(f"{url}&format=csv").get_data().decode("utf-8-sig")
        found = csv.DictReader(io.StringIO(text))
        assert [dict(row) for row in found] == [
            {name: str(value) for name, value in row.items()} for row in expected
        ]


@pytest.mark.parametrize("kind", ["DATE", "DATETIME"])
def test_a_month_zero_belongs_to_the_year_before(
    client: Client, database: Database, kind: str
) -> None:
    """A date in the month 0 is counted in the same year by a range and by a single year."""
    database.execute(f"ALTER TABLE employees MODIFY datetime {kind}")
    database.insert("departments", [(1, "A"), (2, "B")])
    database.insert("jobs", [(1, "a")])
    with database.connect(init_command="SET sql_mode = ''") as connection:
        cursor = connection.cursor()
        days = ["2021-00-15", "2021-00-00", "2021-01-01", "2020-12-31", "2020-00-07"]
        rows = [(day, number % 2 + 1) for number, day in enumerate(days)]
        cursor.executemany("INSERT INTO employees VALUES (NULL, 'x', %s, %s, 1)", rows)
        connection.commit()
    for path in ("quarterly-hired", "hiring-by-department"):
        expected = [
            {"year": year, **row}
            for year in (2019, 2020, 2021)
            for row in get_json(client, f"/{path}?year={year}")
        ]
        assert get_json(client, f"/{path}?year=2019-2021") == expected


@pytest.mark.parametrize("column_type", ["DATE", "DATETIME(6)", "TIMESTAMP(3)"])
@pytest.mark.parametrize("year", [1000, 1970, 2021, 2037, 9998])
def test_reports_count_any_type_of_time(
    client: Client, database: Database, column_type: str, year: int
) -> None:
    """The reports count a `datetime` of type DATE, DATETIME or TIMESTAMP, in any allowed year."""
    database.execute(f"ALTER TABLE employees MODIFY datetime {column_type} NULL")
    fill(database, seed=1, hires=50)
    database.insert("employees", [(900, "a", "2037-12-30 23:00:00", 1, 1), (901, "b", None, 1, 1)])
    assert get_json(client, f"/quarterly-hired?year={year}") == quarterly(database, year)
    found = get_json(client, f"/hiring-by-department?year={year}")
    assert found == above_the_mean(database, year)


def test_hires_without_department_or_job(client: Client, database: Database) -> None:
    """A hire counts by quarter where both exist, by department where its department does."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_job")
    database.execute("ALTER TABLE employees MODIFY department_id INT NULL, MODIFY job_id INT NULL")
    insert_names(database)
    hires = [(1, 1), (1, None), (1, 9), (2, 1), (None, 1), (9, 1), (9, 1), (9, 1)]
    database.insert(
        "employees",
        [(number, "x", "2021-05-05", *hire) for number, hire in enumerate(hires, 1)],
    )
    assert get_json(client, "/quarterly-hired") == [
        {"department": "Sales", "job": "Clerk", "Q1": 0, "Q2": 1, "Q3": 0, "Q4": 0},
        {"department": "Support", "job": "Clerk", "Q1": 0, "Q2": 1, "Q3": 0, "Q4": 0},
    ]
    assert get_json(client, "/hiring-by-department") == [
        {"id": 1, "department": "Sales", "hired": 3}
    ]


def test_no_hires_is_an_empty_report(client: Client) -> None:
    """A year without hires is a report without rows in every format."""
    assert get_json(client, "/quarterly-hired?year=1999") == []
    assert get_json(client, "/hiring-by-department?year=1999") == []
    text = client.get("/hiring-by-department?year=1999").get_data(as_text=True)
    assert "| id   | department   | hired   |" in text
    found = client.get("/hiring-by-department?year=1999&format=csv").get_data(as_text=True)
    assert found.removeprefix("\ufeff").split() == ["id,department,hired"]
    assert client.get("/hiring-by-department?year=1999&format=html").status_code == 200


@pytest.mark.slow
def test_a_mean_is_not_rounded(client: Client, database: Database) -> None:
    """A department is in the report even if it exceeds the mean by less than MySQL prints."""
    departments = 21_000
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO departments VALUES (%s, 'x')",
            [(number,) for number in range(1, departments + 1)],
        )
        cursor.execute("INSERT INTO jobs VALUES (1, 'x')")
        cursor.execute(
            "INSERT INTO employees (name, datetime, department_id, job_id)"
            " SELECT 'x', '2021-01-01', id, 1 FROM departments"
            f" UNION ALL SELECT 'x', '2021-01-01', id, 1 FROM departments WHERE id < {departments}"
        )
    found = get_json(client, "/hiring-by-department")
    assert len(found) == departments - 1


def test_text_is_what_curl_gets(client: Client, database: Database) -> None:
    """Without an Accept header the answer is tabulate's grid, with names never read as numbers."""
    database.insert("departments", [(7, "007"), (8, "1e3")])
    database.insert("jobs", [(1, "Clerk")])
    database.insert("employees", [(n, "x", "2021-07-01", 7 + (n > 2), 1) for n in range(1, 4)])
    response = client.get("/quarterly-hired", headers={"Accept": "*/*"})
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.get_data(as_text=True).splitlines() == [
        "+--------------+-------+------+------+------+------+",
        "| department   | job   |   Q1 |   Q2 |   Q3 |   Q4 |",
        "+==============+=======+======+======+======+======+",
        "| 007          | Clerk |    0 |    0 |    2 |    0 |",
        "+--------------+-------+------+------+------+------+",
        "| 1e3          | Clerk |    0 |    0 |    1 |    0 |",
        "+--------------+-------+------+------+------+------+",
    ]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
        ("text/*", "text/plain; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
        ("nonsense", "text/plain; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/json", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json;q=0.5, text/csv", "text/csv; charset=utf-8"),
    ],
)
def test_accept_picks_the_format(client: Client, accept: str | None, content_type: str) -> None:
    """`Accept` picks one of the five formats; an unknown type gets text."""
    headers = {} if accept is None else {"Accept": accept}
    response = client.get("/quarterly-hired", headers=headers)
    assert (response.status_code, response.content_type) == (200, content_type)


def test_format_overrides_accept(client: Client, database: Database) -> None:
    """`format` overrides `Accept`; CSV has a header line and quotes fields where needed."""
    database.insert("departments", [(1, 'Say "hi", ok'), (2, "Öffentlichkeit 😀")])
    database.insert("jobs", [(1, "Clerk")])
    database.insert("employees", [(n, "x", "2021-07-01", 1 + (n > 2), 1) for n in range(1, 4)])
    response = client.get("/quarterly-hired?format=csv", headers={"Accept": "text/html"})
    assert response.content_type == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(response.get_data().decode("utf-8-sig")))) == [
        ["department", "job", "Q1", "Q2", "Q3", "Q4"],
        ["Öffentlichkeit 😀", "Clerk", "0", "0", "1", "0"],
        ['Say "hi", ok', "Clerk", "0", "0", "2", "0"],
    ]


@pytest.mark.parametrize("wanted", ["text", "html", "json", "ndjson", "csv"])
def test_etag_follows_the_data(client: Client, database: Database, wanted: str) -> None:
    """The same data has the same ETag and is answered with 304; one more hire changes the ETag."""
    fill(database, seed=3, hires=20)
    url = f"/quarterly-hired?format={wanted}"
    first = client.get(url)
    again = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.get_data()) == (304, b"")
    head = client.head(url)
    assert (head.status_code, head.get_data()) == (200, b"")
    assert head.headers["ETag"] == first.headers["ETag"]
    database.insert("employees", [(9000, "new", "2021-07-01", 1, 1)])
    later = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert later.status_code == 200
    assert later.headers["ETag"] != first.headers["ETag"]


def test_the_range_is_answered_by_the_index(database: Database) -> None:
    """Both statements read only a range of the index on `datetime`, and no table row."""
    fill(database, seed=4, hires=2000)
    database.execute("ANALYZE TABLE employees")
    bounds = {"start": "2021-01-01", "end": "2021-01-08"}
    for report in (reports.QUARTERLY_HIRED, reports.HIRING_BY_DEPARTMENT):
        for statement in (report.statement(), report.statement(several_years=True)):
            plan = database.execute(f"EXPLAIN FORMAT=JSON {statement}", bounds)[0][0]
            text = json.dumps(json.loads(plan))
            assert '"employees_hired"' in text
            assert "using_index" in text or "Covering index range scan" in text


def test_reports_under_table_locks(database: Database) -> None:
    """Both statements work in a session that holds table locks, as `backup_first` needs."""
    fill(database, seed=5, hires=50)
    expected = quarterly(database, 2021), above_the_mean(database, 2021)
    with db.own_connection(read_settings(database.environment), Deadline(30)) as connection:
        db.lock_tables(connection, "WRITE")
        found = [
            json.loads("".join(reports.as_json(report.columns, rows)))
            for report in (reports.QUARTERLY_HIRED, reports.HIRING_BY_DEPARTMENT)
            for rows in [reports.run(connection, report, 2021)]
        ]
    assert tuple(found) == expected


def unread() -> int:
    """The number of results whose rest PyMySQL would read."""
    results = [each for each in gc.get_objects() if type(each) is MySQLResult]
    return sum(each.unbuffered_active for each in results)


def test_a_dropped_connection_reads_nothing_more(database: Database) -> None:
    """What the server still has to send is not read when the garbage collector finds the result."""
    database.insert("departments", [(number, "x") for number in range(1, 9)])
    with db.own_connection(read_settings(database.environment), Deadline(30)) as connection:
        rows = connection.stream("SELECT id FROM departments", {})
        assert next(rows) == (1,)
        assert unread() == 1
    assert unread() == 0
