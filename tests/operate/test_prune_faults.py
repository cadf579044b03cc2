"""An interrupted prune leaves no manifest without its objects, and the next prune finishes it."""

import datetime
import gc
import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from conftest import PROJECT, Bucket
from small_backups import folders, no_manifest_lies, write_backups
from support import some

import manage
from hiring.deadline import Deadline
from hiring.settings import StorageLocation
from hiring.storage import catalog, retention, storage_client
from hiring.storage.folders import CloudFolder

OBJECTS = {"departments.avro", "jobs.avro", "employees.avro", "schema.sql", "manifest.json"}
COMMAND = ["prune", "--keep-last", "1", "--keep-days", "0"]
STATUSES = [403, 503]

# The client leaves the connection of a download that is refused to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored (in.|while finalizing socket) <socket"
    ":pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def impatient(bucket: Bucket, environment: pytest.MonkeyPatch) -> Iterator[None]:
    """This process uses the bucket, repeats nothing for long, and takes no folder for young."""
    for name, value in bucket.environment.items():
        environment.setenv(name, value)
    environment.setattr(storage_client, "RETRY_SECONDS", 0.1)
    environment.setattr(retention, "LONGEST_BACKUP", datetime.timedelta(days=-9))
    yield
    bucket.storage.heal()
    gc.collect()


def run_prune() -> int:
    """Runs the command in this process; returns its exit status."""
    return manage.main(COMMAND)


def the_next_prune_finishes(bucket: Bucket, newest: str) -> None:
    """Checks what an interrupted prune left, and that another one leaves the newest backup."""
    bucket.storage.heal()
    no_manifest_lies(bucket)
    assert folders(bucket)[newest] == OBJECTS
    assert run_prune() == 0
    assert folders(bucket) == {newest: OBJECTS}


@pytest.mark.parametrize("status", STATUSES)
def test_a_listing_or_manifest_that_is_refused_removes_nothing(bucket: Bucket, status: int) -> None:
    """Without the listing and every manifest, nothing is decided: status 5, nothing removed."""
    names = write_backups(bucket, range(3))
    before = folders(bucket)
    for match in (r"/o\?", *(f"{name}/manifest.json" for name in names)):
        bucket.storage.fail(match, method="GET", status=status, times=None)
        assert run_prune() == 5, match
        bucket.storage.heal()
        assert folders(bucket) == before
    the_next_prune_finishes(bucket, names[0])


@pytest.mark.parametrize("status", some(STATUSES))
def test_each_object_that_is_refused_stays_with_what_needs_it(bucket: Bucket, status: int) -> None:
    """A refused manifest keeps its whole backup; any other object stays alone: status 6."""
    for inner in sorted(OBJECTS):
        newest, middle, _ = write_backups(bucket, range(3))
        bucket.storage.fail(f"{middle}/{inner}", method="DELETE", status=status, times=None)
        assert run_prune() == 6, inner
        left = OBJECTS if inner == "manifest.json" else {inner}
        assert folders(bucket) == {newest: OBJECTS, middle: left}
        the_next_prune_finishes(bucket, newest)


@pytest.mark.slow
@pytest.mark.parametrize("status", STATUSES)
def test_a_prune_refused_from_any_request_on_can_be_finished(bucket: Bucket, status: int) -> None:
    """After any request, all later ones fail: every manifest is true, the newest backup whole."""
    statuses = []
    for after in itertools.count():
        newest, *_ = write_backups(bucket, range(3))
        bucket.storage.fail(bucket.name, after=after, status=status, times=None)
        statuses.append(run_prune())
        the_next_prune_finishes(bucket, newest)
        if statuses[-1] == 0:
            break
    # The listing and three manifests, then ten objects.
    assert statuses == [5] * 4 + [6] * 10 + [0]


@pytest.fixture
def killed_prune(bucket: Bucket) -> Iterator["subprocess.Popen[str]"]:
    """A process that prunes in children which die after a number of requests."""
    with subprocess.Popen(
        [sys.executable, PROJECT / "tests/support/killed_prune.py"],
        env={**os.environ, **bucket.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        yield started


@pytest.mark.slow
def test_a_prune_killed_after_any_request_can_be_finished(
    bucket: Bucket, killed_prune: "subprocess.Popen[str]"
) -> None:
    """SIGKILL after each request: every manifest is true, the newest backup whole."""
    assert killed_prune.stdin
    assert killed_prune.stdout
    statuses = []
    for number in itertools.count(1):
        newest, *_ = write_backups(bucket, range(3))
        killed_prune.stdin.write(f"{number}\n")
        killed_prune.stdin.flush()
        statuses.append(int(killed_prune.stdout.readline()))
        the_next_prune_finishes(bucket, newest)
        if statuses[-1] == 0:
            break
    # The listing and three manifests, two manifests and eight objects.
    assert statuses[:-1] == [-signal.SIGKILL] * (4 + 2 + 8)


def test_a_lost_answer_is_not_a_failure(bucket: Bucket, environment: pytest.MonkeyPatch) -> None:
    """Objects that were removed although the answer was lost count as removed."""
    environment.setattr(storage_client, "RETRY_SECONDS", 10)
    newest, *_ = write_backups(bucket, range(3))
    bucket.storage.fail("/o/", method="DELETE", action="lose_answer", times=5)
    assert run_prune() == 0
    assert folders(bucket) == {newest: OBJECTS}


def test_an_object_that_was_written_again_stays(bucket: Bucket) -> None:
    """Only the generation that was listed is removed."""
    newest, middle, _ = write_backups(bucket, range(3))
    place = CloudFolder(StorageLocation(bucket.name, "hiring/backups/"), Deadline(60))
    listed = catalog.read(place)
    bucket.blob(f"hiring/backups/{middle}/jobs.avro").upload_from_string(b"new")
    _, left = retention.remove(listed[1:])
    assert left == {f"{place.address}{middle}/jobs.avro": "412 PreconditionFailed"}
    assert folders(bucket) == {newest: OBJECTS, middle: {"jobs.avro"}}


@pytest.mark.slow
def test_two_prunes_at_once_succeed(bucket: Bucket) -> None:
    """Two prunes at once remove what one would, and both succeed."""
    newest, *_ = write_backups(bucket, range(4))

    def run(_: int) -> int:
        return subprocess.run(
            [sys.executable, PROJECT / "manage.py", *COMMAND],
            env={**os.environ, **bucket.environment},
            stdout=subprocess.DEVNULL,
            check=False,
            timeout=120,
        ).returncode

    with ThreadPoolExecutor(2) as both:
        assert list(both.map(run, range(2))) == [0, 0]
    assert folders(bucket) == {newest: OBJECTS}


def test_a_prune_sends_one_request_for_each_object(
    bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """A prune lists once, reads each manifest once, and removes each object with one request."""
    sent: list[str] = []
    send = requests.Session.request

    def counted(session: Any, method: str, url: str, *rest: Any, **options: Any) -> Any:
        sent.append(method)
        return send(session, method, url, *rest, **options)

    newest, *_ = write_backups(bucket, range(4))
    with environment.context() as context:
        context.setattr(requests.Session, "request", counted)
        assert run_prune() == 0
    assert folders(bucket) == {newest: OBJECTS}
    assert Counter(sent) == {"GET": 1 + 4, "DELETE": 3 * 5}
