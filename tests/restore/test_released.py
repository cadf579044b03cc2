"""Backups of earlier versions load with every row unchanged.

`tests/released/` has one for each format of the manifest, with the rows that `fill` inserts. To add
one for a new format: `RELEASE=tests/released/format-2 ./test.sh tests/restore/test_released.py`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import every_type
import pytest
import stored_backup
from conftest import Bucket, Database, Loader
from support import content

RELEASED = sorted(Path(__file__).parents[1].joinpath("released").iterdir())
# MySQL and MariaDB have these.
COLUMNS = every_type.COLUMNS | every_type.GENERATED
NAMES = ["id", "name", "datetime", "department_id", "job_id", *COLUMNS]


def fill(database: Database) -> None:
    """Inserts rows; one of employees has a date that Avro cannot hold: an invalid record."""
    every_type.create(database, columns=COLUMNS)
    database.insert("departments", [(1, "Sales"), (7, "O'Neill's \\ café")])
    database.insert("jobs", [(1, "Clerk")])
    every_type.fill(database)
    with database.connect(init_command="SET sql_mode = 'ALLOW_INVALID_DATES'") as connection:
        connection.cursor().execute(
            "INSERT INTO employees (id, datetime) VALUES (99, '2021-02-30')"
        )
        connection.commit()


def comparable(database: Database) -> dict[str, Any]:
    """The rows of the tables, with normalised JSON: only MySQL adds spaces."""
    return content(database) | {
        "employees": [
            [every_type.compact_json(name, value) for name, value in zip(NAMES, row, strict=True)]
            for row in content(database)["employees"]
        ]
    }


@pytest.mark.parametrize("released", RELEASED, ids=lambda folder: folder.name)
def test_a_released_backup_loads(
    database: Database, empty_database: Database, run_restore: Loader, released: Path
) -> None:
    """A backup of an earlier version loads with the rows that it was taken from."""
    fill(database)
    empty_database.run_script(Path("restore/schema.sql"))
    every_type.create(empty_database, columns=COLUMNS)
    loaded = run_restore(released, **empty_database.environment)
    assert loaded.status == 0, loaded.error
    assert loaded.outcomes["employees"][:3] == (7, 7, 0)
    assert comparable(empty_database) == comparable(database)


@pytest.mark.skipif("RELEASE" not in os.environ, reason="RELEASE names no folder to write")
def test_make_a_released_backup(
    database: Database, bucket: Bucket, take_backup: Callable[..., dict[str, Any]]
) -> None:
    """A backup of the present format is stored in the folder that RELEASE names."""
    fill(database)
    answer = take_backup()
    for name, stored in bucket.blobs(stored_backup.path(answer)).items():
        file = Path(os.environ["RELEASE"]) / name.removeprefix(stored_backup.path(answer))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(stored)
