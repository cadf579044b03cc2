"""Rows of CSV files that the table refuses or changes, and how many of them an import bears."""

import json
from pathlib import Path
from typing import Any

import csv_folder
import pymysql
import pytest
from conftest import Bucket, Database, Loader
from pymysql.cursors import Cursor
from support import content, some

TABLES = ("departments", "jobs", "employees")
ALL_INVALID = ("--max-invalid", "100%")


def records(bucket: Bucket, table: str) -> dict[int, list[str]]:
    """The reasons of the invalid records of a table, by line."""
    found = {}
    for name, text in bucket.blobs("hiring/invalid/").items():
        if name.endswith(f"/{table}.jsonl"):
            for line in text.splitlines():
                record = json.loads(line)
                found[record["line"]] = record["reasons"]
    return found


# What the table refuses: a column of departments, a file, and the reason for its second line.
REFUSALS = {
    "an emoji in utf8mb3": ("VARCHAR(9) CHARACTER SET utf8mb3", "😀", "Incorrect string value"),
    "a letter not in latin1": ("VARCHAR(9) CHARACTER SET latin1", "Łódź", "Incorrect string value"),
    "a text too long": ("TINYTEXT", "x" * 300, "Data too long for column"),
    "no member of an ENUM": ("ENUM('Sales','R&D')", "HR", "Data truncated for column"),
    "a CHECK constraint": (
        "VARCHAR(9), ADD CONSTRAINT no_hr CHECK (department <> 'HR')",
        "HR",
        "no_hr",
    ),
    "a unique index": ("VARCHAR(9) UNIQUE", "sales", "Duplicate entry 'sales'"),
    "another case of a member": (
        "ENUM('Sales','R&D')",
        "r&d",
        "column department of the row with id 2 was 'r&d' and is 'R&D'",
    ),
    "the number of a member": (
        "ENUM('Sales','R&D')",
        "2",
        "column department of the row with id 2 was '2' and is 'R&D'",
    ),
    "bytes that are padded": (
        "BINARY(5)",
        "R&D",
        "column department of the row with id 2 was _binary'R&D' and is _binary'R&D\x00\x00'",
    ),
}


@pytest.mark.parametrize(("column", "text", "reason"), some(REFUSALS))
def test_a_row_that_the_column_refuses_is_an_invalid_record(
    database: Database,
    bucket: Bucket,
    run_import: Loader,
    tmp_path: Path,
    column: str,
    text: str,
    reason: str,
) -> None:
    """A row that the column refuses or changes is an invalid record with its line and the reason.

    Rows that refer to it are invalid, too, and the others are loaded.
    """
    database.execute(f"ALTER TABLE departments MODIFY department {column}")
    source = csv_folder.write(
        tmp_path,
        employees="1,Ana,2021-01-01,1,1\n2,Bo,2021-01-01,2,1\n",
        departments=f"1,Sales\n2,{text}\n",
    )
    loaded = run_import(source, *ALL_INVALID)
    assert loaded.status == 0, loaded.error
    assert [outcome[:3] for outcome in loaded.outcomes.values()] == [
        (2, 1, 1),
        (2, 2, 0),
        (2, 1, 1),
    ]
    ((line, (found,)),) = records(bucket, "departments").items()
    assert (line, reason in found, "at row" in found) == (2, True, False), found
    assert records(bucket, "employees") == {
        2: ["department_id is not the id of a valid row of departments: 2"]
    }
    assert [number for number, _ in content(database)["departments"]] == [1]


def test_refused_rows_are_found_among_many(
    database: Database, bucket: Bucket, run_import: Loader, tmp_path: Path
) -> None:
    """Refused rows anywhere among thousands are the only invalid records, in the file's order."""
    database.execute("ALTER TABLE jobs MODIFY job VARCHAR(20) CHARACTER SET latin1 NOT NULL")
    refused = {1, 2, 500, 501, 1234, 2000}
    jobs = "".join(f"{n},{'Ł' if n in refused else 'Job'} {n}\n" for n in range(1, 2001))
    loaded = run_import(csv_folder.write(tmp_path, "1,Ana,2021-01-01,1,3\n", jobs=jobs))
    assert (loaded.status, loaded.outcomes["jobs"][:3]) == (0, (2000, 1994, 6))
    assert list(records(bucket, "jobs")) == sorted(refused)
    there = {number for number, _ in content(database)["jobs"]}
    assert there == set(range(1, 2001)) - refused


