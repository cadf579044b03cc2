"""/backup-data answers the age of a backup, the counts of a dry run, and what it pruned."""

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Bucket, Database
from small_backups import folders, write_backup
from support import count, get
from werkzeug.test import Client

Backup = Callable[..., dict[str, Any]]
TODAY = datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize("value", ["", "0", "8761", "1.5", "-1", "a", "١", "9" * 40])
def test_an_age_is_a_whole_number_of_hours(client: Client, value: str) -> None:
    """An age that is not 1 to 8760 is 400, and no backup is taken."""
    status, answer = get(client, f"/backup-data?max_age_hours={value}")
    assert (status, answer["error"]["code"]) == (400, "bad_parameter")
    assert "max_age_hours takes a whole number from 1 to 8760" in answer["error"]["message"]


def test_an_age_check_takes_no_dry_run(client: Client) -> None:
    """`max_age_hours` and `dry_run` together are 400."""
    status, answer = get(client, "/backup-data?max_age_hours=26&dry_run=true")
    assert (status, answer["error"]["code"]) == (400, "bad_parameter")


def test_a_young_backup_is_answered_with_its_age(
    client: Client, database: Database, bucket: Bucket, take_backup: Backup
) -> None:
    """A check of the age answers the database's newest complete backup, and stores nothing."""
    database.insert("departments", [(1, "Sales")])
    answer = take_backup()
    write_backup(bucket, TODAY, "elsewhere")
    before = bucket.blobs()
    status, found = get(client, "/backup-data?max_age_hours=26")
    assert status == 200
    assert 0 <= found.pop("age_hours") < 0.1
    assert found == {"backup": answer["backup"], "max_age_hours": 26}
    assert bucket.blobs() == before


