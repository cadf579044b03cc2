"""The reports that a backup stores: counted from the rows it reads, and as the functions answer."""

from typing import Any

import pytest
import stored_backup
from conftest import Bucket, Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

import reports
from hiring.avro import hires
from hiring.mysql import packets

TABLES = ("employees", "departments", "jobs")
NAMES = ["sales", "Sales", "Straße", "strasse", "Äpfel", "apfel", ""]
DAYS = ["2021-01-01", "2021-03-31 23:59:59", "2021-04-01", "2021-08-15", "2021-12-31 23:59:59"]
OUTSIDE = ["2020-12-31 23:59:59", "2022-01-01", None]
NEVER = ["2021-00-15", "2022-00-15", "2021-05-00", "0000-00-00"]
"""Dates that Avro cannot hold, some of which are in the reports' year."""

IDS = st.none() | st.integers(0, 5)
HIRES = st.tuples(st.sampled_from(DAYS + OUTSIDE), IDS, IDS)
INVALID = st.tuples(st.sampled_from(NEVER), IDS, IDS)
NAMED = st.lists(st.sampled_from(NAMES), max_size=5)

COUNTED = "counted while reading"
BY_SERVER = "counted by the server"


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


def check(client: Client, bucket: Bucket) -> None:
    """Takes a backup, and compares its reports with what the functions answer."""
    answer = client.get("/backup-data")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    folder = stored_backup.path(answer.get_json())
    stored = {
        name.removeprefix(f"{folder}reports/"): content
        for name, content in bucket.blobs(f"{folder}reports/").items()
    }
    assert stored == {
        f"{report}-2021.{form}": client.get(f"/{report}?format={form}").get_data()
        for report in ("quarterly-hired", "hiring-by-department")
        for form in ("json", "ndjson")
    }


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMED, NAMED, st.lists(HIRES, max_size=40), st.lists(INVALID, max_size=1))
def test_the_stored_reports_are_the_functions_answers(
    client: Client,
    database: Database,
    bucket: Bucket,
    departments: list[str],
    jobs: list[str],
    rows: list[Any],
    invalid: list[Any],
) -> None:
    """Whatever the hires, their departments and jobs, a backup stores what the functions answer."""
    if ("YES",) not in database.execute(
        "SELECT is_nullable FROM information_schema.columns WHERE column_name = 'job_id'"
        " AND table_schema = DATABASE()"
    ):
        make_nullable(database)
    fill(database, departments, jobs, rows + invalid)
    check(client, bucket)


def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What notes how each report of a backup is made."""
    found = []

    def noting(way: str, run: Any) -> Any:
        def noted(*arguments: Any, **options: Any) -> Any:
            found.append(way)
            return run(*arguments, **options)

        return noted

    monkeypatch.setattr(reports, "run_on_counts", noting(COUNTED, reports.run_on_counts))
    monkeypatch.setattr(reports, "run", noting(BY_SERVER, reports.run))
    return found


ROWS = [(day, number % 3 + 1, number % 2 + 1) for number, day in enumerate(DAYS * 9)]


@pytest.mark.parametrize(
    ("change", "way"),
    [
        ("", COUNTED),
        ("MODIFY datetime DATE NULL", COUNTED),
        ("MODIFY datetime TIMESTAMP(6) NULL, MODIFY job_id BIGINT NULL", COUNTED),
        ("MODIFY department_id INT(9) ZEROFILL NULL", COUNTED),
        ("ADD extra VARCHAR(9) NOT NULL DEFAULT 'x' INVISIBLE FIRST", COUNTED),
        ("RENAME COLUMN datetime TO DateTime", COUNTED),
        ("MODIFY department_id VARCHAR(9) NULL", BY_SERVER),
        ("MODIFY job_id DECIMAL(9, 2) NULL", BY_SERVER),
        ("MODIFY job_id BIGINT UNSIGNED NULL", BY_SERVER),
    ],
)
def test_hires_are_counted_while_their_rows_are_read(
    client: Client,
    database: Database,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    way: str,
) -> None:
    """Where ids are whole numbers, the server counts no hire for a backup; the figures agree."""
    monkeypatch.setattr(packets, "READ_BYTES", 300)
    make_nullable(database)
    fill(database, ["b", "a"], ["x"], ROWS)
    if change:
        database.execute(f"ALTER TABLE employees {change}")
    found = ways(monkeypatch)
    check(client, bucket)
    assert found == [way] * 2 + [BY_SERVER] * 4


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(("2021-00-15", 1, 1), id="invalid"),
        pytest.param(("2021-05-06", -1, 1), id="negative"),
        pytest.param(("2021-05-06", 2**29, 1), id="large department"),
        pytest.param(("2021-05-06", 1, 2**31 - 1), id="large job"),
    ],
)
def test_the_server_counts_what_cannot_be_counted_while_reading(
    client: Client,
    database: Database,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    row: tuple[str, int, int],
) -> None:
    """An invalid date or an id out of the counted range makes the server count all hires."""
    make_nullable(database, "BIGINT")
    fill(database, ["b", "a"], ["x"], [*ROWS, row])
    found = ways(monkeypatch)
    check(client, bucket)
    assert found[:2] == [BY_SERVER] * 2


def test_very_many_groups_are_counted_by_the_server(
    client: Client, database: Database, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting takes bounded memory: beyond so many groups, the server counts."""
    make_nullable(database)
    fill(database, ["b", "a"], ["x"], ROWS)
    monkeypatch.setattr(hires, "MOST_GROUPS", 3)
    found = ways(monkeypatch)
    check(client, bucket)
    assert found[:2] == [BY_SERVER] * 2


def test_backup_first_counts_under_its_locks(
    client: Client, database: Database, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup before a truncation counts its hires too, although the tables are locked."""
    fill(database, ["b", "a"], ["x"], [("2021-02-03", 1, 1)] * 3 + [("2021-02-03", 2, 1)])
    found = ways(monkeypatch)
    answer = client.post("/truncate-tables?backup_first=true")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert found == [COUNTED] * 2
    folder = stored_backup.path(answer.get_json()["backup"])
    stored = bucket.blob(f"{folder}reports/hiring-by-department-2021.ndjson").download_as_bytes()
    assert stored == b'{"id": 1, "department": "b", "hired": 3}\n'
