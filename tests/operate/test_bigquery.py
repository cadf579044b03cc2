"""`manage.py bigquery` prints bq lines that fit the columns of a backup."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Bucket, Database
from test_backups_command import run

Backup = Callable[..., dict[str, Any]]


@pytest.fixture
def lines(database: Database, bucket: Bucket, take_backup: Backup) -> tuple[str, list[list[str]]]:
    """The address of a backup with wide decimals, and the commands printed for it."""
    database.execute(
        "ALTER TABLE employees ADD pay DECIMAL(12,2) NULL, ADD exact DECIMAL(40,20) NULL,"
        " ADD widest DECIMAL(65,10) NULL, ADD photo BLOB NULL, ADD shift TIME NULL"
    )
    database.execute("ALTER TABLE jobs ADD rate DECIMAL(30,20) NULL")
    address = take_backup()["backup"]
    done = run(bucket, "bigquery", address, "--dataset", "people")
    assert (done.returncode, done.stderr) == (0, "")
    assert "# Stays STRING: widest (decimal(65,10)), shift (time)." in done.stdout.splitlines()
    assert "# Stays BYTES: photo (blob)." in done.stdout.splitlines()
    commands = [shlex.split(line) for line in done.stdout.splitlines() if line[:1] not in ("#", "")]
    return address, commands


def test_each_table_is_loaded_with_every_type_for_decimals(
    lines: tuple[str, list[list[str]]],
) -> None:
    """BigQuery chooses among all three, for a load as for an external table."""
    address, commands = lines
    loads = [command for command in commands if "load" in command]
    tables = [command[-2].removeprefix("people.") for command in loads]
    assert tables == ["departments", "jobs", "employees"]
    types = ["NUMERIC", "BIGNUMERIC", "STRING"]
    for command in loads:
        given = [each for each in command if each.startswith("--decimal_target_types=")]
        assert given == [f"--decimal_target_types={each}" for each in types]
        assert command[-1] == f"{address}{command[-2].removeprefix('people.')}.avro"
        assert {"--source_format=AVRO", "--use_avro_logical_types"} <= set(command)
    definitions = [json.loads(command[2]) for command in commands if command[0] == "printf"]
    assert [each["sourceFormat"] for each in definitions] == ["AVRO"] * 3
    assert [each["decimalTargetTypes"] for each in definitions] == [types] * 3


@pytest.mark.slow
def test_the_real_bq_knows_every_flag(lines: tuple[str, list[list[str]]]) -> None:
    """The real bq's own help names each printed flag."""
    if not shutil.which("bq"):
        pytest.skip("bq is not installed")
    for verb in ("load", "mk"):
        help_text = subprocess.run(
            ["bq", "help", verb], capture_output=True, text=True, check=False, timeout=60
        ).stdout
        for command in lines[1]:
            if verb in command:
                for flag in command[command.index(verb) + 1 :]:
                    name = flag.partition("=")[0].removeprefix("--")
                    assert not flag.startswith("--") or name in help_text, name


def test_no_name_becomes_a_command(
    database: Database, bucket: Bucket, take_backup: Backup, tmp_path: Path
) -> None:
    """The printed lines run nothing but bq and printf, whatever a column is called."""
    database.execute("ALTER TABLE employees ADD `a\ntouch made\n\x1b[2K` DECIMAL(65,10) NULL")
    address = take_backup()["backup"]
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
