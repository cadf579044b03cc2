"""The analysis in Spark gives the rows of the reports, for every year."""

import csv
import datetime
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine
import pytest
from conftest import Bucket, Database
from werkzeug.test import Client

from hiring.version import VERSION
from local import sample

pytestmark = [engine.needs_spark, pytest.mark.once]

REAL_DATA = Path(__file__).parents[3] / "shared" / "challenge"
REPORTS = ("quarterly-hired", "hiring-by-department")


def results(bucket: Bucket) -> dict[str, Any]:
    """The objects of the one analysis in a bucket, by name."""
    found = bucket.blobs("hiring/analyses/")
    return {name.rpartition("/")[2]: json.loads(content) for name, content in found.items()}


@pytest.fixture
def analyse(spark: None, client: Client, bucket: Bucket) -> Callable[[], dict[str, Any]]:
    """Analyses the newest backup in this process; returns the results by name.

    The settings are those of `client`.
    """

    def run() -> dict[str, Any]:
        importlib.import_module("jobs.analysis").run()
        return results(bucket)

    return run


def in_order(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """Rows in one order, because the functions sort by collation and Spark by code points."""
    return sorted((list(row.values()) for row in rows), key=repr)


def check(client: Client, found: dict[str, Any], years: range) -> None:
    """Compares every report of every year with the function's."""
    for report in REPORTS:
        for year in years:
            expected = client.get(f"/{report}?year={year}&format=json").get_json()
            assert in_order(found.get(f"{report}-{year}.json", [])) == in_order(expected)


def test_the_analysis_of_the_sample_data_equals_the_reports(
    client: Client, database: Database, analyse: Callable[[], dict[str, Any]]
) -> None:
    """The analysis of the sample data equals the functions' reports, and the manifest lists it."""
    for table, rows in sample.TABLES.items():
        database.insert(table, list(rows()))
    backup = client.get("/backup-data").get_json()
    found = analyse()
    check(client, found, range(2017, 2027))
    names = sorted(f"{report}-{year}.json" for report in REPORTS for year in range(2018, 2026))
    assert sorted(found) == [*names[:8], "manifest.json", *names[8:]]
    manifest = found["manifest.json"]
    assert sorted(entry["name"] for entry in manifest.pop("objects")) == names
    assert manifest == {
        "format": 1,
        "writer": f"hiring {VERSION}",
        "backup": backup["backup"],
        "taken_at": backup["taken_at"],
    }


@pytest.mark.skipif(not REAL_DATA.exists(), reason="the real data set is not here")
def test_the_analysis_of_real_data_equals_the_reports(
    client: Client, database: Database, analyse: Callable[[], dict[str, Any]]
) -> None:
    """Hires without a department, a job or a time are counted as the functions count them."""
    for column in (
        "name VARCHAR(255)",
        "datetime DATETIME",
        "department_id INT UNSIGNED",
        "job_id INT UNSIGNED",
    ):
        database.execute(f"ALTER TABLE employees MODIFY {column} NULL")
    for table, file in [
        ("departments", "departments"),
        ("jobs", "jobs"),
        ("employees", "hired_employees"),
    ]:
        with (REAL_DATA / f"{file}.csv").open(encoding="utf-8", newline="") as lines:
            rows = [
                tuple(value.removesuffix("Z") or None for value in row) for row in csv.reader(lines)
            ]
        database.insert(table, rows)
    client.get("/backup-data")
    check(client, analyse(), range(2020, 2024))


def test_hires_that_avro_can_not_hold_count_too(
    client: Client, database: Database, analyse: Callable[[], dict[str, Any]]
) -> None:
    """Hires kept as invalid records are counted as the functions count them."""
    database.insert("departments", [(1, "Legal"), (2, "007"), (3, "Sales")])
    database.insert("jobs", [(1, "42"), (2, "Übersetzer")])
    times = [
        "2021-02-00",
        "2021-00-15",
        "2021-00-00",
        "0000-00-00",
        "2020-12-31 23:59:59",
        "2021-01-01",
    ]
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = '', foreign_key_checks = 0")
        cursor.executemany(
            "INSERT INTO employees (name, datetime, department_id, job_id)"
            " VALUES ('Ana', %s, %s, %s)",
            [
                (time, department, job)
                for time in times
                for department, job in [(1, 1), (2, 2), (2, 2), (9, 1), (3, 9)]
            ],
        )
    answer = client.get("/backup-data").get_json()
    assert [table["invalid_rows"] for table in answer["tables"]] == [0, 0, 20]
    check(client, analyse(), range(2018, 2024))


@pytest.mark.parametrize("column_type", ["DATE", "TIMESTAMP(6)"])
def test_the_analysis_counts_any_type_of_time(
    client: Client, database: Database, analyse: Callable[[], dict[str, Any]], column_type: str
) -> None:
    """The analysis counts a DATE, and a TIMESTAMP near midnight of New Year, in the right year."""
    database.execute(f"ALTER TABLE employees MODIFY datetime {column_type} NOT NULL")
    database.execute(
        "ALTER TABLE employees MODIFY department_id BIGINT UNSIGNED NOT NULL,"
        " DROP FOREIGN KEY employees_department"
    )
    database.execute("ALTER TABLE departments MODIFY id BIGINT UNSIGNED NOT NULL")
    database.insert("departments", [(2**64 - 1, "Legal"), (2, "Sales")])
    database.insert("jobs", [(1, "Nurse")])
    midnight = datetime.datetime(2021, 1, 1)  # noqa: DTZ001 - as the column is
    second = datetime.timedelta(seconds=1)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.executemany(
            "INSERT INTO employees VALUES (%s, 'Ana', %s, %s, 1)",
            [
                (1, midnight - second, 2),
                (2, midnight, 2),
                (3, midnight, 2**64 - 1),
                (4, midnight + second, 2),
            ],
        )
    client.get("/backup-data")
    check(client, analyse(), range(2019, 2023))


def one_hire(database: Database, client: Client) -> str:
    """Backs up one hire; returns the address of the backup."""
    database.insert("departments", [(1, "Legal")])
    database.insert("jobs", [(1, "Nurse")])
    database.insert("employees", [(1, "Ana", "2021-03-01", 1, 1)])
    return str(client.get("/backup-data").get_json()["backup"])


def test_a_damaged_backup_is_not_analysed(
    client: Client, database: Database, bucket: Bucket, analyse: Callable[[], dict[str, Any]]
) -> None:
    """An object with a wrong checksum stops the analysis, and nothing is stored."""
    address = one_hire(database, client)
    blob = bucket.blob(f"{address.split('/', 3)[3]}employees.avro")
    content = blob.download_as_bytes()
    blob.upload_from_string(content[:-20] + bytes(4) + content[-16:])
    with pytest.raises(Exception, match=r"employees\.avro has the CRC32C"):
        analyse()
    assert results(bucket) == {}


@pytest.mark.slow
def test_the_command_analyses_the_newest_backup(
    client: Client, database: Database, bucket: Bucket, tmp_path: Path
) -> None:
    """spark-submit runs the job in workers of its own, and ends with status 0."""
    one_hire(database, client)
    settings = {**bucket.environment, "DB_NAME": database.name}
    done = engine.run(settings, tmp_path, "analysis")
    assert done.returncode == 0, done.stdout
    found = results(bucket)
    assert sorted(found) == sorted(["manifest.json", *(f"{name}-2021.json" for name in REPORTS)])
    check(client, found, range(2021, 2022))
