"""How commands end: on a signal, on an output that fails; and what a Cloud Run job logs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import csv_folder
import faults
import pytest
from conftest import ACCOUNT, PASSWORD, PROJECT, Bucket, Database
from small_backups import NOW, write_backup
from support import some
from test_backups_command import run

import backup
from hiring.deadline import Deadline
from hiring.settings import Settings
from hiring.storage.catalog import LONGEST_BACKUP

Backup = Callable[..., dict[str, Any]]
MANAGE = str(PROJECT / "manage.py")
COMMANDS = [
    ("backup",),
    ("list",),
    ("check",),
    ("check", "BACKUP"),
    ("prune", "--keep-last=1", "--keep-days=0", "--yes"),
    ("restore", "BACKUP"),
    ("import", "CSV"),
    ("bigquery", "BACKUP", "--dataset=x"),
]


def start(*arguments: str, **settings: str) -> "subprocess.Popen[str]":
    """Starts the command in a process of its own, which ignores no signal although we may."""
    return subprocess.Popen(
        ["env", "--default-signal", sys.executable, MANAGE, *arguments],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Signals


def test_an_interrupt_while_packages_are_imported_is_no_traceback() -> None:
    """Ctrl-C in the first half second ends the process, without a traceback."""
    process = start("list", PYTHONVERBOSE="1")
    assert process.stderr is not None
    while "import 'hiring.settings'" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    # A shell makes 130 of it.
    assert (process.returncode, "Traceback" in log) == (-signal.SIGINT, False), log


LOST = """
import os, signal
from operate import endings

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        [].sort()  # the handler runs here at the latest

endings.interrupt_on_every_signal()
Finalized()
print("lost")
endings.hold_off_interrupts()
"""


def test_an_interrupt_that_python_loses_still_stops_a_load_before_its_commit() -> None:
    """A Ctrl-C inside a finalizer, whose exception Python only prints, ends the load later."""
    done = subprocess.run(
        [sys.executable, "-c", LOST], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert "Exception ignored in" in done.stderr
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "lost\n"), done.stderr


@pytest.mark.parametrize("number", some([signal.SIGTERM, signal.SIGHUP, signal.SIGINT]))
def test_a_backup_that_is_told_to_end_leaves_no_object(
    bucket: Bucket, database: Database, number: int
) -> None:
    """SIGTERM and SIGHUP end a backup as Ctrl-C does: status 130, and its objects are removed."""
    database.insert("departments", [(1, "Sales")])
    bucket.storage.fail(r"upload_id.*employees\.avro", method="PUT", action="delay", seconds=3)
    done = start("backup", **bucket.environment, **database.environment)
    faults.wait_until(lambda: len(bucket.blobs("hiring/backups/")) == 2)
    time.sleep(0.3)
    done.send_signal(number)
    started = time.monotonic()
    out, log = done.communicate(timeout=60)
    assert (done.returncode, out, "Traceback" in log) == (130, "", False), log
    assert time.monotonic() - started < 10  # Cloud Run then sends SIGKILL
    lines = [json.loads(line) for line in log.splitlines()]
    assert [each["message"] for each in lines[-2:]] == ["backup failed", "command failed"]
    assert lines[-1]["reason"] == "interrupted"
    assert bucket.blobs() == {}


def test_a_drill_that_is_told_to_end_drops_its_database(
    bucket: Bucket, database: Database, take_backup: Backup
) -> None:
    """SIGTERM ends a drill with status 130; it drops the scratch database and stores why."""
    database.server.create_account(ACCOUNT, PASSWORD, f"{database.name}_drill")
    database.insert("departments", [(1, "Sales")])
    address = take_backup()["backup"]
    bucket.storage.fail(r"/o/.*employees\.avro", method="GET", action="delay", seconds=2)
    done = start("drill", **bucket.environment, **database.environment)
    assert done.stderr
    while "backup found" not in done.stderr.readline():
        pass
    time.sleep(0.3)
    done.send_signal(signal.SIGTERM)
    _, log = done.communicate(timeout=60)
    assert done.returncode == 130, log
    (record,) = map(json.loads, bucket.blobs("hiring/drills/").values())
    assert (record["result"], record["backup"]) == ("interrupted", address)
    found = database.execute("SHOW DATABASES LIKE %s", (f"{database.name}\\_drill",))
    assert list(found) == []


def test_an_ignored_signal_stays_ignored(bucket: Bucket, database: Database) -> None:
    """Under nohup a backup outlives its terminal."""
    bucket.storage.fail(r"upload_id.*employees\.avro", method="PUT", action="delay", seconds=3)
    done = subprocess.Popen(
        ["nohup", sys.executable, MANAGE, "backup"],
        env=os.environ | bucket.environment | database.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    faults.wait_until(lambda: len(bucket.blobs("hiring/backups/")) == 2)
    done.send_signal(signal.SIGHUP)
    _, log = done.communicate(timeout=60)
    assert done.returncode == 0, log


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_command_stops_itself_before_its_time_limit(
    bucket: Bucket,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    """Where the reserve leaves no time, each command ends with status 5 and changes nothing."""
    name = write_backup(bucket, NOW, database.name)
    csv_folder.write(tmp_path, departments="1,Sales\n")
    places = {"BACKUP": f"gs://{bucket.name}/hiring/backups/{name}/", "CSV": str(tmp_path)}
    before = set(bucket.blobs())
    monkeypatch.setattr("hiring.settings.RESERVED_SECONDS", 61)
    given = [places.get(each, each) for each in arguments]
    done = run(bucket, *given, **database.environment, TASK_TIMEOUT_SECONDS="61")
    assert (done.returncode, "stopped after 0 s, the time limit" in done.stderr) == (5, True)
    assert set(bucket.blobs()) == before


@pytest.mark.parametrize(
    ("setting", "most"),
    [({}, 86370), ({"TASK_TIMEOUT_SECONDS": "604800"}, LONGEST_BACKUP.total_seconds() - 30)],
)
def test_a_backup_stops_itself_before_its_folder_may_be_pruned(
    bucket: Bucket,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    setting: dict[str, str],
    most: float,
) -> None:
    """The command's time limit is shorter than the time for which its folder may be under way."""
    left: list[float] = []

    def take(_: Settings, deadline: Deadline) -> dict[str, Any]:
        left.append(deadline.remaining())
        return {}

    monkeypatch.setattr(backup, "take", take)
    assert run(bucket, "backup", **database.environment, **setting).returncode == 0
    assert most - 5 < left[0] < most