def test_the_id_of_a_refused_row_is_free_for_a_later_one(
    database: Database, bucket: Bucket, run_import: Loader, tmp_path: Path
) -> None:
    """Of rows with the same id, the first that the table takes keeps it."""
    database.execute("ALTER TABLE jobs MODIFY job VARCHAR(9) CHARACTER SET latin1 NOT NULL")
    jobs = "1,Łukasz\n1,Clerk\n1,Analyst\n2,Ł\n2,Ł\n"
    source = csv_folder.write(tmp_path, "1,Ana,2021-01-01,1,1\n", jobs=jobs)
    assert run_import(source, *ALL_INVALID).outcomes["jobs"][:3] == (5, 1, 4)
    assert content(database)["jobs"] == [(1, "Clerk")]
    assert {line: len(found) for line, found in records(bucket, "jobs").items()} == {
        1: 1,
        3: 1,
        4: 1,
        5: 1,
    }
    assert records(bucket, "jobs")[3] == ["id is that of an earlier row: 1"]


# How many


def test_a_file_with_too_many_invalid_rows_loads_nothing(
    database: Database, bucket: Bucket, run_import: Loader, tmp_path: Path
) -> None:
    """More than a tenth of one file's rows invalid is status 4, with reasons and stored records."""
    database.insert("departments", [(9, "Old")])
    rows = "".join(f"{n},Ana,2021-01-01,1,1\n" for n in range(1, 10))
    before = content(database)
    source = csv_folder.write(tmp_path, f"{rows}10,,2021-01-01,1,1\n11,,yesterday,1,1\n")
    for options, where in ((["--dry-run"], "not stored"), ([], f"gs://{bucket.name}/")):
        loaded = run_import(source, "--replace", *options)
        assert loaded.status == 4
        assert (
            "nothing was loaded: more than 10 % of the rows of a file are invalid; --max-invalid"
            " allows more: employees.csv: 2 of 11 (2 x name is empty, 1 x datetime is not a time"
            f" like 2021-11-07T02:48:42Z: 'yesterday'), {where}"
        ) in loaded.error
        assert content(database) == before
    assert list(records(bucket, "employees")) == [10, 11]
    loaded = run_import(source, "--replace", "--max-invalid", "19%")
    assert (loaded.status, loaded.outcomes["employees"][:3]) == (0, (11, 9, 2))


def test_a_tenth_of_the_rows_may_be_invalid(
    database: Database, run_import: Loader, tmp_path: Path
) -> None:
    """Exactly a tenth of a file's rows may be invalid; `--max-invalid 0%` allows none."""
    rows = "".join(f"{n},Ana,2021-01-01,1,1\n" for n in range(1, 10))
    source = csv_folder.write(tmp_path, f"{rows}10,,2021-01-01,1,1\n")
    assert run_import(source, "--max-invalid", "0%").status == 4
    assert run_import(source).status == 0


def test_a_column_that_no_row_can_fill_is_named(
    database: Database, run_import: Loader, tmp_path: Path
) -> None:
    """A column that needs a value and is in no file makes every row invalid, and is named."""
    database.execute("ALTER TABLE jobs ADD grade INT NOT NULL")
    loaded = run_import(csv_folder.write(tmp_path))
    assert (loaded.status, "'grade' doesn't have a default value" in loaded.error) == (4, True)


@pytest.mark.parametrize(
    ("number", "message", "status"),
    [(1114, "The table 'jobs' is full", 5), (1030, "Got error 168 from storage engine", 4)],
)
def test_an_error_that_is_no_rows_fault_fails_the_import(
    database: Database,
    run_import: Loader,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    number: int,
    message: str,
    status: int,
) -> None:
    """A full or failing disk makes no row invalid: nothing is loaded, whatever is allowed."""
    execute = Cursor.execute

    def fail(cursor: Cursor, statement: Any, parameters: Any = None) -> Any:
        if isinstance(statement, bytes) and statement.startswith(b"INSERT INTO `jobs`"):
            raise pymysql.err.OperationalError(number, message)
        return execute(cursor, statement, parameters)

    environment.setattr(Cursor, "execute", fail)
    loaded = run_import(csv_folder.write(tmp_path), *ALL_INVALID)
    assert (loaded.status, "disk is full" in loaded.error) == (status, number == 1114)
    assert content(database) == {table: [] for table in TABLES}


