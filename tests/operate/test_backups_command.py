"""manage.py lists backups, finds damage, and removes what no rule keeps and nothing else."""

import contextlib
import dataclasses
import datetime
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import stored_backup
from conftest import PROJECT, SETTINGS, Bucket, Database, forget_settings, signals_kept
from small_backups import NOW, folders, write_backup, write_backups
from support import load_on_terminal, some

import manage
from hiring.deadline import Deadline
from hiring.settings import StorageLocation
from hiring.storage import catalog, retention
from hiring.storage.folders import CloudFolder
from hiring.storage.newest import Backups
from hiring.storage.retention import Rules

Backup = Callable[..., dict[str, Any]]


def run(bucket: Bucket, *arguments: object, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command in this process."""
    given = [str(argument) for argument in arguments]
    out, log = io.StringIO(), io.StringIO()
    forget_settings()
    with (
        mock.patch.dict(os.environ, {**bucket.environment, **settings}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(log),
        signals_kept(),
    ):
        status = manage.main(given)
    forget_settings()
    return subprocess.CompletedProcess(given, status, out.getvalue(), log.getvalue())


# What every command says


def test_each_help_names_settings_statuses_and_pages(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of every command names each setting, each exit status, and where to read on."""
    with pytest.raises(SystemExit, match=r"^0$"):
        manage.main(["--help"])
    commands = re.findall(r"^    (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    assert len(commands) == 8
    settings = set(SETTINGS) - {"CLOUD_RUN_TIMEOUT_SECONDS", "STORAGE_EMULATOR_HOST"}
    for arguments in ([], *([command] for command in commands)):
        with pytest.raises(SystemExit, match=r"^0$"):
            manage.main([*arguments, "--help"])
        shown = capsys.readouterr().out
        assert settings <= set(re.findall(r"\w+", shown))
        statuses = re.findall(r"^  (\d+) +\w", shown, re.MULTILINE)
        assert statuses == ["0", "1", "2", "3", "4", "5", "6", "130"]
        for page in re.findall(r"[\w/]+\.md", shown.partition("more: ")[2]):
            assert (PROJECT / page).exists()


@pytest.mark.once
def test_a_python_without_the_packages(tmp_path: Path) -> None:
    """Without its packages the command ends with status 2 and the lines that install them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    done = subprocess.run(
        [tmp_path / "bin/python", PROJECT / "manage.py", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    assert "pip install --require-hashes -r deploy/requirements.lock\n" in done.stderr


# Backup


def test_a_backup_by_the_command(bucket: Bucket, database: Database) -> None:
    """The command stores what the function stores, prunes as it does, and prints its answer."""
    database.insert("departments", [(1, "Sales")])
    for days in range(40, 49):
        write_backup(bucket, NOW - datetime.timedelta(days=days), database.name)
    done = run(bucket, "backup", **database.environment, KEEP_BACKUPS_DAYS="30")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert stored_backup.records(bucket, answer, "departments") == [
        {"id": 1, "department": "Sales"}
    ]
    manifest = bucket.blob(f"{stored_backup.path(answer)}manifest.json").download_as_bytes()
    assert json.loads(manifest) == {
        name: value for name, value in answer.items() if name not in ("backup", "pruned")
    }
    assert len(answer["pruned"]["removed"]) == 3
    told = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert (told[0], told[-2:]) == ("backup started", ["backup stored", "backups pruned"])


@pytest.mark.parametrize(
    ("settings", "status", "reason"),
    [
        ({"GCS_PATH": ""}, 2, "GCS_PATH is not set; for example GCS_PATH=my-bucket/hiring"),
        (
            {"DB_PASS": "wrong"},
            5,
            "the database server is not available: it refuses the login of DB_USER",
        ),
    ],
)
def test_a_backup_that_fails(
    bucket: Bucket, database: Database, settings: dict[str, str], status: int, reason: str
) -> None:
    """A backup that fails has an exit status, a log line that says why, and leaves no object."""
    done = run(bucket, "backup", **database.environment | settings)
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, done.stdout, line["reason"]) == (status, "", reason)
    assert bucket.blobs() == {}


# List


def test_the_list_shows_every_folder(
    bucket: Bucket, database: Database, take_backup: Backup
) -> None:
    """The list has all databases' backups and a folder without a manifest, newest first."""
    database.insert("departments", [(1, "Sales")])
    answer = take_backup()
    old = write_backup(bucket, NOW - datetime.timedelta(days=400), "elsewhere")
    bucket.blob("hiring/backups/20200101T000000.000000Z/jobs.avro").upload_from_string("half")
    done = run(bucket, "list", "--json", DB_NAME=database.name)
    assert done.returncode == 0, done.stderr
    first, second, third = json.loads(done.stdout)
    assert (first["backup"], first["database"], first["complete"]) == (
        answer["backup"],
        database.name,
        True,
    )
    assert first["rows"] == {"departments": 1, "jobs": 0, "employees": 0}
    assert first["bytes"] == sum(map(len, bucket.blobs(stored_backup.path(answer)).values()))
    assert (second["backup"].split("/")[-2], second["database"]) == (old, "elsewhere")
    assert (third["complete"], third["fault"]) == (False, "there is no manifest.json")
    assert run(bucket, "list", "--long", DB_NAME=database.name).stdout.count(old) == 1


def test_a_line_of_the_list_fits_a_terminal_and_says_why_a_backup_stays(bucket: Bucket) -> None:
    """The list says where it looked; each folder is one line of 80 columns with its reason."""
    names = write_backups(bucket, range(9))
    write_backup(bucket, NOW - datetime.timedelta(days=400), "数据库" * 20)
    done = run(bucket, "list", KEEP_BACKUPS_DAYS="1", KEEP_BACKUPS_MONTHS="1")
    first, *lines = done.stdout.splitlines()
    assert first == f"10 folders in gs://{bucket.name}/hiring/backups/"
    assert [line[:23] for line in lines[:9]] == names
    assert "3 rows" in lines[0]
    assert [line[49:] for line in lines[:9]] == [
        "is the newest with rows",
        *["is one of the newest 7"] * 6,
        *["goes: is older than what stays"] * 2,
    ]
    assert max(map(columns, lines)) == 80
    assert lines[9].endswith("...")
    shown = run(bucket, "list").stdout
    assert "no rule of KEEP_BACKUPS_DAYS, _WEEKS or _MONTHS is set: all of them stay" in shown
    assert (shown.count(" complete\n"), shown.count("is a backup of database 数据...")) == (9, 1)


def columns(line: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in line)


def test_a_place_without_backups_is_named(bucket: Bucket) -> None:
    """Without backups, list and prune are status 0, and say what is missing; a check is 3."""
    done = run(bucket, "list", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    bucket.blob("hiring/invalid/x.jsonl").upload_from_string("x")
    for path, rest in (
        (f"gs://{bucket.name}/wrong", "no object at all"),
        (f"gs://{bucket.name}/hiring", "other objects"),
    ):
        for command in (["list"], ["prune", "--keep-last", "1", "--keep-days", "1"], ["check"]):
            done = run(bucket, *command, GCS_PATH=path)
            assert done.returncode == (3 if command == ["check"] else 0)
            told = json.loads(done.stderr.splitlines()[0])
            assert (told["message"], told["place"]) == ("no backups", f"{path}/backups/")
            assert told["reason"] == f"GCS_PATH is {path}/, which has {rest}"


@pytest.mark.parametrize(
    "command",
    [["list"], ["prune", "--keep-last", "1", "--keep-days", "1"], ["check"], ["check", "ADDRESS"]],
)
def test_a_missing_bucket_has_one_status(bucket: Bucket, command: list[str]) -> None:
    """A missing bucket is status 5 and is named, whatever the command."""
    given = ["gs://no-such-bucket/x/" if each == "ADDRESS" else each for each in command]
    done = run(bucket, *given, GCS_PATH="no-such-bucket")
    assert (done.returncode, "bucket no-such-bucket refused" in done.stderr) == (5, True)
    assert run(bucket, "list", GCS_PATH="").returncode == 2


# Names and manifests that make no sense

TERMINAL_ESCAPE = "a\x1b[2K\u202e\n# | reboot"


def test_no_name_reaches_a_terminal_raw(bucket: Bucket) -> None:
    """A database and a folder whose names hold terminal escapes are shown as visible characters."""
    write_backup(bucket, NOW, TERMINAL_ESCAPE)
    write_backup(bucket, NOW - datetime.timedelta(days=1))
    bucket.blob(f"hiring/backups/{TERMINAL_ESCAPE}/jobs.avro").upload_from_string("x")
    for command in (
        ["list"],
        ["list", "--long"],
        ["prune", "--keep-last", "1", "--keep-days", "1", "--dry-run"],
        ["check", "--all", "--quick"],
    ):
        done = run(bucket, *command, KEEP_BACKUPS_DAYS="1")
        assert done.stdout.count("reboot") >= 1, command
        for line in done.stdout.splitlines():
            assert line.isprintable()
            assert not line.startswith("#")


def test_no_name_forges_the_plan_of_a_restore(bucket: Bucket, database: Database) -> None:
    """The lines above "Type yes" show a database's name as it is, on one line."""
    name = write_backup(bucket, NOW, TERMINAL_ESCAPE)
    address = f"gs://{bucket.name}/hiring/backups/{name}/"
    status, text = load_on_terminal(database, bucket, ["restore", address, "--replace"], "no")
    assert status == 130, text
    assert r"database a\x1b[2K\u202e\n# | reboot, taken " in text
    assert all(each.isprintable() or each in "\r\n" for each in text)


ODD_MANIFESTS = {
    "a megabyte of text": {"taken_at": "x" * 10**6},
    "year 9999": {"taken_at": "9999-12-31T23:59:59-05:00"},
    "year 1": {"taken_at": "0001-01-01T00:00:00+05:00"},
    "half a surrogate": {"database": "hiring\ud83d"},
    "infinite generation": {"schema": {"name": "a", "bytes": 1, "crc32c": "", "generation": 1e999}},
    "a number of 5,000 digits": {"schema": {"name": "a", "bytes": 10**4200, "crc32c": ""}},
}


@pytest.mark.parametrize("keys", some(ODD_MANIFESTS, 5))
def test_an_odd_manifest_is_passed_over(bucket: Bucket, keys: dict[str, Any]) -> None:
    """A manifest that makes no sense is a warning in every command, and stops none."""
    good = write_backup(bucket, NOW - datetime.timedelta(days=1))
    odd = write_backup(bucket, NOW, **keys)
    for command, status in (
        (["list"], 0),
        (["list", "--json"], 0),
        (["check", "--quick"], 0),
        (["check", "--quick", "--all"], 3),
        (["prune", "--keep-last", "1", "--keep-days", "0"], 0),
    ):
        done = run(bucket, *command)
        assert done.returncode == status, done.stderr
        told = [json.loads(line) for line in done.stderr.splitlines()]
        assert len(done.stdout + done.stderr) < 5000
        (line,) = (each for each in told if each["message"] == "backup passed over")
        assert (line["severity"], line["backup"].split("/")[-2]) == ("WARNING", odd)
    assert set(folders(bucket)) == {good, odd}


# Check


def flip(bucket: Bucket, name: str) -> None:
    content = bytearray(bucket.blob(name).download_as_bytes())
    content[len(content) // 2] ^= 1
    bucket.blob(name).upload_from_string(bytes(content))


def swap(bucket: Bucket, name: str) -> None:
    """Replaces an object by another one of the same size."""
    size = len(bucket.blob(name).download_as_bytes())
    bucket.blob(name).upload_from_string(b"x" * size)


def write_again(bucket: Bucket, name: str) -> None:
    """Stores the same bytes as a new generation."""
    bucket.blob(name).upload_from_string(bucket.blob(name).download_as_bytes())


def cut(bucket: Bucket, name: str) -> None:
    manifest = name.rpartition("/")[0] + "/manifest.json"
    bucket.blob(manifest).upload_from_string(bucket.blob(manifest).download_as_bytes()[:-20])


DAMAGES = {
    "flipped": (flip, "employees.avro has the CRC32C"),
    "missing": (lambda bucket, name: bucket.blob(name).delete(), "employees.avro is not there"),
    "swapped": (swap, "employees.avro has the CRC32C"),
    "newer": (write_again, "employees.avro was written again after its manifest"),
    "cut manifest": (cut, "manifest.json is not a manifest"),
}


@pytest.mark.once
@pytest.mark.parametrize("quick", some({"full": [], "quick": ["--quick"]}))
@pytest.mark.parametrize(("damage", "says"), some(DAMAGES, 3))
def test_damage_is_found_and_named(
    bucket: Bucket,
    database: Database,
    take_backup: Backup,
    damage: Callable[[Bucket, str], None],
    says: str,
    quick: list[str],
) -> None:
    """A check of a whole backup is status 0; a damaged object is status 3 and is named."""
    database.insert("departments", [(1, "Sales")])
    answer = take_backup()
    for which in ([], ["--all"], [answer["backup"]]):
        done = run(bucket, "check", *which, *quick, DB_NAME=database.name)
        assert (done.returncode, done.stdout) == (0, f"whole    {answer['backup']}\n"), done
    damage(bucket, f"{stored_backup.path(answer)}employees.avro")
    for which in (["--all"], [answer["backup"]]):
        done = run(bucket, "check", *which, *quick, DB_NAME=database.name)
        assert (done.returncode, done.stdout) == (3, f"damaged  {answer['backup']}\n"), done
        assert says in done.stderr


def test_only_the_full_check_finds_rows_that_cannot_be_read(bucket: Bucket) -> None:
    """Rows that cannot be decoded pass the quick check but not the full one."""
    write_backup(bucket, NOW)
    assert run(bucket, "check", "--quick").returncode == 0
    done = run(bucket, "check")
    assert (done.returncode, "departments.avro can't be read" in done.stderr) == (3, True)


def test_a_missing_backup_is_never_whole(bucket: Bucket) -> None:
    """A check of a missing backup, or of a database without backups, is status 3."""
    missing = f"gs://{bucket.name}/hiring/backups/20260101T000000.000000Z/"
    write_backup(bucket, NOW, "elsewhere")
    for arguments in ([], ["--all"], [missing], ["--quick", missing], ["."]):
        assert run(bucket, "check", *arguments).returncode == 3, arguments
    done = run(bucket, "check", f"gs://{bucket.name}/hiring/backups/")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"gs://{bucket.name}/hiring/backups/ is no backup" in done.stderr


def test_a_folder_without_its_manifest_is_not_whole(bucket: Bucket) -> None:
    """A check of all is status 3 beside a folder whose manifest is gone."""
    write_backup(bucket, NOW - datetime.timedelta(days=1))
    lost = write_backup(bucket, NOW)
    bucket.blob(f"hiring/backups/{lost}/manifest.json").delete()
    done = run(bucket, "check", "--all", "--quick")
    assert done.returncode == 3
    assert f"damaged  gs://{bucket.name}/hiring/backups/{lost}/" in done.stdout
    assert run(bucket, "check", "--quick").returncode == 0


def test_an_empty_backup_is_not_called_whole(bucket: Bucket) -> None:
    """A check looks at the newest backup with rows; an empty one is called empty."""
    full = write_backup(bucket, NOW - datetime.timedelta(days=1))
    empty = write_backup(bucket, NOW, rows=0)
    address = f"gs://{bucket.name}/hiring/backups"
    assert run(bucket, "check", "--quick").stdout == f"whole    {address}/{full}/\n"
    lines = run(bucket, "check", "--quick", "--all").stdout.splitlines()
    assert lines == [f"empty    {address}/{empty}/", f"whole    {address}/{full}/"]


# Prune


def test_either_rule_keeps_a_backup(bucket: Bucket) -> None:
    """A backup that either rule keeps stays, with the reason; a dry run removes nothing."""
    ages = (0, 3, 9, 11, 40)
    names = write_backups(bucket, ages)
    before = folders(bucket)
    arguments = ("prune", "--keep-last", "2", "--keep-days", "10")
    dry = run(bucket, *arguments, "--dry-run")
    assert (dry.returncode, folders(bucket)) == (0, before)
    done = run(bucket, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(dry.stdout)
    assert set(folders(bucket)) == set(names[:3])
    assert "is one of the newest 2" in done.stdout
    assert "is within 10 days of the newest" in done.stdout


def test_no_number_of_empty_backups_removes_the_last_one_with_rows(bucket: Bucket) -> None:
    """A prune never removes the newest complete backup with rows."""
    full = write_backup(bucket, NOW - datetime.timedelta(days=9))
    for days in range(8):
        write_backup(bucket, NOW - datetime.timedelta(days=days), rows=0)
    done = run(bucket, "prune", "--keep-last", "7", "--keep-days", "7")
    assert (done.returncode, full in folders(bucket)) == (0, True)
    assert f"{full}/ is the newest with rows" in done.stdout


def test_weeks_and_months_keep_more(bucket: Bucket) -> None:
    """`--keep-weekly` and `--keep-monthly` keep the newest of each period, with the reason."""
    names = write_backups(bucket, (0, 70, 140))
    rules = ("prune", "--keep-last", "1", "--keep-days", "0")
    weekly = run(bucket, *rules, "--keep-weekly", "2", "--dry-run").stdout.splitlines()
    address = f"gs://{bucket.name}/hiring/backups"
    assert weekly[1:] == [
        f"stays  {address}/{names[1]}/ is the newest of its week",
        f"goes   {address}/{names[2]}/ is older than what stays",
    ]
    done = run(bucket, *rules, "--keep-monthly", "3")
    assert (done.returncode, set(folders(bucket))) == (0, set(names))
    assert done.stdout.count("is the newest of its month") == 2


@pytest.mark.parametrize(
    ("answer", "options", "status", "left"),
    [("yes", [], 0, 1), ("no", [], 130, 3), (None, ["--yes"], 0, 1), (None, ["--dry-run"], 0, 3)],
)
def test_a_terminal_is_asked_before_backups_are_removed(
    bucket: Bucket,
    database: Database,
    answer: str | None,
    options: list[str],
    status: int,
    left: int,
) -> None:
    """On a terminal, only `yes` or --yes removes what was shown."""
    for days in range(3):
        write_backup(bucket, NOW - datetime.timedelta(days=days), database.name)
    rules = ["prune", "--keep-last", "1", "--keep-days", "0", *options]
    ended, text = load_on_terminal(database, bucket, rules, answer)
    assert (ended, len(folders(bucket))) == (status, left), text
    question = f"Remove 2 folders of gs://{bucket.name}/hiring/backups/? Type yes to go on: "
    assert (question in text) is (answer is not None)


def test_what_is_not_a_backup_of_this_database_stays(bucket: Bucket) -> None:
    """A prune keeps other databases' backups, foreign objects, broken and young folders."""
    broken, old, newest = reversed(write_backups(bucket, (0, 90, 92)))
    other = write_backup(bucket, NOW - datetime.timedelta(days=91), "elsewhere")
    bucket.blob(f"hiring/backups/{broken}/jobs.avro").delete()
    bucket.blob(f"hiring/backups/{old}/notes.txt").upload_from_string("mine")
    for name in ("20200101T000000.000000Z/jobs.avro", "by-hand/jobs.avro", "loose.txt"):
        bucket.blob(f"hiring/backups/{name}").upload_from_string("x")
    before = folders(bucket)
    done = run(bucket, "prune", "--keep-last", "1", "--keep-days", "0")
    assert done.returncode == 0, done.stderr
    assert folders(bucket) == before | {old: {"notes.txt"}}
    for name, why in (
        (newest, "is the newest with rows"),
        (other, "is a backup of database elsewhere"),
        (broken, "is not whole: jobs.avro is not there"),
        ("20200101T000000.000000Z", "has no manifest and may be under way"),
        ("by-hand", "has not the name of a backup"),
    ):
        assert f"{name}/ {why}" in done.stdout


@pytest.mark.parametrize("name", ["", "before-migration", "20261122T151624.123456Z-keep"])
def test_a_backup_that_was_copied_to_another_name_stays(bucket: Bucket, name: str) -> None:
    """A prune removes no copy in a folder that a person named, or left without a name."""
    old, newest = reversed(write_backups(bucket, (0, 90)))
    for blob in list(bucket.client.list_blobs(bucket.name, prefix=f"hiring/backups/{old}/")):
        bucket.client.bucket(bucket.name).rename_blob(blob, blob.name.replace(old, name))
    before = folders(bucket)
    assert set(before) == {newest, name}
    done = run(bucket, "prune", "--keep-last", "1", "--keep-days", "0")
    assert "0 of 0 folders removed" in done.stdout
    assert f"backups/{name}/ has not the name of a backup" in done.stdout
    assert folders(bucket) == before


def listed(bucket: Bucket) -> Backups:
    place = CloudFolder(StorageLocation(bucket.name, "hiring/backups/"), Deadline(60))
    return Backups(place, catalog.read(place), "hiring")


@pytest.fixture
def stored_backups(bucket: Bucket, environment: pytest.MonkeyPatch) -> list[str]:
    """Stores three backups a day apart, and lets this process use the bucket."""
    for name, value in bucket.environment.items():
        environment.setenv(name, value)
    forget_settings()
    return write_backups(bucket, range(3))


@pytest.mark.parametrize("years", [-1, 0, 10])
def test_no_wrong_clock_removes_what_should_stay(
    bucket: Bucket, stored_backups: list[str], years: int
) -> None:
    """A clock that is a year behind or ten years ahead removes no backup that should stay."""
    now = NOW + datetime.timedelta(days=365 * years)
    decisions = retention.decide(listed(bucket), Rules(last=0, days=1), now)
    staying = [each.folder.name for each in decisions if each.stays]
    assert staying == stored_backups[: 3 if years < 0 else 2]
    found = listed(bucket)
    found = dataclasses.replace(found, folders=found.folders[:-1])
    decisions = retention.decide(found, Rules(last=0), now)
    assert decisions[0].stays


def test_the_backup_stored_last_stays(bucket: Bucket, stored_backups: list[str]) -> None:
    """The backup that was stored last stays, even if its server's clock is a year behind."""
    behind = write_backup(bucket, NOW - datetime.timedelta(days=365), is_copy=False)
    decisions = retention.decide(listed(bucket), Rules(last=1), NOW)
    assert [each.folder.name for each in decisions if each.stays] == [stored_backups[0], behind]


@pytest.mark.parametrize(("days", "stays"), [(3, True), (6.9, True), (7.1, False)])
def test_an_old_folder_without_a_manifest_is_removed(
    bucket: Bucket, stored_backups: list[str], days: float, stays: bool
) -> None:
    """A folder without a manifest stays while its backup may run, which is a week."""
    bucket.blob(f"hiring/backups/{stored_backups[2]}/manifest.json").delete()
    found = listed(bucket)
    later = datetime.timedelta(days=days)
    aged = [
        each
        if each.manifest
        else dataclasses.replace(
            each,
            files={
                name: dataclasses.replace(listed, created=listed.created - later)
                for name, listed in each.files.items()
                if listed.created
            },
        )
        for each in found.folders
    ]
    far = NOW + datetime.timedelta(days=9999)
    decisions = retention.decide(
        dataclasses.replace(found, folders=aged), Rules(last=9, days=9), far
    )
    why = "has no manifest and may be under way" if stays else "has no manifest"
    assert [(each.stays, each.why) for each in decisions][2] == (stays, why)
    assert retention.decide(found, Rules(last=9, days=9), far)[2].stays
    gone, left = retention.remove([found.folders[2]])
    assert (gone, left, stored_backups[2] in folders(bucket)) == (
        [found.folders[2].address],
        {},
        False,
    )


def test_what_could_not_be_removed_is_named(bucket: Bucket, stored_backups: list[str]) -> None:
    """An object that storage refuses to remove is status 6, with its name and the reason."""
    write_backup(bucket, NOW + datetime.timedelta(days=1))
    bucket.storage.fail(f"{stored_backups[1]}.*manifest", method="DELETE", status=403, times=None)
    done = run(bucket, "prune", "--keep-last", "1", "--keep-days", "0")
    assert done.returncode == 6
    assert f"{stored_backups[1]}/manifest.json" in done.stderr
    assert "403 Forbidden" in done.stderr
    assert len(folders(bucket)[stored_backups[1]]) == 5
    assert stored_backups[2] not in folders(bucket)
