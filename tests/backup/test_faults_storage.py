"""When Cloud Storage breaks, a backup is whole, or it is refused and no manifest lies."""

import gc
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import faults
import pytest
import stored_backup
from conftest import Bucket, Database
from faults import TRUNCATE
from support import count, error, get, some
from werkzeug.test import Client

from hiring.storage import objects, storage_client

ROWS = {"departments": 1, "jobs": 1, "employees": 40}
ESSAY_BYTES = 20_000
FAILED = (502, "storage_failed")

pytestmark = [
    pytest.mark.once,
    # The client leaves the connection of a refused download to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# The kinds of request that a backup sends to Cloud Storage.
KINDS = {
    "begin": {"match": "uploadType=resumable(?!.*upload_id)", "method": "POST"},
    "chunk": {"match": r"upload_id.*employees\.avro", "method": "PUT"},
    "last": {"match": r"upload_id.*manifest\.json", "method": "PUT"},
    "look": {"match": r"/o/.*employees\.avro", "method": "GET"},
    "read": {"match": r"/o/.*manifest\.json.*alt=media", "method": "GET"},
}


@pytest.fixture(autouse=True)
def rows(
    database: Database, client: Client, environment: pytest.MonkeyPatch
) -> Iterator[dict[str, int]]:
    """Inserts rows that fill several chunks; afterwards checks that no thread is left."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    database.execute("ALTER TABLE employees ADD essay LONGBLOB NULL")
    essays = [random.Random(number).randbytes(ESSAY_BYTES) for number in range(ROWS["employees"])]
    database.insert(
        "employees",
        [(n, "Ada", "2021-06-01", 1, 1, essay) for n, essay in enumerate(essays, start=1)],
    )
    environment.setattr(objects, "CHUNK_BYTES", 256 * 1024)
    threads = faults.started_threads()
    yield ROWS
    gc.collect()
    faults.wait_until(lambda: faults.started_threads() <= threads)


@pytest.fixture
def impatient(environment: pytest.MonkeyPatch) -> None:
    """Lets the client retry a failed request for one second instead of a minute."""
    environment.setattr(storage_client, "RETRY_SECONDS", 1)


def check_backup(client: Client, bucket: Bucket) -> None:
    status, answer = get(client, "/backup-data")
    assert status == 200, answer
    faults.check_whole(bucket, answer, ROWS)
    assert len(bucket.blobs()) == len(bucket.blobs(stored_backup.path(answer))) == 9


# Passing


@pytest.mark.parametrize("status", some([429, 503]))
def test_a_passing_status(client: Client, bucket: Bucket, status: int) -> None:
    """A backup is whole although each kind of request is refused twice, with 503 or 429."""
    for kind in KINDS.values():
        bucket.storage.fail(**kind, status=status, times=2)
    check_backup(client, bucket)


@pytest.mark.parametrize("kind", some([*KINDS], 2))
def test_a_reset_connection(client: Client, bucket: Bucket, kind: str) -> None:
    """A backup is whole although connections are reset during a request or an answer."""
    bucket.storage.fail(**KINDS[kind], action="reset", times=2)
    check_backup(client, bucket)


@pytest.mark.parametrize("kind", some([*KINDS], 2))
def test_a_lost_answer(client: Client, bucket: Bucket, kind: str) -> None:
    """A backup is whole and stores each object once although answers are lost."""
    bucket.storage.fail(**KINDS[kind], action="lose_answer", times=2)
    check_backup(client, bucket)


def test_the_answer_to_the_last_chunk_never_comes(
    client: Client, bucket: Bucket, impatient: None
) -> None:
    """A backup is whole although no answer ever says that its manifest is stored."""
    bucket.storage.fail(**KINDS["last"], action="lose_answer", times=None)
    check_backup(client, bucket)


def test_a_wrong_checksum_in_an_answer_to_a_chunk(client: Client, bucket: Bucket) -> None:
    """A backup is whole although every answer to a chunk has a wrong checksum."""
    bucket.storage.fail(**KINDS["chunk"], action="wrong_checksum", times=None)
    check_backup(client, bucket)


@pytest.mark.slow
def test_slow_storage(client: Client, bucket: Bucket) -> None:
    """A backup is whole although every request takes an extra tenth of a second."""
    bucket.storage.fail("", action="delay", seconds=0.1, times=None)
    check_backup(client, bucket)


# Lasting


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        pytest.param(kind, fault, marks=[] if kind in seen else pytest.mark.slow)
        for fault, seen in (
            ({"status": 503}, ("chunk", "last")),
            ({"status": 403}, KINDS),
            ({"action": "reset"}, ("chunk",)),
        )
        for kind in KINDS
    ],
)
def test_a_lasting_fault(
    client: Client, bucket: Bucket, impatient: None, kind: str, fault: dict[str, Any]
) -> None:
    """A lasting fault is 502 with the bucket's name but no upload id, and leaves nothing behind."""
    bucket.storage.fail(**KINDS[kind], **fault, times=None)
    status, answer = get(client, "/backup-data")
    assert (status, answer["error"]["code"]) == FAILED
    message = answer["error"]["message"]
    assert message.startswith(f"Cloud Storage bucket {bucket.name} refused or failed: ")
    assert "upload_id" not in message
    bucket.storage.heal()
    # An object that cannot be looked up may be another backup's: it stays.
    left = ["employees.avro"] if kind == "look" else []
    assert [name.rpartition("/")[2] for name in bucket.blobs()] == left


def test_an_object_of_another_checksum(client: Client, bucket: Bucket) -> None:
    """A backup whose object is stored with another checksum is 502 and has no manifest."""
    bucket.storage.fail(**KINDS["look"], action="wrong_checksum", times=None)
    assert error(client, "/backup-data") == FAILED
    bucket.storage.heal()
    assert faults.manifests(bucket) == []


def test_an_account_that_may_not_delete(client: Client, bucket: Bucket, impatient: None) -> None:
    """A failed backup leaves its objects where it may not delete, and the answer names them."""
    bucket.storage.fail(**KINDS["last"], status=403, times=None)
    bucket.storage.fail(r"/o/", method="DELETE", status=403, times=None)
    status, answer = get(client, "/backup-data")
    bucket.storage.heal()
    folder, _, names = answer["error"]["message"].partition("left behind in ")[2].partition(": ")
    path = folder.removeprefix(f"gs://{bucket.name}/")
    assert status == 502
    assert sorted(path + name for name in names.split(", ")) == sorted(bucket.blobs())
    assert len(bucket.blobs()) == 8
    assert faults.manifests(bucket) == []


@pytest.mark.parametrize("kind", ["begin", "read"])
def test_a_truncation_whose_backup_fails(
    client: Client, database: Database, bucket: Bucket, impatient: None, kind: str
) -> None:
    """A `backup_first` truncation whose backup fails first or last is 502 and keeps every row."""
    bucket.storage.fail(**KINDS[kind], times=None)
    assert error(client, f"{TRUNCATE}?backup_first=true") == FAILED
    assert count(database) == ROWS


def test_an_upload_that_arrives_late_stores_nothing(
    client: Client, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """An upload request that storage handles long after the backup gave it up stores nothing."""
    environment.setattr(storage_client, "RETRY_SECONDS", 0.5)
    environment.setattr(storage_client, "TIMEOUT_SECONDS", (1, 1))
    bucket.storage.fail(r"upload_id.*jobs\.avro", method="PUT", action="delay", seconds=3)
    bucket.storage.fail(r"jobs\.avro", method="GET", status=404, times=None)
    assert error(client, "/backup-data") == FAILED
    bucket.storage.heal()
    time.sleep(3)
    assert bucket.blobs() == {}


@pytest.mark.slow
def test_storage_that_falls_silent(
    client: Client, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """A backup to silent storage is 504 before the platform's limit and has no manifest."""
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "33")
    bucket.storage.fail(r"employees\.avro", action="delay", seconds=60, times=None)
    started = time.monotonic()
    assert error(client, "/backup-data") == (504, "timed_out")
    assert time.monotonic() - started < 33
    bucket.storage.heal()
    assert faults.manifests(bucket) == []


# A manifest never lies

MANIFEST_READ = KINDS["read"]
MANIFEST_LOOK = {"match": r"/o/.*manifest\.json(?!.*alt=media)", "method": "GET"}
MANIFEST_REMOVED = {"match": r"/o/.*manifest\.json", "method": "DELETE"}


def check_no_lie(bucket: Bucket) -> list[dict[str, Any]]:
    """Checks that each object of each manifest is stored with its size; returns the manifests."""
    content = bucket.blobs()
    found = []
    for name in faults.manifests(bucket):
        manifest = json.loads(content[name])
        found.append(manifest)
        objects = [each for table in manifest["tables"] for each in table["objects"]]
        for each in (*objects, *manifest["reports"], manifest["schema"]):
            assert len(content[name.removesuffix("manifest.json") + each["name"]]) == each["bytes"]
    return found


@pytest.mark.parametrize("status", some([500, 401, 403]))
def test_a_manifest_that_does_not_read_back_once(
    client: Client, bucket: Bucket, impatient: None, status: int
) -> None:
    """A backup is whole although the first attempt to read its manifest back fails."""
    bucket.storage.fail(**MANIFEST_READ, status=status, times=1)
    check_backup(client, bucket)


@pytest.mark.parametrize("status", some([503, 403, 401, 412], 2))
@pytest.mark.parametrize("kind", [MANIFEST_REMOVED, MANIFEST_LOOK])
def test_a_manifest_that_cannot_be_removed_keeps_its_objects(
    client: Client,
    database: Database,
    bucket: Bucket,
    impatient: None,
    kind: dict[str, str],
    status: int,
) -> None:
    """A failed backup whose manifest cannot be removed keeps its objects; every row stays."""
    bucket.storage.fail(**MANIFEST_READ, status=403, times=None)
    # The upload looks for the manifest once; that look must not fail.
    bucket.storage.fail(**kind, status=status, after=int(kind is MANIFEST_LOOK), times=None)
    assert error(client, f"{TRUNCATE}?backup_first=true") == FAILED
    bucket.storage.heal()
    assert len(check_no_lie(bucket)) == 1
    assert count(database) == ROWS


@pytest.mark.slow
def test_a_manifest_that_arrives_late_has_its_objects(
    client: Client, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """A manifest whose upload cannot be cancelled and succeeds late has all of its objects."""
    environment.setattr(storage_client, "RETRY_SECONDS", 0.5)
    environment.setattr(storage_client, "TIMEOUT_SECONDS", (1, 1))
    upload = r"upload_id.*manifest\.json"
    bucket.storage.fail(upload, method="PUT", action="delay", seconds=3)
    bucket.storage.fail(upload, method="PUT", status=503, times=None)
    bucket.storage.fail(upload, method="DELETE", status=503, times=None)
    assert error(client, "/backup-data") == FAILED
    assert faults.manifests(bucket) == []
    time.sleep(4)
    bucket.storage.heal()
    assert len(check_no_lie(bucket)) == 1


# A limit holds whatever a socket does


@pytest.mark.parametrize("kind", some(["chunk", "read", "begin", "last", "look"]))
def test_storage_that_drips(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch, kind: str
) -> None:
    """Storage that answers in small pieces is 504 at the function's limit; every row stays."""
    environment.setenv("CLOUD_RUN_TIMEOUT_SECONDS", "33")
    bucket.storage.fail(**KINDS[kind], action="slow", seconds=60, times=None)
    started = time.monotonic()
    assert error(client, f"{TRUNCATE}?backup_first=true") == (504, "timed_out")
    assert time.monotonic() - started < 3 + 20
    assert count(database) == ROWS
    bucket.storage.heal()
    time.sleep(1)
    check_no_lie(bucket)


@pytest.mark.parametrize("kind", some([*KINDS], 2))
@pytest.mark.parametrize(
    "fault", some([{"action": "nonsense"}, {"status": 204}, {"status": 200}], 2)
)
def test_an_answer_that_makes_no_sense(
    client: Client, database: Database, bucket: Bucket, impatient: None, kind: str, fault: Any
) -> None:
    """A backup that gets senseless answers is whole, or 502 without a manifest."""
    bucket.storage.fail(**KINDS[kind], **fault, times=None)
    status, answer = get(client, "/backup-data")
    assert (status, answer.get("error", {}).get("code")) in [(200, None), FAILED]
    bucket.storage.heal()
    assert len(check_no_lie(bucket)) == (1 if status == 200 else 0)
    assert count(database) == ROWS


@pytest.mark.slow
def test_storage_that_refuses_connections_is_answered_once_it_was_repeated_for_a_minute(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A refused connection is repeated for as long as one request may be, not for each request."""
    environment.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    environment.setattr(storage_client, "RETRY_SECONDS", 20)
    started = time.monotonic()
    status, answer = get(client, "/backup-data")
    seconds = time.monotonic() - started
    assert (status, answer["error"]["code"]) == (502, "storage_failed")
    assert "127.0.0.1:9 can't be reached (connection refused)" in answer["error"]["message"]
    # Twice the limit before: the object was looked for as long as it had been stored.
    assert seconds < 1.8 * 20, seconds
