"""Loads of CSV files: the forms they may have, invalid records, and files that are refused."""

import csv
import datetime
import functools
import gzip
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import csv_folder
import pytest
from conftest import PROJECT, Bucket, Database, Loader
from hypothesis import given
from hypothesis import strategies as st
from support import content, some
from werkzeug.test import Client

from hiring.storage import folders
from local import sample
from restore.csv_check import Ids
from restore.csv_files import parse

TABLES = ("departments", "jobs", "employees")
CHALLENGE = Path(os.environ.get("CHALLENGE", PROJECT.parent / "shared" / "challenge"))

ALL_INVALID = ("--max-invalid", "100%")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the three files and returns their folder."""
    return functools.partial(csv_folder.write, tmp_path)


def employees(database: Database) -> list[tuple[Any, ...]]:
    """The rows of employees, with times as text."""
    return [
        (number, name, str(time), department, job)
        for number, name, time, department, job in content(database)["employees"]
    ]


def invalid_records(bucket: Bucket, table: str = "employees") -> list[dict[str, Any]]:
    """The invalid records of a table in the bucket."""
    found = [
        content
        for name, content in bucket.blobs("hiring/invalid/").items()
        if name.endswith(f"/{table}.jsonl")
    ]
    return [json.loads(line) for content in found for line in content.splitlines()]


def reasons(bucket: Bucket, table: str = "employees") -> dict[int, list[str]]:
    """The reasons of the invalid records, by line."""
    return {record["line"]: record["reasons"] for record in invalid_records(bucket, table)}


def test_a_real_data_set_loads(
    database: Database,
    bucket: Bucket,
    run_import: Loader,
    take_backup: Callable[..., dict[str, Any]],
    client: Client,
) -> None:
    """A real data set loads 1,929 valid hires and 70 invalid records that name the empty fields."""
    if not CHALLENGE.exists():
        pytest.skip(f"{CHALLENGE} is not there")
    loaded = run_import(CHALLENGE)
    (stored,) = bucket.blobs("hiring/invalid/")
    assert (loaded.status, loaded.outcomes) == (
        0,
        {
            "departments": (12, 12, 0, ""),
            "jobs": (183, 183, 0, ""),
            "employees": (1999, 1929, 70, f"gs://{bucket.name}/{stored}"),
        },
    )
    valid, invalid = read_challenge()
    assert invalid_records(bucket) == invalid
    assert employees(database) == valid
    hires = client.get("/hiring-by-department?format=json").get_json()
    assert sum(row["hired"] for row in hires) <= len(valid)
    assert len(hires) > 0
    assert client.get("/quarterly-hired?format=json").get_json() != []
    assert [table["rows"] for table in take_backup()["tables"]] == [12, 183, 1929]


def read_challenge() -> tuple[list[tuple[Any, ...]], list[dict[str, Any]]]:
    """The valid rows and the invalid records of the data set, found by plain code."""
    names = ("id", "name", "datetime", "department_id", "job_id")
    valid, invalid = [], []
    text = (CHALLENGE / "hired_employees.csv").read_text()
    for number, fields in enumerate(csv.reader(io.StringIO(text)), start=1):
        empty = [f"{name} is empty" for name, field in zip(names, fields, strict=True) if not field]
        if empty:
            record = {"file": "hired_employees.csv", "line": number, "fields": fields}
            invalid.append(record | {"reasons": empty})
            continue
        time = fields[2].replace("T", " ").removesuffix("Z")
        valid.append((int(fields[0]), fields[1], time, int(fields[3]), int(fields[4])))
    return sorted(valid), invalid


@pytest.mark.slow
def test_the_sample_data_loads_into_an_empty_database(
    tmp_path: Path, empty_database: Database, run_import: Loader
) -> None:
    """The sample data loads into an empty database, in which the tables are created."""
    sample.write_csv(tmp_path)
    loaded = run_import(tmp_path, DB_NAME=empty_database.name)
    assert loaded.status == 0
    expected = {
        table: [
            tuple(
                value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value
                for value in row
            )
            for row in rows()
        ]
        for table, rows in sample.TABLES.items()
    }
    assert content(empty_database) == expected
    script = (PROJECT / "restore/schema.sql").read_text()
    assert "KEY employees_hired" in script
    assert "KEY `employees_hired`" in empty_database.execute("SHOW CREATE TABLE employees")[0][1]


def test_every_form_of_csv_gives_the_same_rows(
    database: Database, run_import: Loader, write: Callable[..., Path]
) -> None:
    """Headers, quotes, CRLF, a byte-order mark and blank lines are optional and change no row."""
    expected = [
        (1, 'Ana "A", B', "2021-02-03 04:05:06", 1, 2),
        (2, "Bo\nC", "2021-01-01 00:00:00", 2, 1),
    ]
    row, other = '1,"Ana ""A"", B",2021-02-03T04:05:06Z,1,2', '2,"Bo\nC",2021-01-01,2,1'
    header = "id,name,datetime,department_id,job_id"
    reordered = (
        "job_id,name,id,department_id,datetime\n"
        '2,"Ana ""A"", B",1,1,2021-02-03T04:05:06Z\n1,"Bo\nC",2,2,2021-01-01\n'
    )
    for text in (
        f"{row}\n{other}\n",
        f"{header}\n{row}\n{other}",
        f"\ufeff{row}\r\n{other}\r\n",
        f'\ufeff"ID", Name ,datetime,department_id,JOB_ID\r\n\r\n{row}\r\n\r\n{other}\r\n\r\n',
        reordered,
    ):
        assert run_import(write(text), "--replace").outcomes["employees"] == (2, 2, 0, "")
        assert employees(database) == expected


TIMES = {
    "2021-02-03T04:05:06Z": "2021-02-03 04:05:06",
    "2021-02-03T04:05:06": "2021-02-03 04:05:06",
    "2021-02-03 04:05:06": "2021-02-03 04:05:06",
    "2021-02-03t04:05z": "2021-02-03 04:05:00",
    "2021-02-03": "2021-02-03 00:00:00",
    " 2021-02-03T04:05:06.999999Z ": "2021-02-03 04:05:06",
    "2021-12-31T23:59:59,9": "2021-12-31 23:59:59",
    "2021-01-01T00:30:00+01:00": "2020-12-31 23:30:00",
    "2020-12-31T23:30:00-05:30": "2021-01-01 05:00:00",
    "2021-02-03T04:05:06+0530": "2021-02-02 22:35:06",
    "2021-02-29T00:00:00Z": None,
    "2021-02-03T04:05:60Z": None,
    "2021-02-03T25:00:00Z": None,
    "0000-00-00": None,
    "0001-01-01T00:00:00+23:00": None,
    "03/02/2021": None,
    "2021-W05-3": None,
    "2021-02-03x04:05:06": None,
    "2021-02-03T04:05:06+05:60": None,
    "1612325106": None,
    "٢٠٢١-٠٢-٠٣": None,
}


def test_times_are_converted_to_utc_and_cut(
    database: Database, bucket: Bucket, run_import: Loader, write: Callable[..., Path]
) -> None:
    """Times in ISO 8601 are converted to UTC and cut to seconds; any other time is invalid."""
    lines = [f'{number},Ana,"{time}",1,1' for number, time in enumerate(TIMES, start=1)]
    assert run_import(write("\n".join(lines)), *ALL_INVALID).status == 0
    stored = {number: time for number, _, time, _, _ in employees(database)}
    assert [stored.get(number) for number in range(1, len(TIMES) + 1)] == list(TIMES.values())
    assert reasons(bucket)[12] == [
        "datetime is not a time like 2021-11-07T02:48:42Z: '2021-02-03T04:05:60Z'"
    ]


def test_a_field_of_any_length_is_one_invalid_record(
    database: Database, bucket: Bucket, run_import: Loader, write: Callable[..., Path]
) -> None:
    """A field of 200,000 characters makes its row an invalid record, and the others are loaded."""
    source = write(f"1,{'x' * 200_000},2021-01-01,1,1\n2,Ana,2021-01-01,1,1\n")
    assert run_import(source, *ALL_INVALID).outcomes["employees"][:3] == (2, 1, 1)
    assert reasons(bucket)[1] == ["name is longer than 255 characters: 200000"]


def test_an_invalid_record_has_a_reason_for_each_broken_rule(
    database: Database, bucket: Bucket, run_import: Loader, write: Callable[..., Path]
) -> None:
    """An invalid record has its file, its line, its fields, and a reason for each broken rule."""
    source = write(
        "id,name,datetime,department_id,job_id\n"
        "1,Ana,2021-02-03T04:05:06Z,1,1\n"
        '2,"Multi\nLine",2021-02-03T04:05:06Z,1,\n'
        "1,Bo,yesterday,9,2\n"
        ", ,,x,\n"
        "3,Cy,2021-02-03T04:05:06Z,1\n"
        "4,Di,2021-02-03T04:05:06Z,1,1,\n"
        "-5,Ed,2021-02-03T04:05:06Z,1,1\n"
        "4294967296,Fi,2021-02-03T04:05:06Z,1,1\n"
        f"6,{'x' * 256},2021-02-03T04:05:06Z,3,4294967295\n"
        "1.5,Gi,2021-02-03T04:05:06Z,1,1\n"
        "2.0,Hi,2021-02-03T04:05:06Z,+2.00,02\n",
        departments="1,Sales\n2,R&D\n3,\n",
    )
    loaded = run_import(source, *ALL_INVALID)
    assert loaded.outcomes["employees"][:3] == (11, 2, 9)
    assert [row[0] for row in employees(database)] == [1, 2]
    assert invalid_records(bucket)[0] == {
        "file": "employees.csv",
        "line": 3,
        "fields": ["2", "Multi\nLine", "2021-02-03T04:05:06Z", "1", ""],
        "reasons": ["job_id is empty"],
    }
    assert reasons(bucket) == {
        3: ["job_id is empty"],
        5: [
            "datetime is not a time like 2021-11-07T02:48:42Z: 'yesterday'",
            "id is that of an earlier row: 1",
            "department_id is not the id of a valid row of departments: 9",
        ],
        6: [
            "id is empty",
            "name is empty",
            "datetime is empty",
            "department_id is not a whole number: 'x'",
            "job_id is empty",
        ],
        7: ["a row does not have 5 fields: 4"],
        8: ["a row does not have 5 fields: 6"],
        9: ["id is not between 0 and 4294967295: -5"],
        10: ["id is not between 0 and 4294967295: 4294967296"],
        11: [
            "name is longer than 255 characters: 256",
            "department_id is not the id of a valid row of departments: 3",
            "job_id is not the id of a valid row of jobs: 4294967295",
        ],
        12: ["id is not a whole number: '1.5'"],
    }
    assert reasons(bucket, "departments") == {3: ["department is empty"]}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("DATE", {1: "2020-12-31", 2: "1960-05-05", 3: "2039-01-01"}),
        (
            "DATETIME(3)",
            {1: "2020-12-31 23:30:00.123000", 2: "1960-05-05 00:00:00", 3: "2039-01-01 00:00:00"},
        ),
        ("TIMESTAMP", {1: "2020-12-31 23:30:00"}),
        (
            "VARCHAR(99)",
            {1: "2020-12-31 23:30:00.123900", 2: "1960-05-05 00:00:00", 3: "2039-01-01 00:00:00"},
        ),
        ("VARCHAR(9)", {}),
    ],
)
def test_the_column_may_be_a_date_or_a_timestamp(
    database: Database,
    run_import: Loader,
    write: Callable[..., Path],
    column: str,
    expected: dict[int, str],
) -> None:
    """Times are cut to the precision of a DATE or DATETIME column, and must fit any other one."""
    database.execute(f"ALTER TABLE employees MODIFY datetime {column} NOT NULL")
    source = write(
        "1,A,2021-01-01T00:30:00.1239+01:00,1,1\n2,B,1960-05-05,1,1\n3,C,2039-01-01,1,1\n"
    )
    assert run_import(source, *ALL_INVALID).status == 0
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute("SELECT id, datetime FROM employees")
        assert {number: str(time) for number, time in cursor.fetchall()} == expected


def test_an_id_of_zero_is_kept(
    database: Database, run_import: Loader, write: Callable[..., Path]
) -> None:
    """An id of 0 is stored as 0 and does not become the next id."""
    assert run_import(write("0,Zed,2021-01-01,1,1\n")).status == 0
    assert [row[0] for row in employees(database)] == [0]


NOT_CSV = {
    "empty": b"",
    "blank": b"\n\n",
    "JSON": b'[{"id": 1, "name": "Ana"}]',
    "semicolons": b"1;Ana;2021-01-01;1;1\n2;Bo;2021-01-01;1;1\n",
    "a page": b"<html>\n<body>not found</body>\n</html>\n",
    "a workbook": b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00\xff\xfe",
    "UTF-16": "1,Ana,2021-01-01,1,1\n".encode("utf-16"),
    "zero bytes": "1,Ana,2021-01-01,1,1\n".encode("utf-16-le"),
    "Latin-1": "1,José,2021-01-01,1,1\n".encode("latin-1"),
    "an open quote": b'1,Ana,2021-01-01,1,1\n2,"Bo,2021-01-01,1,1\n3,Cy,2021-01-01,1,1\n',
    "text after a quote": b'1,"Ana"x,2021-01-01,1,1\n',
}


@pytest.mark.parametrize("content_of_file", NOT_CSV.values(), ids=NOT_CSV)
def test_what_is_not_csv_loads_nothing(
    database: Database,
    bucket: Bucket,
    run_import: Loader,
    write: Callable[..., Path],
    content_of_file: bytes,
) -> None:
    """A file that is not CSV is status 3, loads no row of any file, and keeps the old rows."""
    database.insert("departments", [(9, "Old")])
    before = content(database)
    for options in (["--replace"], ["--replace", "--dry-run"]):
        loaded = run_import(write(content_of_file, departments="1,Sales\nx,\n"), *options)
        assert (loaded.status, "employees.csv" in loaded.error) == (3, True)
    assert (content(database), bucket.blobs()) == (before, {})


@pytest.mark.parametrize("missing", TABLES)
def test_a_missing_file_loads_nothing(
    database: Database, run_import: Loader, write: Callable[..., Path], missing: str
) -> None:
    """A load without one of the three files is status 3, names the file, and loads no row."""
    loaded = run_import(write(**{"employees": "1,Ana,2021-01-01,1,1\n"} | {missing: None}))
    assert (loaded.status, f" has no {missing}.csv" in loaded.error) == (3, True)
    assert content(database) == {table: [] for table in TABLES}


def test_two_files_for_one_table_load_nothing(
    run_import: Loader, write: Callable[..., Path]
) -> None:
    """Two files for the same table are status 3, and the message names both."""
    write("1,Ana,2021-01-01,1,1\n", name="hired_employees.csv")
    loaded = run_import(write("1,Ana,2021-01-01,1,1\n"))
    assert loaded.status == 3
    assert "has both employees.csv and hired_employees.csv" in loaded.error


def test_csv_files_load_from_cloud_storage(
    database: Database, bucket: Bucket, run_import: Loader, write: Callable[..., Path]
) -> None:
    """CSV files load from a `gs://` folder."""
    for file in write("1,Ana,2021-01-01,1,1\n").iterdir():
        bucket.blob(f"from/{file.name}").upload_from_filename(str(file))
    assert run_import(f"gs://{bucket.name}/from").outcomes["employees"] == (1, 1, 0, "")


def test_gcs_path_is_needed(
    database: Database, run_import: Loader, write: Callable[..., Path]
) -> None:
    """A load of CSV files without GCS_PATH is status 2."""
    loaded = run_import(write("1,Ana,2021-01-01,1,1\n"), GCS_PATH="")
    assert (loaded.status, "GCS_PATH is not set" in loaded.error) == (2, True)


def test_invalid_records_are_stored_before_the_rest_is_committed(
    database: Database, bucket: Bucket, run_import: Loader, write: Callable[..., Path]
) -> None:
    """A load whose invalid records Cloud Storage refuses is status 5 and loads no row."""
    bucket.storage.fail("invalid/", status=403, times=None)
    loaded = run_import(write("1,Ana,2021-01-01,1,1\n2,,,,\n"), *ALL_INVALID)
    assert (loaded.status, "refused or failed: " in loaded.error) == (5, True)
    assert content(database) == {table: [] for table in TABLES}


def test_a_dry_run_of_csv_files_changes_nothing(
    database: Database,
    empty_database: Database,
    bucket: Bucket,
    run_import: Loader,
    write: Callable[..., Path],
) -> None:
    """A dry run of CSV files has the counts of a load, stores no record and creates no table."""
    source = write(f"1,Ana,2021-01-01,1,1\n2,{'x' * 256},2021-01-01,1,1\n-1,Bo,2021-01-01,1,1\n")
    for name in (database.name, empty_database.name):
        loaded = run_import(source, "--dry-run", *ALL_INVALID, DB_NAME=name)
        assert loaded.status == 0
        assert loaded.outcomes["employees"] == (3, 1, 2, "not stored")
        assert loaded.log[-1]["message"] == "dry run: nothing was changed"
        shown = [line for line in loaded.log if line["message"] == "invalid record"]
        assert [(line["file"], line["line"], len(line["reasons"])) for line in shown] == [
            ("employees.csv", 2, 1),
            ("employees.csv", 3, 1),
        ]
    assert (content(database), bucket.blobs()) == ({table: [] for table in TABLES}, {})
    assert empty_database.execute("SHOW TABLES") == []


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.integers(-5, 2000)


@given(st.sets(NUMBERS), st.sets(st.from_regex("[+-]?0*[0-9]{1,3}", fullmatch=True)))
def test_a_set_of_ids_contains_what_was_added(numbers: set[int], texts: set[str]) -> None:
    """A set of ids contains exactly the numbers and other texts that were added."""
    ids = Ids()
    added = {*map(str, numbers), *texts}
    for text in added:
        ids.add(text)
    around = {str(number + step) for number in numbers for step in (-64, -1, 0, 1, 64)}
    around |= {f"{before}{text}" for text in added for before in ("0", "+", "-")}
    assert {text for text in around | added if text in ids} == added


ROWS = st.lists(st.lists(st.text("aé五\u2028\u00a0\x1c ,\"\n\r'\\", max_size=7), min_size=2))


@given(ROWS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_rows_are_read_as_they_were_written(
    rows: list[list[str]], line_end: str, has_mark: bool
) -> None:
    """Any rows that Python's writer writes are read back, each with the line on which it begins."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    expected = []
    for fields in rows:
        written = text.getvalue().replace("\r\n", "\n").replace("\r", "\n")
        expected.append((1 + written.count("\n"), fields))
        writer.writerow(fields)
    raw = ("\ufeff" * has_mark + text.getvalue()).encode()
    assert list(parse("x.csv", io.BytesIO(raw))) == expected


