"""A function's process that breaks, or functions that run at once, lose no row."""

import concurrent.futures
import os
import signal
import time
from pathlib import Path
from typing import Any

import faults
import pytest
import requests
import stored_backup
from conftest import Bucket, Bundle, Database
from faults import EMPTY, FULL, TRUNCATE
from support import count, some
from under_way import Request, logged, under_way  # noqa: F401 - a fixture

from local import serve

REPORT = "/quarterly-hired?format=json"
REPORT_ROWS = [{"department": "Sales", "job": "Clerk", "Q1": 0, "Q2": 12, "Q3": 0, "Q4": 0}]


@pytest.fixture(autouse=True)
def rows(database: Database) -> None:
    """Inserts rows to lose."""
    faults.fill(database)


@pytest.mark.parametrize("path", some([f"{TRUNCATE}?backup_first=true", "/backup-data"]))
def test_the_worker_is_killed_during_a_backup(
    bundle: Bundle, database: Database, bucket: Bucket, under_way: Any, path: str
) -> None:
    """A killed worker leaves no manifest, all rows and no lock; the next backup is whole."""
    request = under_way(path, 3)
    os.kill(faults.worker(bundle), signal.SIGKILL)
    request.join(20)
    assert request.answer is None
    assert faults.manifests(bucket) == []
    faults.wait_until(lambda: faults.sessions(database) == [], 3)
    assert count(database) == FULL
    bucket.storage.heal()
    answer = bundle.get("/backup-data")
    assert answer.status_code == 200
    faults.check_whole(bucket, answer.json())
    assert bundle.get(TRUNCATE).json() == {"dry_run": False, "rows": FULL}


@pytest.mark.slow
def test_sigterm_during_a_short_backup(bundle: Bundle, bucket: Bucket, under_way: Any) -> None:
    """A backup that ends soon after SIGTERM is whole and answered."""
    request = under_way("/backup-data", 3)
    os.kill(bundle.pid, signal.SIGTERM)
    request.join(30)
    assert request.answer is not None
    assert request.answer.status_code == 200
    faults.check_whole(bucket, request.answer.json())


@pytest.mark.once
@pytest.mark.slow
def test_sigterm_during_a_long_backup(
    bundle: Bundle, database: Database, bucket: Bucket, under_way: Any
) -> None:
    """A backup that outlasts the grace after SIGTERM leaves no manifest; the next one is whole."""
    request = under_way("/backup-data", 14)
    os.kill(bundle.pid, signal.SIGTERM)
    request.join(serve.GRACE_SECONDS + 5)
    assert request.answer is None
    faults.wait_until(lambda: faults.sessions(database) == [])
    time.sleep(4)
    bucket.storage.heal()
    assert faults.manifests(bucket) == []
    bundle.start()
    answer = bundle.get("/backup-data")
    assert answer.status_code == 200
    faults.check_whole(bucket, answer.json())


@pytest.mark.slow
def test_a_backup_stops_before_the_platforms_limit(bundle: Bundle, bucket: Bucket) -> None:
    """A backup stops before the platform's limit with 504, and leaves no object; reports work."""
    bundle.start(CLOUD_RUN_TIMEOUT_SECONDS="31")
    bucket.storage.fail(r"employees\.avro", method="PUT", action="delay", seconds=3)
    started = time.monotonic()
    answer = bundle.get("/backup-data")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timed_out")
    assert time.monotonic() - started < 31
    assert bucket.blobs() == {}
    answer = bundle.get(REPORT)
    assert (answer.status_code, answer.json()) == (200, REPORT_ROWS)


# Each other


def test_two_backups_at_once(bundle: Bundle, bucket: Bucket) -> None:
    """Two backups at once are both whole, each in a folder of its own."""
    bundle.start()
    both = [Request(bundle, "/backup-data") for _ in range(2)]
    for request in both:
        request.join(60)
    answers = [request.answer.json() for request in both if request.answer]
    for answer in answers:
        faults.check_whole(bucket, answer)
    assert len({stored_backup.path(answer) for answer in answers}) == 2


@pytest.mark.slow
def test_two_truncations_at_once(bundle: Bundle, database: Database, bucket: Bucket) -> None:
    """Of two truncations at once, each is whole or 409, and their backups have every row."""
    bundle.start()
    both = [Request(bundle, f"{TRUNCATE}?backup_first=true") for _ in range(2)]
    for request in both:
        request.join(60)
    answers = [request.answer for request in both if request.answer]
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses in ([200, 200], [200, 409])
    done = [answer.json() for answer in answers if answer.status_code == 200]
    assert sum(answer["rows"]["employees"] for answer in done) == FULL["employees"]
    for answer in done:
        faults.check_whole(bucket, answer["backup"], answer["rows"])
    assert count(database) == EMPTY


