"""All four functions handle a real data set over HTTP: 1,929 hires of 12 departments.

The data set is beside the project, not in it.
"""

import collections
import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import stored_backup
from conftest import PROJECT, Bucket, Bundle, Database

FOLDER = Path(os.environ.get("CHALLENGE", PROJECT.parent / "shared" / "challenge"))

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the data set is not beside the project"
)


def read(name: str) -> list[list[str]]:
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def hires(database: Database) -> list[list[str]]:
    """Loads the valid hires of the data set; returns them."""
    hires = [row for row in read("hired_employees.csv") if all(row)]
    database.insert("departments", [tuple(row) for row in read("departments.csv")])
    database.insert("jobs", [tuple(row) for row in read("jobs.csv")])
    database.insert(
        "employees",
        [
            (number, name, time.replace("T", " ").removesuffix("Z"), department, job)
            for number, name, time, department, job in hires
        ],
    )
    return hires


def quarterly(hires: list[list[str]]) -> list[dict[str, Any]]:
    """The quarterly report of 2021, computed from the files alone."""
    departments, jobs = dict(read("departments.csv")), dict(read("jobs.csv"))
    counted: dict[tuple[str, str], collections.Counter[int]] = collections.defaultdict(
        collections.Counter
    )
    for _, _, time, department, job in hires:
        if time.startswith("2021-"):
            counted[departments[department], jobs[job]][(int(time[5:7]) + 2) // 3] += 1
    return [
        {"department": department, "job": job, **{f"Q{n}": quarters[n] for n in (1, 2, 3, 4)}}
        # The server's order ignores case, unlike Python's.
        for (department, job), quarters in sorted(
            counted.items(), key=lambda item: [name.casefold() for name in item[0]]
        )
    ]


def by_department(hires: list[list[str]]) -> list[dict[str, Any]]:
    """The departments above the mean of 2021, computed from the files alone."""
    departments = dict(read("departments.csv"))
    hired = collections.Counter(row[3] for row in hires if row[2].startswith("2021-"))
    mean = sum(hired.values()) / len(hired)
    return [
        {"id": int(department), "department": departments[department], "hired": count}
        for department, count in hired.most_common()
        if count > mean
    ]


def test_the_real_data_through_all_four_functions(
    bundle: Bundle, database: Database, bucket: Bucket, hires: list[list[str]]
) -> None:
    """Both reports, the backup and the truncation return the right rows of a real data set."""
    assert len(hires) == 1929
    assert bundle.get("/quarterly-hired?format=json").json() == quarterly(hires)
    assert bundle.get("/hiring-by-department?format=json").json() == by_department(hires)

    answer = bundle.get("/backup-data").json()
    for table in ("departments", "jobs", "employees"):
        found = [tuple(row.values()) for row in stored_backup.records(bucket, answer, table)]
        assert found == database.execute(f"SELECT * FROM {table} ORDER BY id")
    stored = bucket.blob(f"{stored_backup.path(answer)}reports/quarterly-hired.json")
    rows = [row for row in json.loads(stored.download_as_bytes()) if row.pop("year") == 2021]
    assert rows == quarterly(hires)

    truncated = bundle.get("/truncate-tables").json()
    assert truncated["rows"] == {"departments": 12, "jobs": 183, "employees": 1929}
    for table, column in (("departments", "department"), ("jobs", "job")):
        assert database.execute(f"SELECT COUNT(*) FROM {table}") == [(0,)]
        database.execute(f"INSERT INTO {table} ({column}) VALUES ('next')")
        assert database.execute(f"SELECT id FROM {table}") == [(1,)]
    assert database.execute("SELECT COUNT(*) FROM employees") == [(0,)]