def test_a_generated_column_is_not_filled(
    database: Database, run_import: Loader, tmp_path: Path
) -> None:
    """A column of a file that the server generates is status 2, and is named."""
    database.execute("ALTER TABLE jobs DROP job, ADD job VARCHAR(9) AS (CONCAT('Job ', 1)) STORED")
    loaded = run_import(csv_folder.write(tmp_path))
    assert (loaded.status, "table jobs has no column job" in loaded.error) == (2, True)


# Blanks


@pytest.mark.parametrize(("column", "cut"), [("CHAR(9)", 2), ("VARCHAR(9)", 0)])
def test_blanks_around_names_are_counted(
    database: Database, run_import: Loader, tmp_path: Path, column: str, cut: int
) -> None:
    """The final table counts names with blanks, and those whose last blanks a CHAR drops."""
    database.execute(f"ALTER TABLE departments MODIFY department {column} NOT NULL")
    source = csv_folder.write(
        tmp_path, departments='1, Sales\n2, "Bo"\n3,R&D\n4,HR   \n5,IT          \n'
    )
    for options in (["--dry-run"], []):
        loaded = run_import(source, *options, *ALL_INVALID)
        assert loaded.status == 0
        (line,) = (line for line in loaded.table.splitlines() if line.startswith("departments"))
        counted = [*line.split()[1:6]]
        assert counted == (["5", "5", "0", "4", "2"] if cut else ["5", "4", "1", "3", "0"])
    stored = [" Sales", ' "Bo"', "R&D", "HR", "IT"] if cut else [" Sales", ' "Bo"', "R&D", "HR   "]
    assert [name for _, name in content(database)["departments"]] == stored


def test_columns_are_matched_as_mysql_matches_them(
    database: Database, run_import: Loader, tmp_path: Path
) -> None:
    """Columns whose names have capitals are filled."""
    database.execute("ALTER TABLE departments RENAME COLUMN department TO Department")
    database.execute("ALTER TABLE employees RENAME COLUMN name TO NAME")
    assert run_import(csv_folder.write(tmp_path)).outcomes["employees"] == (1, 1, 0, "")
    assert content(database)["departments"] == [(1, "Sales"), (2, "R&D")]


HEADER = "id,name,datetime,department_id,job_id"
# What public repositories hold for this task: invented rows in the forms of their files.
EXPORTS = {
    "quoted header, no line end": (
        '"id","name","datetime","department_id","job_id"\n1,Ana,2021-07-27T16:02:08Z,1,2',
        (0, (1, 1, 0)),
    ),
    "ids from pandas, some missing": (
        f"{HEADER}\n"
        + "".join(f"{n},Ana,2021-07-27T16:02:08Z,1.0,2.0\n" for n in range(1, 10))
        + "10,Bo,2021-07-27T16:02:08Z,,2.0\n",
        (0, (10, 9, 1)),
    ),
    "blanks after commas": ("1, Ana, 2021-07-27T16:02:08Z, 1,2\n", (0, (1, 1, 0))),
    "Windows line ends, times with blanks": (
        "".join(f"{n},Ana,2021-07-27T16:02:08Z,1,2\r\n" for n in range(1, 20))
        + "20,Bo,2021-07-27T16 02 08Z,1,2\r\n",
        (0, (20, 19, 1)),
    ),
    "semicolons": ("1;Ana;2021-07-27T16:02:08Z;1;2\n", (3, None)),
    "semicolons and a header": ("ID;NAME;DATETIME;ID_DEPARTMENT;ID_JOB\n1;Ana;;1;2\n", (3, None)),
    "other names": (
        f"employee_{HEADER}\n1,A,2021-01-01,1,2",
        (3, None),
    ),
    "more columns": (f"{HEADER},city\n1,A,2021-01-01,1,2,X", (3, None)),
    "an index from pandas": (
        f",{HEADER}\n0,1,A,2021-01-01,1,2",
        (3, None),
    ),
    "an index without a header": ("0,1,Ana,2021-07-27T16:02:08Z,1,2\n", (4, None)),
    "NULL for a missing id": ("1,Ana,2021-07-27T16:02:08Z,NULL,2\n", (4, None)),
    "day before month": ("1,Ana,27/07/2021 16:02,1,2\n", (4, None)),
}


