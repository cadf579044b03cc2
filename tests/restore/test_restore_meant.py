"""A load replaces rows only by the backup that its operator meant, after showing its plan."""

import gzip
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
import requests
import stored_backup
from conftest import Bucket, Database, Loader
from support import load_on_terminal, some

from hiring.deadline import Deadline
from hiring.settings import storage_settings
from hiring.storage import newest, storage_client
from jobs import command

Backup = Callable[..., dict[str, Any]]
FULL = [(1, "Sales"), (2, "Support")]


def departments(database: Database) -> list[tuple[Any, ...]]:
    """The rows of `departments`."""
    return database.execute("SELECT * FROM departments ORDER BY id")


def backups(bucket: Bucket) -> str:
    """The address of the folder of all backups."""
    return f"gs://{bucket.name}/hiring/backups/"


@pytest.fixture
def other(database: Database, empty_database: Database) -> Database:
    """Another database of the same account, with other rows."""
    for table in ("departments", "jobs", "employees"):
        empty_database.execute(f"CREATE TABLE {table} LIKE {database.name}.{table}")
    empty_database.insert("departments", [(7, "Elsewhere")])
    return empty_database


def test_the_empty_backup_after_a_truncation_replaces_no_rows(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup
) -> None:
    """A folder of backups means the newest one with rows; an empty one is passed over, named."""
    database.insert("departments", FULL)
    full = take_backup()["backup"]
    database.execute("DELETE FROM departments")
    empty = take_backup()["backup"]
    loaded = run_restore(backups(bucket))
    assert (loaded.status, departments(database)) == (0, FULL)
    (passed,) = (line for line in loaded.log if line["message"] == "backup passed over")
    assert (passed["backup"], passed["reason"]) == (empty, "it holds no rows")
    assert [line["backup"] for line in loaded.log if line["message"] == "backup found"] == [full]
    assert run_restore(empty, "--replace").status == 0
    assert departments(database) == []


def test_empty_backups_alone_replace_no_rows(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup
) -> None:
    """A folder whose backups all are empty is refused, and names the newest of them."""
    take_backup()
    empty = take_backup()["backup"]
    database.insert("departments", FULL)
    loaded = run_restore(backups(bucket), "--replace")
    assert (loaded.status, departments(database)) == (3, FULL)
    assert f"with rows of database {database.name}; the newest, {empty}, holds no rows" in (
        loaded.error
    )


def test_another_databases_backup_replaces_no_rows(
    database: Database, other: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup
) -> None:
    """A folder of backups restores the database's own newest one, even if another's is newer."""
    database.insert("departments", FULL)
    take_backup(other)
    loaded = run_restore(backups(bucket), "--replace")
    assert loaded.status == 3
    assert f"holds no backup of database {database.name}, only of {other.name}" in loaded.error
    assert departments(database) == FULL
    own = take_backup()["backup"]
    take_backup(other)
    database.execute("DELETE FROM departments")
    loaded = run_restore(backups(bucket), "--replace")
    assert (loaded.status, departments(database)) == (0, FULL)
    assert [line["backup"] for line in loaded.log if line["message"] == "backup found"] == [own]


@pytest.mark.parametrize("by", ["address", "option"])
def test_another_databases_backup_is_restored_by_its_name(
    database: Database,
    other: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    by: str,
) -> None:
    """Another database's backup is restored by its own address or with --from-database."""
    database.insert("departments", FULL)
    backup = take_backup(other)["backup"]
    take_backup()
    source = (backup,) if by == "address" else (backups(bucket), "--from-database", other.name)
    loaded = run_restore(*source, "--replace")
    assert (loaded.status, departments(database)) == (0, [(7, "Elsewhere")])
    (plan,) = (line for line in loaded.log if line["message"] == "about to load")
    environment = database.environment
    assert (plan["into"], plan["source"], plan["database"]) == (
        f"{environment['DB_USER']}@{environment['DB_SOCKET']}/{database.name}",
        backup,
        other.name,
    )
    assert plan["server"].startswith("MariaDB " if database.server.is_mariadb else "MySQL ")
    assert plan["now"] == {"departments": 2, "jobs": 0, "employees": 0}
    assert plan["afterwards"] == {"departments": 1, "jobs": 0, "employees": 0}
    assert re.fullmatch("1 second|[0-9]+ seconds", plan["age"])


@pytest.mark.parametrize(
    ("answer", "options", "status", "rows"),
    some(
        [
            ("no", [], 130, [(3, "New")]),
            ("yes", [], 0, FULL),
            ("", [], 130, [(3, "New")]),
            (None, ["--yes"], 0, FULL),
        ],
        2,
    ),
)
def test_a_terminal_is_asked_before_rows_are_replaced(
    database: Database,
    bucket: Bucket,
    take_backup: Backup,
    answer: str | None,
    options: list[str],
    status: int,
    rows: list[tuple[int, str]],
) -> None:
    """On a terminal, the plan is shown and only `yes`, or --yes, replaces the rows."""
    database.insert("departments", FULL)
    backup = take_backup()["backup"]
    database.execute("DELETE FROM departments")
    database.insert("departments", [(3, "New")])
    arguments = [backup, "--replace", *options]
    ended, text = load_on_terminal(database, bucket, ["restore", *arguments], answer)
    assert ended == status, text
    assert departments(database) == rows
    assert f"from {backup}" in text
    assert ("Type yes to go on" in text) is (answer is not None)
    assert ("nothing was loaded: not confirmed" in text) is (status == 130)
    assert "departments           1             2" in text