# Compressed files


def many_rows(rows: int) -> str:
    """CSV rows of employees whose names hardly compress."""
    names = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(rows))
    return "".join(f"{number},{name},2021-01-01,1,1\n" for number, name in enumerate(names))


@pytest.mark.once
@pytest.mark.parametrize("name", ["employees.csv", "employees.csv.gz"])
@pytest.mark.parametrize("encoding", some(["gzip", None]))
def test_compressed_objects_are_loaded_whole(
    database: Database,
    bucket: Bucket,
    run_import: Loader,
    environment: pytest.MonkeyPatch,
    name: str,
    encoding: str | None,
) -> None:
    """Compressed objects longer than one request load every row, whatever marks them as gzip."""
    environment.setattr(folders, "READ_CHUNK_BYTES", 128 * 1024)
    rows = 7_000
    content = many_rows(rows).encode()
    for layer in (encoding, name.endswith(".gz")):
        content = gzip.compress(content, 1) if layer else content
    assert len(content) > folders.READ_CHUNK_BYTES
    blob = bucket.blob(f"csv/{name}")
    blob.content_encoding = encoding
    blob.upload_from_string(content, content_type="text/csv")
    bucket.blob("csv/departments.csv").upload_from_string(csv_folder.DEPARTMENTS)
    bucket.blob("csv/jobs.csv").upload_from_string(csv_folder.JOBS)
    loaded = run_import(f"gs://{bucket.name}/csv", "--replace")
    assert (loaded.status, loaded.outcomes["employees"]) == (0, (rows, rows, 0, ""))
    assert database.execute("SELECT COUNT(*) FROM employees") == [(rows,)]


