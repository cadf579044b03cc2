"""The forecast: the months it learns from, its results, and the histories it refuses."""

import collections
import dataclasses
import datetime
import html
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import PROJECT, Bucket, Database
from werkzeug.test import Client

from hiring.version import VERSION
from jobs import command
from local import sample

if importlib.util.find_spec("sklearn") is None:
    pytest.skip("scikit-learn is not installed", allow_module_level=True)

pytestmark = pytest.mark.once

DEPARTMENTS = [(1, "Legal"), (2, "Sales")]
JOBS = [(1, "Nurse")]


def forecast() -> None:
    """Runs the job, which is imported late: scikit-learn takes seconds."""
    importlib.import_module("jobs.forecast").run()


@pytest.fixture
def stored(bucket: Bucket) -> Any:
    """A function that returns the objects of the only forecast, by name; empty without one."""

    def look() -> dict[str, Any]:
        found = bucket.blobs("hiring/forecasts/")
        assert len({name.split("/")[2] for name in found}) <= 1
        return {
            name.split("/", 3)[3]: json.loads(content)
            if name.endswith(".json")
            else content.decode()
            for name, content in found.items()
        }

    return look


def fill(database: Database, months: dict[tuple[int, int], list[int]]) -> None:
    """Inserts hires on the first day of each month, given their number in each department."""
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


def months_to_come() -> list[str]:
    """The twelve months after this one."""
    now = datetime.datetime.now(datetime.UTC)
    first = now.year * 12 + now.month
    return [f"{month // 12:04}-{month % 12 + 1:02}" for month in range(first, first + 12)]


def test_the_page_shows_past_years_and_coming_months(sample_backup: None, stored: Any) -> None:
    """The page has each department's past and forecast hires, and says where the history ends."""
    forecast()
    found = stored()
    page = found["forecast.html"]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
    cells = {
        html.unescape(re.sub("<.*?>", "", name)): re.findall(r"<td>(.*?)</td>", row)
        for name, row in rows
    }
    hired = collections.Counter((row[2].year, row[3]) for row in sample.employees())
    coming: collections.Counter[int] = collections.Counter()
    for row in found["forecast.json"]:
        coming[row["department_id"]] += row["hires"]
    for number, department in sample.departments():
        past = [str(hired[year, number]) for year in (2023, 2024, 2025)]
        assert cells[department] == [*past, f"{coming[number]:,.0f}"]
    assert "The history ends with 2025-12, " in page
    assert page.count('<rect class="past"') == 12 * 36
    assert page.count('<rect class="band"') == 12 * 12
    assert f"<title>{months_to_come()[0]}: " in page
    error = found["errors.json"]["all"]["poisson"]["root_mean_squared_error"]
    assert f"off by {error:.1f} hires in the past" in page


@pytest.fixture
def sample_backup(client: Client, database: Database) -> None:
    for table, rows in sample.TABLES.items():
        database.insert(table, list(rows()))
    assert client.get("/backup-data").status_code == 200