@pytest.mark.once
def test_a_damaged_object_of_the_same_size_is_seen_before_anything_is_chosen(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup
) -> None:
    """The newest backup whose listed checksums are right is restored; a newer one is named."""
    database.insert("departments", FULL)
    whole = take_backup()["backup"]
    damaged = take_backup()
    name = f"{stored_backup.path(damaged)}departments.avro"
    bucket.blob(name).upload_from_string(b"x" * len(bucket.blobs(name)[name]))
    database.execute("DELETE FROM departments")
    loaded = run_restore(backups(bucket))
    assert (loaded.status, departments(database)) == (0, FULL)
    (passed,) = (line for line in loaded.log if line["message"] == "backup passed over")
    assert (passed["backup"], passed["severity"]) == (damaged["backup"], "WARNING")
    assert passed["reason"].startswith("departments.avro has the CRC32C ")
    assert [line["backup"] for line in loaded.log if line["message"] == "backup found"] == [whole]


@pytest.mark.once
def test_the_newest_backup_is_found_without_asking_for_its_objects(
    database: Database,
    bucket: Bucket,
    take_backup: Backup,
    environment: pytest.MonkeyPatch,
) -> None:
    """The listing has the sizes: only manifests are read. A compressed copy counts as whole."""
    database.insert("departments", FULL)
    take_backup()
    answer = take_backup()
    name = f"{stored_backup.path(answer)}departments.avro"
    blob = bucket.blob(name)
    content = blob.download_as_bytes()
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(content))
    for key, value in (bucket.environment | {"DB_NAME": database.name}).items():
        environment.setenv(key, value)
    sent: list[str] = []
    send = requests.Session.request

    def recorded(session: Any, method: str, url: str, *rest: Any, **options: Any) -> Any:
        sent.append(unquote(url.partition("?")[0]))
        return send(session, method, url, *rest, **options)

    with environment.context() as context:
        context.setattr(requests.Session, "request", recorded)
        found = newest.find_newest(storage_settings(), Deadline(60))
    assert found.address == answer["backup"]
    objects = {url.partition("/o/")[2].rpartition("/")[2] for url in sent if "/o/" in url}
    assert objects == {"manifest.json"}


def test_the_login_is_tried_before_the_source_is_read(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup
) -> None:
    """A refused login is the error, even if the source is unreadable too."""
    bucket.storage.fail(bucket.name, status=403, times=None)
    loaded = run_restore(backups(bucket), DB_PASS="wrong")
    assert (loaded.status, "refuses the login" in loaded.error) == (5, True)


def test_missing_credentials_are_a_sentence(run_restore: Loader, tmp_path: Any) -> None:
    """Credentials that cannot be read are status 5 with the command that makes them."""
    missing = str(tmp_path / "missing.json")
    loaded = run_restore(
        "gs://bucket/backups/",
        STORAGE_EMULATOR_HOST="",
        GOOGLE_APPLICATION_CREDENTIALS=missing,
    )
    assert loaded.status == 5
    assert "gcloud auth application-default login" in loaded.error


def test_a_storage_that_cannot_be_reached_is_a_sentence(
    run_restore: Loader, environment: Any
) -> None:
    """Storage that cannot be reached is status 5, and the message says where to look."""
    environment.setattr(storage_client, "RETRY_SECONDS", 2)
    loaded = run_restore("gs://bucket/backups/", STORAGE_EMULATOR_HOST="http://127.0.0.1:9")
    assert loaded.status == 5
    reason = "127.0.0.1:9 can't be reached (connection refused); look at this machine's network"
    assert reason in loaded.error
    told = [line["reason"] for line in loaded.log if line["message"] == "storage request repeated"]
    assert told == [reason]


def test_jobs_without_credentials_or_storage_say_so(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    """A job without credentials, or whose storage can't be reached, ends with status 1 and why."""
    for name, value in (("DB_PASS", "x"), ("GCS_PATH", "bucket/hiring"), ("NO_GCE_CHECK", "true")):
        environment.setenv(name, value)
    environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    environment.setenv("CLOUDSDK_CONFIG", str(tmp_path))

    def read_newest() -> None:
        newest.find_newest(storage_settings(), Deadline(60))

    assert command.run(read_newest) == 1
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["message"], line["code"]) == ("job failed", "misconfigured")
    assert "gcloud auth application-default login" in line["reason"]
    environment.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    environment.setattr(storage_client, "RETRY_SECONDS", 2)
    assert command.run(read_newest) == 1
    repeated, line = map(json.loads, capsys.readouterr().err.splitlines())
    assert repeated["message"] == "storage request repeated"
    assert (line["message"], line["code"]) == ("job failed", "storage_failed")
    assert "127.0.0.1:9 can't be reached (connection refused)" in line["reason"]


def test_the_jobs_follow_the_same_rule(
    environment: pytest.MonkeyPatch,
    database: Database,
    other: Database,
    bucket: Bucket,
    take_backup: Backup,
) -> None:
    """A job reads the newest backup with rows of DB_NAME's database."""
    database.insert("departments", FULL)
    own = take_backup()["backup"]
    take_backup(other)
    for name, value in (bucket.environment | {"DB_NAME": database.name}).items():
        environment.setenv(name, value)
    assert newest.find_newest(storage_settings(), Deadline(60)).address == own
    database.execute("DELETE FROM departments")
    take_backup()
    assert newest.find_newest(storage_settings(), Deadline(60)).address == own
