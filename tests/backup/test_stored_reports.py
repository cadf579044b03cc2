"""The reports on every year that a backup stores, whoever counts their hires."""

import collections
import json
from typing import Any

import pytest
import stored_backup
from conftest import Bucket, Database
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

import reports
from hiring.avro import hires
from hiring.mysql import packets
from hiring.storage import objects

TABLES = ("employees", "departments", "jobs")
NAMES = ["sales", "Sales", "Straße", "strasse", "Äpfel", "apfel", ""]
DAYS = ["2021-01-01", "2021-03-31 23:59:59", "2021-04-01", "2021-08-15", "2021-12-31 23:59:59"]
OTHERS = ["1000-01-01", "2020-12-31 23:59:59", "2022-01-01", "2022-10-01", "9998-12-31 23:59:59"]
NEVER = ["0999-12-31", "9999-01-01", None]
"""Dates of no report."""
INVALID = ["2021-00-15", "2022-00-15", "2021-05-00", "0000-00-00"]
"""Dates that Avro cannot hold, some of which are in a report."""

IDS = st.none() | st.integers(-1, 5)
HIRES = st.tuples(st.sampled_from(DAYS + OTHERS + NEVER), IDS, IDS)
OF_INVALID = st.tuples(st.sampled_from(INVALID), IDS, IDS)
TIES = [("2021-04-01", department, job) for department in (1, 2) for job in (1, 2)]
NAMED = st.lists(st.sampled_from(NAMES), max_size=5)


def fill(database: Database, departments: list[str], jobs: list[str], rows: list[Any]) -> None:
    """Fills the tables: departments and jobs have the ids from 1 on, whatever hires refer to."""
    with database.connect(init_command="SET sql_mode = '', foreign_key_checks = 0") as connection:
        cursor = connection.cursor()
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")
        for table, names in (("departments", departments), ("jobs", jobs)):
            cursor.executemany(
                f"INSERT INTO {table} VALUES (%s, %s)", list(enumerate(names, start=1))
            )
        cursor.executemany("INSERT INTO employees VALUES (NULL, 'Ada', %s, %s, %s)", rows)
        connection.commit()


def make_nullable(database: Database, id_type: str = "INT UNSIGNED") -> None:
    database.execute(
        "ALTER TABLE employees DROP FOREIGN KEY employees_department,"
        f" DROP FOREIGN KEY employees_job, MODIFY datetime DATETIME NULL,"
        f" MODIFY department_id {id_type} NULL, MODIFY job_id {id_type} NULL"
    )


def places(database: Database, table: str, name: str) -> dict[int, int]:
    """The place of each id in the order of the names: the one thing that Python cannot know."""
    return dict(database.execute(f"SELECT id, DENSE_RANK() OVER (ORDER BY {name}) FROM {table}"))