@pytest.mark.once
def test_compressed_files_on_this_machine_are_loaded(
    database: Database, run_import: Loader, write: Callable[..., Path]
) -> None:
    """A folder of .csv.gz files is loaded."""
    folder = write("1,Ana,2021-01-01,1,1\n")
    for file in list(folder.iterdir()):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert run_import(folder).outcomes["employees"] == (1, 1, 0, "")
    assert employees(database) == [(1, "Ana", "2021-01-01 00:00:00", 1, 1)]


@pytest.mark.once
@pytest.mark.parametrize("damage", [lambda file: file[:-9], lambda file: file[:30] + b"x" * 40])
def test_a_damaged_compressed_file_is_refused(
    database: Database, run_import: Loader, write: Callable[..., Path], damage: Any
) -> None:
    """A .gz file that is cut off or changed is status 3 and loads no row."""
    folder = write("1,Ana,2021-01-01,1,1\n")
    (folder / "employees.csv").unlink()
    compressed = gzip.compress(many_rows(1000).encode())
    (folder / "employees.csv.gz").write_bytes(damage(compressed))
    loaded = run_import(folder)
    assert (loaded.status, "can't be decompressed" in loaded.error) == (3, True)
    assert content(database) == {table: [] for table in TABLES}


@pytest.mark.once
@pytest.mark.parametrize("encoding", ["gzip", None])
def test_an_object_that_arrives_damaged_is_refused(
    database: Database, bucket: Bucket, run_import: Loader, encoding: str | None
) -> None:
    """An object that arrives without its stored checksum is status 3 and loads no row."""
    for name, text in (
        ("departments", csv_folder.DEPARTMENTS),
        ("jobs", csv_folder.JOBS),
        ("employees", "1,Ana,2021-01-01,1,1\n"),
    ):
        blob = bucket.blob(f"csv/{name}.csv")
        blob.content_encoding = encoding
        blob.upload_from_string(gzip.compress(text.encode()) if encoding else text)
    bucket.storage.fail("b/.*/csv/jobs.csv", action="wrong_checksum", times=None)
    loaded = run_import(f"gs://{bucket.name}/csv")
    assert (loaded.status, "jobs.csv came with" in loaded.error) == (3, True), loaded.error
    assert content(database) == {table: [] for table in TABLES}


@pytest.mark.once
def test_a_control_character_in_an_id_affects_its_row_only(
    database: Database, run_import: Loader, write: Callable[..., Path]
) -> None:
    """A control character before an id makes its row invalid at most; all other rows are loaded."""
    blanks = [chr(number) for number in range(0x110000) if chr(number).isspace()]
    others = [char for char in blanks if char not in "\r\n"]
    rows = "".join(
        f'"{char}{1000 + place}",Ana,2021-01-01,1,1\n' for place, char in enumerate(others)
    )
    loaded = run_import(write(f"1,Bo,2021-01-01,1,1\n{rows}"), *ALL_INVALID)
    assert loaded.status == 0, loaded.error
    read, valid, invalid, _ = loaded.outcomes["employees"]
    assert (read, valid + invalid) == (len(others) + 1, len(others) + 1)
    assert invalid >= 4
    assert (1, "Bo", "2021-01-01 00:00:00", 1, 1) in employees(database)
