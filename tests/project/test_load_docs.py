"""The commands in the page on restoring work as printed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PASSWORD, PROJECT, Bucket, Database

HEADING = "## Restoring a backup"
SECONDS = 300


def commands() -> str:
    """The commands of the first block in the section."""
    _, _, section = (PROJECT / "docs/backups.md").read_text().partition(f"\n{HEADING}\n")
    block = re.search(r"^```\w*\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert block is not None
    return block[1]


@pytest.mark.once
@pytest.mark.slow
def test_the_restore_section_works(
    tmp_path: Path,
    database: Database,
    bucket: Bucket,
    take_backup: Callable[..., dict[str, Any]],
) -> None:
    """The commands restore a database whose tables are gone; only names are filled in."""
    database.insert("departments", [(1, "Sales"), (2, "R&D")])
    database.insert("jobs", [(1, "Clerk")])
    database.insert("employees", [(1, "Ana", "2021-01-01 00:00:00", 1, 1)])
    take_backup()
    database.execute("DROP TABLE employees, jobs, departments")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    script, replaced = re.subn("gs://my-bucket/hiring", f"gs://{bucket.name}/hiring", commands())
    assert replaced > 0
    filled_in = {
        "DB_USER": database.environment["DB_USER"],
        "DB_PASS": f'"{PASSWORD}"',
        "DB_NAME": database.name,
    }
    for name, value in filled_in.items():
        script, replaced = re.subn(rf"\b{name}=\S+", f"{name}={value}", script)
        assert replaced == 1
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        # What the machine says beside: which python3, the port of a server of the tests' own.
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DB_PORT": str(database.server.port),
            "STORAGE_EMULATOR_HOST": bucket.environment["STORAGE_EMULATOR_HOST"],
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert database.execute("SELECT * FROM departments") == [(1, "Sales"), (2, "R&D")]
    assert database.execute("SELECT COUNT(*) FROM employees") == [(1,)]
