"""`manage.py bigquery` prints a bq line for each table of a backup."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Bucket
from small_backups import NOW, write_backup
from test_backups_command import run

TABLES = ["departments", "jobs", "employees"]


@pytest.fixture
def loads(bucket: Bucket) -> tuple[str, list[list[str]]]:
    """The address of a backup, and the commands printed for it."""
    address = f"gs://{bucket.name}/hiring/backups/{write_backup(bucket, NOW)}/"
    done = run(bucket, "bigquery", address, "--dataset", "people")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line[:1] not in ("#", "")]
    assert done.stdout.count(": 1 row.\n") == 3
    return address, [shlex.split(line) for line in lines]


def test_each_table_is_loaded_with_its_types(loads: tuple[str, list[list[str]]]) -> None:
    """Times keep their types; BigQuery chooses a decimal's among all that can hold one."""
    address, commands = loads
    types = [f"--decimal_target_types={each}" for each in ("NUMERIC", "BIGNUMERIC", "STRING")]
    form = ["load", "--source_format=AVRO", "--use_avro_logical_types", *types]
    for command, table in zip(commands, TABLES, strict=True):
        assert command == ["bq", *form, f"people.{table}", f"{address}{table}.avro"]


@pytest.mark.slow
def test_the_real_bq_knows_every_flag(loads: tuple[str, list[list[str]]]) -> None:
    """The real bq's own help names each printed flag."""
    if not shutil.which("bq"):
        pytest.skip("bq is not installed")
    help_text = subprocess.run(
        ["bq", "help", "load"], capture_output=True, text=True, check=False, timeout=60
    ).stdout
    for word in loads[1][0][2:]:
        name = word.partition("=")[0].removeprefix("--")
        assert not word.startswith("--") or name in help_text, name


def test_no_name_becomes_a_command(bucket: Bucket, tmp_path: Path) -> None:
    """The printed lines run nothing but bq, whatever database and dataset are called."""
    name = write_backup(bucket, NOW, "a\ntouch made\n\x1b[2K")
    address = f"gs://{bucket.name}/hiring/backups/{name}/"
    done = run(bucket, "bigquery", address, "--dataset", "people\ntouch made")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.isprintable() for line in done.stdout.splitlines())
    (tmp_path / "bq").write_text('#!/bin/sh\nprintf "%s " "$@" >> log\n')
    (tmp_path / "bq").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(
        ["bash"], input=done.stdout, text=True, cwd=tmp_path, env={"PATH": path}, check=True
    )
    assert not (tmp_path / "made").exists()
    assert "people\ntouch made.jobs" in (tmp_path / "log").read_text()