@pytest.mark.slow
def test_fifty_reports_during_a_backup(bundle: Bundle, bucket: Bucket, under_way: Any) -> None:
    """Fifty reports at once are answered during a backup, and the backup is whole."""
    backup = under_way("/backup-data", 4)
    with concurrent.futures.ThreadPoolExecutor(50) as callers:
        answers = list(callers.map(lambda _: bundle.get(REPORT), range(50)))
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, REPORT_ROWS)] * 50
    backup.join(60)
    assert backup.answer.status_code == 200
    faults.check_whole(bucket, backup.answer.json())


# The log


@pytest.mark.slow
def test_the_log_of_a_killed_backup_says_how_far_it_got(
    bundle: Bundle, bucket: Bucket, under_way: Any
) -> None:
    """The log of a killed backup has its caller, its folder and its tables, and no answer."""
    under_way("/backup-data", 3)
    os.kill(faults.worker(bundle), signal.SIGKILL)
    (started,) = logged(bundle, "backup started")
    stored = logged(bundle, "rows stored")
    assert started["backup"].startswith(f"gs://{bucket.name}/hiring/backups/")
    assert [(line["object"], line["rows"]) for line in stored] == [
        ("departments.avro", 2),
        ("jobs.avro", 1),
    ]
    for line in (started, *stored):
        assert (line["function"], line["method"], line["address"], line["agent"]) == (
            "backup_data",
            "GET",
            "127.0.0.1",
            f"python-requests/{requests.__version__}",
        )
    assert logged(bundle, "answered") == []


# Ten thousand requests


def resources(bundle: Bundle, database: Database) -> dict[str, int]:
    """The worker's memory in kB, its threads, file descriptors and database connections."""
    process = Path(f"/proc/{faults.worker(bundle)}")
    lines = dict(
        line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
    )
    return {
        "memory": int(lines["VmRSS"].split()[0]),
        "threads": int(lines["Threads"]),
        "descriptors": len(list((process / "fd").iterdir())),
        "connections": len(faults.sessions(database)),
    }


PATHS = [
    ("GET", "/quarterly-hired", 200),
    ("GET", "/hiring-by-department?format=json", 200),
    ("GET", "/quarterly-hired?format=csv&year=2020", 200),
    ("HEAD", "/hiring-by-department", 200),
    ("GET", "/quarterly-hired?year=x", 400),
    ("POST", "/quarterly-hired", 405),
    ("GET", "/truncate-tables?dry_run=1", 400),
    ("DELETE", "/backup-data", 405),
]


def start_all_threads(bundle: Bundle) -> None:
    """Sends enough requests at once that every thread of the server starts."""
    with concurrent.futures.ThreadPoolExecutor(16) as callers:
        list(callers.map(lambda _: bundle.get(REPORT), range(100)))


def send(bundle: Bundle, session: requests.Session, number: int) -> None:
    for place in range(number):
        method, path, status = PATHS[place % len(PATHS)]
        answer = session.request(method, bundle.url + path, timeout=60)
        assert answer.status_code == status


@pytest.mark.once
@pytest.mark.slow
def test_thousands_of_requests_keep_no_resources(bundle: Bundle, database: Database) -> None:
    """2,000 more requests add no thread, file or connection, and less than 5 % of memory."""
    database.execute("UPDATE employees SET essay = NULL")
    bundle.start(THREADS="4")
    start_all_threads(bundle)
    with requests.Session() as session:
        send(bundle, session, 500)
        before = resources(bundle, database)
        send(bundle, session, 2000)
        after = resources(bundle, database)
    assert after.pop("memory") < 1.05 * before.pop("memory")
    assert all(after[name] <= before[name] for name in after), (before, after)


@pytest.mark.once
@pytest.mark.slow
def test_hundreds_of_failures_keep_no_resources(
    bundle: Bundle, database: Database, tmp_path: Path
) -> None:
    """300 more failing requests add no thread, file or connection, and less than 5 % of memory."""
    bundle.start(THREADS="4", DB_SOCKET=str(tmp_path / "nowhere"))
    start_all_threads(bundle)
    with requests.Session() as session:
        for number in range(601):
            assert session.get(bundle.url + REPORT, timeout=60).status_code == 503
            if number == 300:
                before = resources(bundle, database)
    after = resources(bundle, database)
    assert after.pop("memory") < 1.05 * before.pop("memory")
    assert all(after[name] <= before[name] for name in after), (before, after)
