"""After the commit of a load, its exit status is 0 or 6, whatever fails."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import csv_folder
import pytest
from conftest import PROJECT, Database, Loader

Backup = Callable[..., dict[str, Any]]

INTERRUPTED_AT_THE_END = """
import os, runpy, signal, sys

class Late:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.SIGINT):
        kill(process, number)

sys.late = Late()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script, and interrupts Python when it has taken its own signal handlers away."""


@pytest.fixture
def backup(database: Database, take_backup: Backup) -> str:
    """The address of a backup with one row, which the database does not hold."""
    database.insert("departments", [(7, "Sales")])
    address: str = take_backup()["backup"]
    database.execute("DELETE FROM departments")
    return address


def restores(
    database: Database, run_restore: Loader, command: list[str], **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Runs a command, which must load the rows of `backup`."""
    environment = {**os.environ, **run_restore.settings, **options.pop("env", {})}
    done = subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, text=True, check=False, **options
    )
    assert database.execute("SELECT id FROM departments") == [(7,)], done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("output", [">/dev/full", ">&-", "| true"])
def test_an_output_that_fails_changes_no_status(
    database: Database, run_restore: Loader, backup: str, output: str
) -> None:
    """A restore whose rows are committed has status 0, whatever becomes of its output."""
    script = f'"$1" "$2" restore "$3" {output}; exit "${{PIPESTATUS[0]}}"'
    command = ["bash", "-c", script, "bash", sys.executable, str(PROJECT / "manage.py"), backup]
    assert restores(database, run_restore, command).returncode == 0


def test_a_log_that_ends_at_the_commit_changes_no_status(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """A restore whose outputs are both closed at its commit has status 0."""
    loading = run_restore.start_held("COMMIT", 1, backup)
    assert loading.stdin
    assert loading.stdout
    assert loading.stderr
    loading.stdout.close()
    loading.stderr.close()
    loading.stdin.write("go on\n")
    loading.stdin.close()
    assert loading.wait(60) == 0
    assert database.execute("SELECT id FROM departments") == [(7,)]


def test_an_interrupt_while_python_ends_changes_no_status(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """A restore that is interrupted while Python ends has status 0."""
    manage = str(PROJECT / "manage.py")
    command = [sys.executable, "-c", INTERRUPTED_AT_THE_END, manage, "restore", backup]
    assert restores(database, run_restore, command).returncode == 0


def test_an_interrupt_from_the_commit_on_is_held_off(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """A restore that is interrupted at its commit goes on, and has status 0."""
    loading = run_restore.start_held("COMMIT", 1, backup)
    loading.send_signal(signal.SIGINT)
    out, log = loading.communicate("go on\n", timeout=60)
    assert (loading.returncode, "departments" in out) == (0, True), log
    assert database.execute("SELECT id FROM departments") == [(7,)]


def test_a_session_that_is_killed_at_the_commit_is_status_6(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """A restore that loses its connection at its commit has status 6, and says all or none."""
    loading = run_restore.start_held("COMMIT", 1, backup)
    for (session,) in database.execute(
        "SELECT id FROM information_schema.processlist"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    ):
        database.execute(f"KILL {session}")
    _, log = loading.communicate("go on\n", timeout=60)
    assert (loading.returncode, "Traceback" in log) == (6, False)
    assert "all rows are loaded or none: look at the tables" in log
    assert "nothing was loaded" not in log


def test_a_name_that_the_encoding_lacks_is_printed_with_escapes(
    tmp_path: Path, run_import: Loader, database: Database
) -> None:
    """A final table with a name that standard output cannot encode is printed, with status 0."""
    rows = "".join(f"{number},Ana,2021-01-01,1,1\n" for number in range(20))
    folder = csv_folder.write(tmp_path, employees=f"{rows}0,Twice,2021-01-01,1,1\n")
    place = f"{run_import.settings['GCS_PATH']}/caf\u00e9"
    loading = run_import.start(folder, GCS_PATH=place, PYTHONIOENCODING="ascii:strict")
    out, log = loading.communicate(timeout=60)
    assert (loading.returncode, "caf\\xe9" in out) == (0, True), log
    assert database.execute("SELECT COUNT(*) FROM employees") == [(20,)]
