"""A backup's memory does not grow with its tables."""

import subprocess
from pathlib import Path

import pytest
from conftest import Bundle, Database

DIGITS = "(SELECT 0 AS digit" + "".join(f" UNION ALL SELECT {n}" for n in range(1, 10)) + ")"


def fill(database: Database, rows: int) -> None:
    """So many employees, made by the server itself."""
    database.execute("DELETE FROM employees")
    places = len(str(rows)) - 1
    number = " + ".join(f"d{place}.digit * {10**place}" for place in range(places))
    digits = " CROSS JOIN ".join(f"{DIGITS} AS d{place}" for place in range(places))
    database.execute(
        "INSERT INTO employees (name, datetime, department_id, job_id)"
        f" SELECT CONCAT('Employee ', {number}), '2021-01-01' + INTERVAL ({number}) MINUTE, 1, 1"
        f" FROM {digits}"
    )


def peak_of_a_backup(bundle: Bundle, rows: int) -> int:
    """The most memory that the functions' process had, in megabytes, after one backup."""
    bundle.start()
    answer = bundle.get("/backup-data", timeout=300)
    assert answer.status_code == 200, answer.text
    assert answer.json()["tables"][2]["rows"] == rows
    worker = subprocess.check_output(["pgrep", "-P", str(bundle.pid)], text=True).strip()
    status = (Path("/proc") / worker / "status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


@pytest.mark.slow
def test_a_million_rows_take_no_more_memory(bundle: Bundle, database: Database) -> None:
    """A backup of 1,000,000 rows peaks under 200 MB, within a tenth of one of 100,000."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    fill(database, 100_000)
    small = peak_of_a_backup(bundle, 100_000)
    fill(database, 1_000_000)
    large = peak_of_a_backup(bundle, 1_000_000)
    assert large < 200
    assert large < 1.1 * small
