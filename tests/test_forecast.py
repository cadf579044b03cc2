"""The forecast: what it learns from, what it says, and when it says nothing."""

import datetime
import json
from typing import Any

import pytest
from conftest import Bucket, Database
from werkzeug.test import Client

from hiring.core.version import VERSION
from local import sample

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from jobs import command, forecast

pytestmark = pytest.mark.once

DEPARTMENTS = [(1, "Legal"), (2, "Sales")]
JOBS = [(1, "Nurse")]


@pytest.fixture
def stored(bucket: Bucket) -> Any:
    """Looks up the objects of the one forecast there is, by name; none is an empty look."""

    def look() -> dict[str, Any]:
        found = bucket.blobs("hiring/forecasts/")
        assert len({name.split("/")[2] for name in found}) <= 1
        return {name.split("/", 3)[3]: json.loads(content) for name, content in found.items()}

    return look


def fill(database: Database, months: dict[tuple[int, int], list[int]]) -> None:
    """Hires on the first of each month: how many in each of the two departments."""
    database.insert("departments", DEPARTMENTS)
    database.insert("jobs", JOBS)
    hires = [
        (datetime.datetime(year, month, 1), department)  # noqa: DTZ001 - as the column is
        for (year, month), numbers in months.items()
        for department, number in enumerate(numbers, start=1)
        for _ in range(number)
    ]
    database.insert(
        "employees",
        [
            (place, "Ana", hired, department, 1)
            for place, (hired, department) in enumerate(hires, 1)
        ],
    )


def every_month(first: int, last: int) -> list[tuple[int, int]]:
    return [(year, month) for year in range(first, last + 1) for month in range(1, 13)]


@pytest.fixture
def sample_backup(client: Client, database: Database) -> None:
    for table, rows in sample.TABLES.items():
        database.insert(table, list(rows()))
    assert client.get("/backup-data").status_code == 200


def test_the_sample_data_is_forecast_better_than_by_last_year(
    sample_backup: None, stored: Any
) -> None:
    """Eight years of a dozen departments: twelve months each, and six years to test on."""
    assert command.run(forecast.run) == 0
    found = stored()
    assert sorted(found) == ["errors.json", "forecast.json", "manifest.json"]
    rows = found["forecast.json"]
    assert [(row["department_id"], row["month"]) for row in rows] == [
        (department, f"2026-{month:02}") for department in range(1, 13) for month in range(1, 13)
    ]
    assert [row["department"] for row in rows[::12]] == [
        department.name for department in sample.DEPARTMENTS
    ]
    errors = found["errors.json"]
    assert [(year["first_month"], year["last_month"]) for year in errors["years"]] == [
        (f"{year}-01", f"{year}-12") for year in range(2020, 2026)
    ]
    assert errors["better"] == "poisson"
    assert (
        errors["all"]["poisson"]["mean_absolute_error"]
        < 0.9 * errors["all"]["same_month_last_year"]["mean_absolute_error"]
    )


def test_the_manifest_says_what_was_learnt_from(sample_backup: None, stored: Any) -> None:
    """The backup, the months, the method, and every object with its checksum."""
    forecast.run()
    manifest = stored()["manifest.json"]
    objects = manifest.pop("objects")
    assert [entry["name"] for entry in objects] == ["forecast.json", "errors.json"]
    assert all({"bytes", "crc32c", "generation"} < set(entry) for entry in objects)
    assert manifest.pop("backup").startswith("gs://")
    assert manifest.pop("scikit_learn") == forecast.sklearn.__version__
    assert manifest == {
        "format": 1,
        "writer": f"hiring {VERSION}",
        "first_month": "2018-01",
        "last_month": "2025-12",
        "method": "poisson",
    }


def test_the_same_backup_gives_the_same_forecast(sample_backup: None, bucket: Bucket) -> None:
    """To the byte; and the second one overwrites nothing."""
    forecast.run()
    forecast.run()
    found = bucket.blobs("hiring/forecasts/")
    for name in ("forecast.json", "errors.json"):
        first, second = (content for path, content in found.items() if path.endswith(name))
        assert first == second