@pytest.mark.parametrize(("text", "expected"), some(EXPORTS))
def test_exports_as_others_write_them(
    run_import: Loader, tmp_path: Path, text: str, expected: tuple[int, tuple[int, ...] | None]
) -> None:
    """A file in a form that others write loads its rows where they are, or is refused."""
    loaded = run_import(csv_folder.write(tmp_path, text), "--dry-run")
    found = loaded.outcomes["employees"][:3] if loaded.outcomes else None
    assert (loaded.status, found) == expected


@pytest.mark.parametrize("column", ["VARCHAR(9)", "VARBINARY(9)"])
def test_ids_in_text_are_kept_as_they_are(
    database: Database, bucket: Bucket, run_import: Loader, tmp_path: Path, column: str
) -> None:
    """An id in a column of text keeps its zeros, and only the same text refers to it."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    database.execute(f"ALTER TABLE departments MODIFY id {column} NOT NULL")
    database.execute(f"ALTER TABLE employees MODIFY department_id {column} NOT NULL")
    source = csv_folder.write(
        tmp_path,
        departments="007,Sales\n7,R&D\n+8,HR\n007,IT\n9 ,IT\n",
        employees="1,Ana,2021-01-01,007,1\n2,Bo,2021-01-01,8,1\n3,Cy,2021-01-01,7,1\n",
    )
    loaded = run_import(source, *ALL_INVALID)
    assert loaded.status == 0, loaded.error
    ids = "SELECT CAST({} AS CHAR) FROM {} ORDER BY 1"
    assert database.execute(ids.format("id", "departments")) == [
        ("+8",),
        ("007",),
        ("7",),
        ("9 ",),
    ]
    assert database.execute(ids.format("department_id", "employees")) == [("007",), ("7",)]
    assert records(bucket, "departments") == {4: ["id is that of an earlier row: 007"]}
    assert records(bucket, "employees") == {
        2: ["department_id is not the id of a valid row of departments: 8"]
    }


IDS = (1, 16777217, 9007199254740993)
INEXACT = {
    "FLOAT": {2: "id is not between -16777216 and 16777215: 16777217"},
    "DOUBLE": {3: "id is not between -9007199254740992 and 9007199254740991: 9007199254740993"},
    "FLOAT UNSIGNED": {2: "id is not between 0 and 16777215: 16777217"},
    "DOUBLE UNSIGNED": {3: "id is not between 0 and 9007199254740991: 9007199254740993"},
    "DECIMAL(19,2)": {
        line: "the table changes the row: column id of the row with"
        f" id '{number}' was '{number}' and is {number}.00"
        for line, number in enumerate(IDS, start=1)
    },
}


@pytest.mark.parametrize("column", INEXACT)
def test_an_id_that_its_column_does_not_hold_exactly_is_an_invalid_record(
    database: Database, bucket: Bucket, run_import: Loader, tmp_path: Path, column: str
) -> None:
    """A number that the column rounds, or prints otherwise, never becomes another one."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    database.execute(f"ALTER TABLE departments MODIFY id {column} NOT NULL")
    departments = "".join(f"{number},Sales\n" for number in IDS)
    source = csv_folder.write(tmp_path, departments=departments)
    assert run_import(source, *ALL_INVALID).status == 0
    found = records(bucket, "departments")
    assert {line: found[line] for line in INEXACT[column]} == {
        line: [reason] for line, reason in INEXACT[column].items()
    }
    assert {number for number, _ in content(database)["departments"]} <= set(IDS)


def test_a_row_that_belongs_to_no_partition_is_an_invalid_record(
    database: Database, bucket: Bucket, run_import: Loader, tmp_path: Path
) -> None:
    """A hire after the last partition is an invalid record; the others are loaded."""
    for key in ("employees_department", "employees_job"):
        database.execute(f"ALTER TABLE employees DROP FOREIGN KEY {key}")
    database.execute("ALTER TABLE employees DROP PRIMARY KEY, MODIFY id INT NOT NULL")
    database.execute(
        "ALTER TABLE employees PARTITION BY RANGE (YEAR(datetime))"
        " (PARTITION early VALUES LESS THAN (2022))"
    )
    source = csv_folder.write(tmp_path, "1,Ana,2021-01-01,1,1\n2,Bo,2022-01-01,1,1\n")
    loaded = run_import(source, *ALL_INVALID)
    assert (loaded.status, loaded.outcomes["employees"][:3]) == (0, (2, 1, 1))
    assert records(bucket, "employees") == {
        2: ["the database refuses the row: Table has no partition for value 2022"]
    }