# Outputs


@pytest.mark.parametrize(
    ("output", "status", "says"),
    [("| true", 0, ""), (">&-", 0, ""), (">/dev/full", 1, "standard output cannot be written")],
)
def test_an_output_that_fails_is_no_traceback(
    bucket: Bucket, output: str, status: int, says: str
) -> None:
    """A reader that has gone is no error; a full disk is one, in a sentence."""
    write_backup(bucket, NOW)
    script = f'sleep 0.1; "$1" "$2" list --long {output}; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, MANAGE],
        env=os.environ | bucket.environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert says in done.stderr
    assert bool(done.stderr) is bool(says)


# A Cloud Run job


def test_an_unforeseen_error_is_one_line_of_a_jobs_log(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback is one JSON object in a job, with status 1; elsewhere it is raised."""

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("hiring.storage.newest.read_all", fail)
    done = run(bucket, "list", CLOUD_RUN_JOB="hiring-operate")
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, line["message"], line["severity"]) == (1, "command failed", "ERROR")
    assert "RuntimeError: broken" in line["stack_trace"]
    with pytest.raises(RuntimeError, match="broken"):
        run(bucket, "list")


def test_a_job_logs_one_json_object_a_line(
    bucket: Bucket, database: Database, tmp_path: Path
) -> None:
    """Each command says in a job what a terminal shows, as lines of JSON with a severity."""
    database.server.create_account(ACCOUNT, PASSWORD, f"{database.name}_drill")
    database.insert("departments", [(1, "Sales")])
    settings = database.environment | {"CLOUD_RUN_JOB": "hiring-operate"}

    def lines(*arguments: object) -> list[dict[str, Any]]:
        done = run(bucket, *arguments, **settings)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        found = [json.loads(line) for line in done.stderr.splitlines()]
        assert all(each["severity"] and each["message"] for each in found)
        return found

    (stored,) = (each["answer"] for each in lines("backup") if each["message"] == "answer")
    assert stored["tables"][0]["rows"] == 1
    address = stored["backup"]
    said = [each["message"] for each in lines("list")]
    assert (said[0], len(said)) == (f"1 folder in gs://{bucket.name}/hiring/backups/", 3)
    assert lines("list", "--json")[0]["answer"][0]["backup"] == address
    assert lines("check")[-1]["message"] == f"whole    {address}"
    rules = ("prune", "--keep-last", "1", "--keep-days", "1")
    said = [each["message"] for each in lines(*rules)]
    assert said == [
        f"stays  {address} is the newest with rows",
        "progress",
        "0 of 0 folders removed",
    ]
    assert lines("drill")[-1]["answer"]["result"] == "good"
    folder = csv_folder.write(tmp_path, departments="1,Sales\n", employees="1,Ana,2021-01-01,1,1\n")
    loads = (("import", folder), ("restore", address))
    for command in loads:
        for more in (["--dry-run"], []):
            said = [each["message"] for each in lines(*command, "--replace", *more)]
            begin = next(place for place, each in enumerate(said) if each.startswith("table   "))
            table = [each.split()[0] for each in said[begin + 2 : begin + 5]]
            assert table == ["departments", "jobs", "employees"]
    assert any(
        each["message"].startswith("bq ") for each in lines("bigquery", address, "--dataset=x")
    )