def expected(
    database: Database, departments: list[str], jobs: list[str], rows: list[Any]
) -> dict[str, list[dict[str, Any]]]:
    """Both reports on every year, counted in plain Python."""
    department_places = places(database, "departments", "department")
    job_places = places(database, "jobs", "job")
    pairs: dict[Any, list[int]] = collections.defaultdict(lambda: [0] * 4)
    hired: dict[int, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    for day, department, job in rows:
        if day in NEVER or day == "0000-00-00" or department not in department_places:
            continue
        year, month = int(day[:4]), int(day[5:7])
        year, month = (year, month) if month else (year - 1, 0)
        hired[year][department] += 1
        if job in job_places:
            quarters = pairs[year, department, job]
            if month:  # QUARTER() of a date without a month is 0
                quarters[(month - 1) // 3] += 1
    return {
        "quarterly-hired": [
            {"year": year, "department": departments[department - 1], "job": jobs[job - 1]}
            | dict(zip(("Q1", "Q2", "Q3", "Q4"), quarters, strict=True))
            for (year, department, job), quarters in sorted(
                pairs.items(),
                key=lambda pair: (
                    pair[0][0],
                    department_places[pair[0][1]],
                    job_places[pair[0][2]],
                    pair[0],
                ),
            )
        ],
        "hiring-by-department": [
            {"year": year, "id": key, "department": departments[key - 1], "hired": number}
            for year, of_year in sorted(hired.items())
            for key, number in sorted(
                of_year.items(), key=lambda each: (-each[1], department_places[each[0]], each[0])
            )
            if number * len(of_year) > sum(of_year.values())
        ],
    }


def stored(bucket: Bucket, answer: Any) -> dict[str, list[dict[str, Any]]]:
    """The reports that a backup stored; both forms must hold the same rows."""
    assert answer.status_code == 200, answer.get_data(as_text=True)
    manifest = answer.get_json()
    if isinstance(manifest["backup"], dict):  # under the answer of a truncation
        manifest = manifest["backup"]
    folder = stored_backup.path(manifest)
    found = {}
    for name in ("quarterly-hired", "hiring-by-department"):
        content = bucket.blob(f"{folder}reports/{name}.json").download_as_bytes().decode()
        lines = bucket.blob(f"{folder}reports/{name}.ndjson").download_as_bytes().decode()
        assert content == "[" + ",\n ".join(lines.splitlines()) + "]\n"
        found[name] = json.loads(content)
    return found


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMED, NAMED, st.lists(HIRES, max_size=40), st.lists(OF_INVALID, max_size=1), st.booleans())
@example([], [], [], [], True)
@example(["sales", "Sales"], ["apfel", "Äpfel"], TIES, [], False)
def test_the_stored_reports_are_those_of_every_year(
    client: Client,
    database: Database,
    bucket: Bucket,
    departments: list[str],
    jobs: list[str],
    rows: list[Any],
    invalid: list[Any],
    truncated: bool,
) -> None:
    """Whatever the hires, a backup, before a truncation too, stores what plain Python counts."""
    if ("YES",) not in database.execute(
        "SELECT is_nullable FROM information_schema.columns WHERE column_name = 'job_id'"
        " AND table_schema = DATABASE()"
    ):
        make_nullable(database, "BIGINT")
    fill(database, departments, jobs, rows + invalid)
    reports_of_all = expected(database, departments, jobs, rows + invalid)
    # A truncation may refuse what its backup cannot hold.
    first = truncated and not invalid
    address = "/truncate-tables?backup_first=true" if first else "/backup-data"
    assert stored(bucket, client.post(address)) == reports_of_all


def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What notes the reports of a backup that the server counts."""
    found = []
    run = reports.run

    def noted(
        connection: Any, report: reports.Report, first: int, *others: Any, **more: Any
    ) -> Any:
        if first == reports.FIRST_YEAR:
            found.append(report.name)
        return run(connection, report, first, *others, **more)

    monkeypatch.setattr(reports, "run", noted)
    return found


ROWS = [(day, number % 3 + 1, number % 2 + 1) for number, day in enumerate((DAYS + OTHERS) * 5)]
COUNTED: list[str] = []
BY_SERVER = ["quarterly-hired", "hiring-by-department"]


def answers(client: Client) -> dict[str, list[dict[str, Any]]]:
    """What the functions answer for every year of the rows: a range has at most 50."""
    return {
        name: [
            row
            for first, last in ((1000, 1001), (2020, 2022), (9997, 9998))
            for row in client.get(f"/{name}?year={first}-{last}&format=json").get_json()
        ]
        for name in BY_SERVER
    }


@pytest.mark.parametrize(
    ("change", "counted_by"),
    [
        ("", COUNTED),
        ("ALTER TABLE employees MODIFY datetime DATE NULL", COUNTED),
        ("ALTER TABLE employees MODIFY department_id INT(9) ZEROFILL NULL", COUNTED),
        ("ALTER TABLE employees ADD extra INT NOT NULL DEFAULT 1 INVISIBLE FIRST", COUNTED),
        ("ALTER TABLE employees RENAME COLUMN datetime TO DateTime", COUNTED),
        ("INSERT INTO employees VALUES (0, 'Ada', '2021-05-06', -9223372036854775808, 7)", COUNTED),
        ("ALTER TABLE employees MODIFY department_id VARCHAR(9) NULL", BY_SERVER),
        ("ALTER TABLE employees MODIFY job_id DECIMAL(9, 2) NULL", BY_SERVER),
        ("ALTER TABLE departments MODIFY id BIGINT UNSIGNED", BY_SERVER),
        ("INSERT INTO jobs VALUES (2000000000, 'far')", BY_SERVER),
        ("INSERT INTO employees VALUES (0, 'Ada', '2021-00-15', 1, 1)", BY_SERVER),
    ],
)
def test_hires_are_counted_while_their_rows_are_read(
    client: Client,
    database: Database,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    counted_by: list[str],
) -> None:
    """Where ids are whole numbers, the server counts no hire for a backup; the figures agree."""
    monkeypatch.setattr(packets, "READ_BYTES", 300)
    make_nullable(database, "BIGINT")
    fill(database, ["b", "a"], ["x"], ROWS)
    if change:
        with database.connect(init_command="SET sql_mode = ''") as connection:
            connection.cursor().execute(change)
            connection.commit()
    found = ways(monkeypatch)
    answer = stored(bucket, client.get("/backup-data"))
    assert found == counted_by
    assert answer == answers(client)


def test_very_many_counts_are_the_servers(
    client: Client, database: Database, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting takes bounded memory: beyond so many counts, the server counts."""
    make_nullable(database)
    fill(database, ["b", "a"], ["x"], ROWS)
    monkeypatch.setattr(hires, "MOST_CELLS", 3 * 2 * 4 * 5)
    found = ways(monkeypatch)
    answer = stored(bucket, client.get("/backup-data"))
    assert found == BY_SERVER
    assert answer == answers(client)


def test_a_report_that_cannot_be_stored_leaves_nothing(
    client: Client, database: Database, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure while the server sends a report ends the backup at once, without its rows."""
    database.insert("departments", [(number, "x" * 200) for number in range(1, 5001)])
    database.insert("jobs", [(1, "x")])
    hired = [(number, "Ada", "2021-02-03", number, 1) for number in range(1, 5001)]
    database.insert("employees", hired)
    monkeypatch.setattr(hires, "MOST_CELLS", 1)
    monkeypatch.setattr(objects, "CHUNK_BYTES", objects.PIECE_BYTES)
    bucket.storage.fail("quarterly-hired.json", method="PUT", status=403, times=None)
    answer = client.get("/backup-data")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (502, "storage_failed")
    assert bucket.blobs() == {}
