"""Function and command agree on which backup counts, and on what is the newest."""

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Bucket, Database, Loader
from small_backups import NOW, folders, write_backup
from support import get, some
from test_backups_command import ODD_MANIFESTS, run
from werkzeug.test import Client

Backup = Callable[..., dict[str, Any]]
HOUR = datetime.timedelta(hours=1)
PRUNE = ("prune", "--keep-last", "1", "--keep-days", "0")
FELL_BACK = "another backup was stored later"


def told(log: str, message: str) -> list[dict[str, Any]]:
    """The log lines with this message."""
    return [each for each in map(json.loads, log.splitlines()) if each["message"] == message]


@pytest.fixture
def one_row(database: Database) -> None:
    """A department, so that a backup counts."""
    database.insert("departments", [(1, "Sales")])


def test_a_backup_that_a_clock_which_fell_back_hides_is_named(
    client: Client,
    database: Database,
    bucket: Bucket,
    one_row: None,
    take_backup: Backup,
    run_restore: Loader,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A warning names the newest by the one order and the one stored last; a prune keeps both."""
    newest = take_backup()["backup"]
    name = write_backup(bucket, NOW - 20 * HOUR, database.name, is_copy=False)
    later = f"gs://{bucket.name}/hiring/backups/{name}/"
    expected = ("WARNING", newest, later)
    capsys.readouterr()
    assert get(client, "/backup-data?max_age_hours=1")[1]["backup"] == newest
    (line,) = told(capsys.readouterr().err, FELL_BACK)
    assert (line["severity"], line["backup"], line["stored_later"]) == expected
    checked = run(bucket, "check", "--quick", DB_NAME=database.name)
    assert checked.stdout == f"whole    {newest}\n"
    (line,) = told(checked.stderr, FELL_BACK)
    assert (line["severity"], line["backup"], line["stored_later"]) == expected
    restored = run_restore(f"gs://{bucket.name}/hiring/backups/", "--replace", "--dry-run")
    (line,) = (each for each in restored.log if each["message"] == FELL_BACK)
    assert (line["severity"], line["backup"], line["stored_later"]) == expected
    assert run(bucket, *PRUNE, DB_NAME=database.name).returncode == 0
    assert set(folders(bucket)) == {newest.split("/")[-2], name}


def test_backups_in_the_order_in_which_they_were_stored_are_no_warning(
    client: Client,
    database: Database,
    bucket: Bucket,
    one_row: None,
    take_backup: Backup,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither an older backup, nor one without rows that was stored later, is a warning."""
    write_backup(bucket, NOW - 20 * HOUR, database.name, is_copy=False)
    take_backup()
    write_backup(bucket, NOW - 30 * HOUR, database.name, is_copy=False, rows=0)
    capsys.readouterr()
    assert get(client, "/backup-data?max_age_hours=1")[0] == 200
    assert told(capsys.readouterr().err, FELL_BACK) == []


@pytest.mark.parametrize("is_copy", [False, True])
def test_a_clock_that_was_ahead_hides_no_backup_from_the_command(
    database: Database, bucket: Bucket, one_row: None, take_backup: Backup, is_copy: bool
) -> None:
    """A backup by a clock an hour ahead, or its copy, is not the newest: list, check and prune."""
    ahead = write_backup(bucket, NOW + HOUR, database.name, is_copy=is_copy)
    newest = take_backup()["backup"]
    checked = run(bucket, "check", "--quick", DB_NAME=database.name)
    assert checked.stdout == f"whole    {newest}\n"
    (line,) = told(checked.stderr, "times contradict")
    assert line["stored_at"] < line["taken_at"]
    listed = json.loads(run(bucket, "list", "--json", DB_NAME=database.name).stdout)
    assert [each["backup"].split("/")[-2] for each in listed] == [newest.split("/")[-2], ahead]
    database.insert("jobs", [(1, "Clerk")])
    database.insert("employees", [(1, "Ana", "2021-01-01", 1, 1)])
    take_backup()
    pruned = run(bucket, *PRUNE, DB_NAME=database.name)
    assert f"goes   gs://{bucket.name}/hiring/backups/{ahead}/" in pruned.stdout


@pytest.mark.parametrize(
    ("variable", "found"),
    [({"lower_case_table_names": 1}, True), ({}, True), ({"lower_case_table_names": 0}, False)],
)
def test_the_command_compares_names_of_databases_as_the_server_does(
    bucket: Bucket, variable: dict[str, Any], found: bool
) -> None:
    """With DB_NAME=Hiring, backups of `hiring` are checked and pruned where case does not count."""
    new = write_backup(bucket, NOW, "hiring", **variable)
    old = write_backup(bucket, NOW - 48 * HOUR, "hiring", **variable)
    checked = run(bucket, "check", "--quick", DB_NAME="Hiring")
    assert checked.returncode == (0 if found else 3)
    assert run(bucket, *PRUNE, DB_NAME="Hiring").returncode == 0
    assert set(folders(bucket)) == ({new} if found else {new, old})


def test_a_backup_without_rows_says_so_in_the_command(bucket: Bucket, database: Database) -> None:
    """The command warns of it in the log and in its answer, and the list shows it."""
    done = run(bucket, "backup", **database.environment)
    assert (done.returncode, "holds no rows" in json.loads(done.stdout)["warning"]) == (0, True)
    (line,) = told(done.stderr, "backup without rows")
    assert line["severity"] == "WARNING"
    listed = run(bucket, "list", DB_NAME=database.name).stdout
    assert listed.splitlines()[-1].endswith(" complete, without rows")


@pytest.mark.parametrize("keys", some(ODD_MANIFESTS, 2))
def test_an_odd_manifest_stops_no_function(
    client: Client,
    database: Database,
    bucket: Bucket,
    one_row: None,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    keys: dict[str, Any],
) -> None:
    """A nightly backup with retention is 200 and prunes; the check of the age is 200."""
    environment.setenv("KEEP_BACKUPS_DAYS", "1")
    odd = write_backup(bucket, NOW - 900 * HOUR, **{"database": database.name, **keys})
    old = [write_backup(bucket, NOW - n * 24 * HOUR, database.name) for n in range(20, 28)]
    capsys.readouterr()
    status, answer = get(client, "/backup-data")
    assert (status, answer["pruned"]["left"]) == (200, {})
    assert [each.split("/")[-2] for each in answer["pruned"]["removed"]] == old[6:]
    (line,) = told(capsys.readouterr().err, "backup passed over")
    assert (line["severity"], line["backup"].split("/")[-2]) == ("WARNING", odd)
    assert get(client, "/backup-data?max_age_hours=1")[1]["backup"] == answer["backup"]
    assert odd in folders(bucket)