def test_a_missing_backup_is_an_error_in_the_log(
    client: Client, database: Database, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check without a complete backup of this database is 503 and logs an ERROR."""
    write_backup(bucket, TODAY, "elsewhere")
    bucket.blob("hiring/backups/20990101T000000.000000Z/jobs.avro").upload_from_string("half")
    status, answer = get(client, "/backup-data?max_age_hours=26")
    assert (status, answer["error"]["code"]) == (503, "backup_missing")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = (each for each in lines if each["severity"] == "ERROR")
    assert (line["message"], line["code"], line["function"]) == (
        "request failed",
        "backup_missing",
        "backup_data",
    )


def test_no_answer_repeats_megabytes_of_a_manifest(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """A manifest whose database has a name of a megabyte makes no long answer."""
    write_backup(bucket, TODAY, "x" * 10**6)
    status, answer = get(client, "/backup-data?max_age_hours=26")
    assert (status, answer["error"]["code"]) == (503, "backup_missing")
    assert len(answer["error"]["message"]) < 500


@pytest.mark.parametrize(("hours", "status"), [(25.9, 200), (26.1, 503)])
def test_a_check_fails_from_the_given_age_on(
    client: Client,
    database: Database,
    take_backup: Backup,
    environment: pytest.MonkeyPatch,
    hours: float,
    status: int,
) -> None:
    """A check of 26 hours succeeds just before the newest backup is that old, and fails after."""
    database.insert("departments", [(1, "Sales")])
    take_backup()
    moved = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":
            return cls.fromtimestamp(moved.timestamp(), tz)

    environment.setattr("hiring.storage.catalog.datetime.datetime", Clock)
    assert get(client, "/backup-data?max_age_hours=26")[0] == status


def test_a_clock_that_is_ahead_hides_no_age(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """A backup from a server whose clock is ahead is as old as its stored manifest."""
    write_backup(bucket, TODAY.replace(year=2099), database.name, is_copy=False)
    status, found = get(client, "/backup-data?max_age_hours=1")
    assert (status, found["age_hours"] >= 0) == (200, True)


def test_an_empty_backup_says_so_and_counts_for_no_age(
    client: Client, database: Database, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup without rows is a warning, and the check names the newest backup with rows."""
    full = write_backup(bucket, TODAY - datetime.timedelta(hours=30), database.name)
    status, answer = get(client, "/backup-data")
    assert (status, "holds no rows" in answer["warning"]) == (200, True)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = (each for each in lines if each["severity"] == "WARNING")
    assert (line["message"], line["backup"]) == ("backup without rows", answer["backup"])
    status, found = get(client, "/backup-data?max_age_hours=26")
    assert (status, found["error"]["code"]) == (503, "backup_missing")
    assert "is 30." in found["error"]["message"]
    assert f"{full}/; 1 newer one without rows" in found["error"]["message"]
    database.insert("departments", [(1, "Sales")])
    status, answer = get(client, "/backup-data")
    assert (status, "warning" in answer) == (200, False)
    assert get(client, "/backup-data?max_age_hours=26")[1]["backup"] == answer["backup"]


def test_the_newest_backup_is_not_the_one_with_the_wrong_clock(
    client: Client, database: Database, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup that was taken by a clock an hour ahead is older than one that was stored later."""
    ahead = TODAY + datetime.timedelta(hours=1)
    wrong = write_backup(bucket, ahead, database.name, is_copy=False)
    database.insert("departments", [(1, "Sales")])
    newest = get(client, "/backup-data")[1]["backup"]
    capsys.readouterr()
    assert get(client, "/backup-data?max_age_hours=1")[1]["backup"] == newest
    line, *_ = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["severity"], line["message"]) == ("WARNING", "times contradict")
    assert line["backup"].endswith(f"/{wrong}/")
    assert line["taken_at"] == f"{ahead:%Y-%m-%dT%H:%M:%S.%fZ}"
    assert line["stored_at"] < line["taken_at"]


@pytest.mark.parametrize(
    ("spellings", "variable", "found"),
    [
        (["hiring"], {"lower_case_table_names": 1}, True),
        (["hiring"], {"lower_case_table_names": 0}, False),
        (["hiring"], {}, True),
        (["hiring", "HIRING"], {}, False),
        (["hiring", "Hiring"], {}, True),
    ],
)
def test_names_of_databases_are_compared_as_the_server_does(
    client: Client,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    spellings: list[str],
    variable: dict[str, Any],
    found: bool,
) -> None:
    """Case counts where the manifest says so, or where the folder has both spellings."""
    environment.setenv("DB_NAME", "Hiring")
    for hours, name in enumerate(spellings):
        write_backup(bucket, TODAY - datetime.timedelta(hours=hours), name, **variable)
    status, answer = get(client, "/backup-data?max_age_hours=26")
    assert status == (200 if found else 503), answer


def test_a_wrong_path_is_named(
    client: Client, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """A check that finds no folder of backups names the place."""
    environment.setenv("GCS_PATH", f"{bucket.name}/wrong")
    status, answer = get(client, "/backup-data?max_age_hours=26")
    place = f"gs://{bucket.name}/wrong/backups/"
    assert (status, answer["error"]["message"]) == (503, f"{place} does not exist")


def test_a_dry_run_counts_and_stores_nothing(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """A dry run answers the rows and the columns that have no Avro type; nothing is stored."""
    database.insert("departments", [(1, "Sales")])
    assert get(client, "/backup-data?dry_run=true") == (
        200,
        {"dry_run": True, "rows": count(database), "columns_without_avro": []},
    )
    assert bucket.blobs() == {}
    status, answer = get(client, "/backup-data?dry_run=false")
    assert (status, "pruned" in answer) == (200, False)


def test_a_prune_keeps_the_newest_seven_backups(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """KEEP_BACKUPS_DAYS prunes old backups after a new one, and keeps the newest seven."""
    database.insert("departments", [(1, "Sales")])
    environment.setenv("KEEP_BACKUPS_DAYS", "30")
    names = [
        write_backup(bucket, TODAY - datetime.timedelta(days=days), database.name)
        for days in range(100, 90, -1)
    ]
    status, answer = get(client, "/backup-data")
    assert status == 200
    removed = [address.split("/")[-2] for address in answer["pruned"]["removed"]]
    assert (sorted(removed), answer["pruned"]["left"]) == (names[:4], {})
    assert set(folders(bucket)) == {*names[4:], answer["backup"].split("/")[-2]}


def test_a_prune_never_removes_the_last_backup_with_rows(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """KEEP_BACKUPS_WEEKS alone prunes too; eight empty backups do not remove one with rows."""
    environment.setenv("KEEP_BACKUPS_WEEKS", "1")
    full = write_backup(bucket, TODAY - datetime.timedelta(days=9), database.name)
    older = write_backup(bucket, TODAY - datetime.timedelta(days=10), database.name, rows=0)
    for days in range(1, 9):
        write_backup(bucket, TODAY - datetime.timedelta(days=days), database.name, rows=0)
    status, answer = get(client, "/backup-data")
    assert (status, full in folders(bucket)) == (200, True)
    assert answer["pruned"]["removed"] == [f"gs://{bucket.name}/hiring/backups/{older}/"]


@pytest.mark.parametrize(("method", "key"), [("GET", "failed"), ("DELETE", "left")])
def test_a_prune_that_fails_does_not_fail_the_backup(
    client: Client,
    database: Database,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    key: str,
) -> None:
    """A prune that storage refuses is a warning; the backup itself succeeds."""
    database.insert("departments", [(1, "Sales")])
    environment.setenv("KEEP_BACKUPS_DAYS", "1")
    for days in range(20, 10, -1):
        write_backup(bucket, TODAY - datetime.timedelta(days=days), database.name)
    match = "/o\\?.*prefix" if method == "GET" else "manifest"
    bucket.storage.fail(match, method=method, status=403, times=None)
    status, answer = get(client, "/backup-data")
    bucket.storage.heal()
    assert (status, "403 Forbidden" in str(answer["pruned"][key])) == (200, True), answer
    assert answer["pruned"]["removed"] == []
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["severity"] for each in lines if each["severity"] != "INFO"] == ["WARNING"]
    assert len(folders(bucket)) == 11