def test_the_sample_data_is_forecast_better_than_by_last_year(
    sample_backup: None, stored: Any
) -> None:
    """The sample data's forecast is better than last year's months, tested on six years."""
    assert command.run(forecast) == 0
    found = stored()
    assert sorted(found) == [
        "errors.json",
        "forecast.html",
        "forecast.json",
        "manifest.json",
    ]
    rows = found["forecast.json"]
    assert [(row["department_id"], row["month"]) for row in rows] == [
        (department, month) for department in range(1, 13) for month in months_to_come()
    ]
    assert [row["department"] for row in rows[::12]] == [
        department for _, department in sample.departments()
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


def test_a_department_that_never_hires_does_not_flatter_the_errors() -> None:
    """The errors are those of the departments that hire."""
    module = importlib.import_module("jobs.forecast")
    start, end = 2020 * 12, 2024 * 12
    hires = {1: np.arange(48.0) % 7}
    history = module.History(start, end, end, {1: "Legal"}, hires)
    beside = dataclasses.replace(
        history, departments={1: "Legal", 2: "Idle"}, hires=hires | {2: np.zeros(48)}
    )
    assert module.measure(beside) == module.measure(history)


def test_the_manifest_describes_the_forecast(sample_backup: None, stored: Any) -> None:
    """The manifest has the backup, its months, the method, and each object with its checksum."""
    forecast()
    manifest = stored()["manifest.json"]
    objects = manifest.pop("objects")
    assert [entry["name"] for entry in objects] == [
        "forecast.json",
        "forecast.html",
        "errors.json",
    ]
    assert all({"bytes", "crc32c", "generation"} < set(entry) for entry in objects)
    assert manifest.pop("backup").startswith("gs://")
    assert manifest.pop("scikit_learn") == importlib.metadata.version("scikit-learn")
    assert manifest == {
        "format": 1,
        "writer": f"hiring {VERSION}",
        "first_month": "2018-01",
        "last_month": "2025-12",
        "method": "poisson",
    }


def test_the_same_backup_gives_the_same_forecast(sample_backup: None, bucket: Bucket) -> None:
    """Two forecasts from the same backup are equal to the byte and overwrite nothing."""
    forecast()
    forecast()
    found = bucket.blobs("hiring/forecasts/")
    for name in ("forecast.json", "errors.json"):
        first, second = (content for path, content in found.items() if path.endswith(name))
        assert first == second


def test_constant_hires_are_forecast_exactly(
    client: Client, database: Database, stored: Any
) -> None:
    """Departments with the same hires every month are forecast exactly by both methods."""
    fill(database, {month: [2, 5] for month in every_month(2020, 2022)})
    client.get("/backup-data")
    forecast()
    found = stored()
    assert [row["hires"] for row in found["forecast.json"]] == [2.0] * 12 + [5.0] * 12
    none = {"mean_absolute_error": 0.0, "root_mean_squared_error": 0.0}
    assert found["errors.json"]["all"] == {"poisson": none, "same_month_last_year": none}


def test_a_season_is_forecast(client: Client, database: Database, stored: Any) -> None:
    """A department that hires most in March of each year is forecast to do so again."""
    fill(
        database,
        {(year, month): [20 if month == 3 else 1, 1] for year, month in every_month(2015, 2022)},
    )
    client.get("/backup-data")
    forecast()
    hires = {row["month"][5:]: row["hires"] for row in stored()["forecast.json"][:12]}
    assert max(hires, key=lambda month: hires[month]) == "03"
    assert hires["03"] > 5 * hires["02"]


def test_years_that_repeat_are_not_beaten_and_the_log_warns(
    client: Client, database: Database, stored: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """When each year repeats the last one, the log warns that last year's months were better."""
    months = {
        (year, month): [month * 3 % 7, month * 5 % 11] for year, month in every_month(2019, 2022)
    }
    fill(database, months)
    client.get("/backup-data")
    capsys.readouterr()
    forecast()
    errors = stored()["errors.json"]
    assert errors["better"] == "same_month_last_year"
    assert errors["all"]["same_month_last_year"]["mean_absolute_error"] == 0
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last["severity"] == "WARNING"
    assert last["message"] == "forecast measured"


def test_too_short_a_history_is_refused(
    client: Client, database: Database, stored: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A history of 35 months is refused with its length, and nothing is stored."""
    months = {month: [1, 1] for month in every_month(2020, 2022)[1:]}
    fill(database, months)
    client.get("/backup-data")
    capsys.readouterr()
    assert command.run(forecast) == 1
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["reason"].endswith("has hires over 35 months, a forecast needs 36")
    assert stored() == {}


def test_a_missing_backup_is_an_error(
    client: Client, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a backup, the error names the folder that was searched."""
    assert command.run(forecast) == 1
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["reason"] == f"gs://{bucket.name}/hiring/backups/ does not exist"


def test_a_backup_without_hires_is_refused(
    client: Client, stored: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup without hires is refused as a bad source, and nothing is stored."""
    client.get("/backup-data")
    capsys.readouterr()
    assert command.run(forecast) == 1
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["code"] == "bad_source"
    assert stored() == {}


def test_departments_without_hires_and_new_ones_are_forecast(
    client: Client, database: Database, stored: Any
) -> None:
    """A department without hires is forecast none, and one that is a year old its mean."""
    months = every_month(2019, 2022)
    fill(database, {month: [2, 4 if month[0] == 2022 else 0] for month in months})
    database.execute("INSERT INTO departments VALUES (3, 'Asleep')")
    client.get("/backup-data")
    forecast()
    assert [row["hires"] for row in stored()["forecast.json"]] == [2.0] * 12 + [4.0] * 12 + [
        0.0
    ] * 12


def test_future_hires_are_not_learnt_from(client: Client, database: Database, stored: Any) -> None:
    """Hires dated in the month of the backup or later are not learnt from."""
    now = datetime.datetime.now(datetime.UTC)
    months = {month: [1, 1] for month in every_month(2019, 2022)}
    fill(database, months | {(now.year, now.month): [50, 0], (now.year + 1, 1): [50, 0]})
    client.get("/backup-data")
    forecast()
    assert stored()["manifest.json"]["last_month"] == "2022-12"


@pytest.mark.slow
def test_the_job_prints_its_help() -> None:
    """`--help` prints help and runs nothing; without a setting, the job would fail."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.forecast", "--help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Forecasts hires" in done.stdout