def test_a_department_that_always_hires_the_same_goes_on(
    client: Client, database: Database, stored: Any
) -> None:
    """Three years of two and of five hires a month: both forecasts are right."""
    fill(database, {month: [2, 5] for month in every_month(2020, 2022)})
    client.get("/backup-data")
    forecast.run()
    found = stored()
    assert [row["hires"] for row in found["forecast.json"]] == [2.0] * 12 + [5.0] * 12
    none = {"mean_absolute_error": 0.0, "root_mean_squared_error": 0.0}
    assert found["errors.json"]["all"] == {"poisson": none, "same_month_last_year": none}


def test_a_season_is_seen(client: Client, database: Database, stored: Any) -> None:
    """Who hires twenty each March and one in every other month, will do so again."""
    fill(
        database,
        {(year, month): [20 if month == 3 else 1, 1] for year, month in every_month(2015, 2022)},
    )
    client.get("/backup-data")
    forecast.run()
    march = [row["hires"] for row in stored()["forecast.json"][:12]]
    assert march.index(max(march)) == 2
    assert march[2] > 5 * march[1]


def test_a_noisy_repetition_is_not_beaten_and_that_is_said(
    client: Client, database: Database, stored: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What repeats itself exactly, last year tells best: the log and the figures say so."""
    months = {
        (year, month): [month * 3 % 7, month * 5 % 11] for year, month in every_month(2019, 2022)
    }
    fill(database, months)
    client.get("/backup-data")
    capsys.readouterr()
    forecast.run()
    errors = stored()["errors.json"]
    assert errors["better"] == "same_month_last_year"
    assert errors["all"]["same_month_last_year"]["mean_absolute_error"] == 0
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last["severity"] == "WARNING"
    assert last["message"] == "forecast measured"


def test_too_short_a_history_is_said_and_nothing_written(
    client: Client, database: Database, stored: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """One month less than three years is too short."""
    months = {month: [1, 1] for month in every_month(2020, 2022)[1:]}
    fill(database, months)
    client.get("/backup-data")
    capsys.readouterr()
    assert command.run(forecast.run) == 1
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["reason"].endswith("has hires over 35 months, a forecast needs 36")
    assert stored() == {}


def test_no_backup_is_said(
    client: Client, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has the folder that was looked into."""
    assert command.run(forecast.run) == 1
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["reason"] == f"gs://{bucket.name}/hiring/backups/ holds no complete backup"


def test_an_empty_table_is_a_short_history(
    client: Client, stored: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """No hire at all is not an error of its own."""
    client.get("/backup-data")
    capsys.readouterr()
    assert command.run(forecast.run) == 1
    assert "has hires over 0 months" in capsys.readouterr().err
    assert stored() == {}


def test_a_department_without_hires_is_in_it_and_a_new_one_gets_its_mean(
    client: Client, database: Database, stored: Any
) -> None:
    """A third department that never hired, and a second that began a year ago."""
    months = every_month(2019, 2022)
    fill(database, {month: [2, 4 if month[0] == 2022 else 0] for month in months})
    database.execute("INSERT INTO departments VALUES (3, 'Asleep')")
    client.get("/backup-data")
    forecast.run()
    assert [row["hires"] for row in stored()["forecast.json"]] == [2.0] * 12 + [4.0] * 12 + [
        0.0
    ] * 12


def test_what_is_still_to_come_is_not_learnt_from(
    client: Client, database: Database, stored: Any
) -> None:
    """Hires dated in the month of the backup, or later, do not count as history."""
    now = datetime.datetime.now(datetime.UTC)
    months = {month: [1, 1] for month in every_month(2019, 2022)}
    fill(database, months | {(now.year, now.month): [50, 0], (now.year + 1, 1): [50, 0]})
    client.get("/backup-data")
    forecast.run()
    assert stored()["manifest.json"]["last_month"] == "2022-12"
