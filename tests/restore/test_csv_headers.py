"""The first line of a CSV file: a header that is understood, a row, or a file that is refused."""

from collections.abc import Callable, Sequence
from pathlib import Path

import csv_folder
import pytest
from conftest import Database, Loader
from support import content

from hiring.errors import BadSource
from hiring.storage.folders import LocalFolder
from restore.csv_files import read_lines

Read = Callable[[str], list[tuple[int, list[str]]]]
ROW = ["1", "Ana", "2021-01-01", "2", "3"]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a file of employees: (line, fields) each."""

    def read(text: str) -> list[tuple[int, list[str]]]:
        folder = LocalFolder(csv_folder.write(tmp_path, text))
        lines = read_lines(folder, "employees.csv", "employees")
        return [(line.number, line.fields) for line in lines]

    return read


HEADERS = (
    "id,name,datetime,department_id,job_id",
    '"ID", Name ,DATETIME,Department ID,"job-id"',
    "Id,NAME,date,departmentId,JobID",
    "id,name,Hire_Date,department_id,job_id",
    "\ufeff\ufeffid,name,hire date,department_id,job_id",
    "\u200bid,name,datetime,department_id,job_id\u200b",
)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (1, 4, 2, 0, 3)])
def test_a_header_is_matched_by_name(read: Read, order: Sequence[int]) -> None:
    """Names count in any order, whatever their case, blanks, marks and underscores are."""
    row = ",".join(ROW[place] for place in order)
    for header in HEADERS:
        start = header[: len(header) - len(header.lstrip("\ufeff"))]
        names = header.lstrip("\ufeff").split(",")
        line = start + ",".join(names[place] for place in order)
        assert read(f"{line}\n{row}\n") == [(2, ROW)], line


REFUSED = (
    "id,name,date,when,department_id,job_id",
    "id,name,date,job_id",
    "id,name,date,datetime,department_id,job_id",
    "id,name,datetime,department_id,job_id,",
    ",id,name,datetime,department_id,job_id",
    "id;name;datetime;department_id;job_id",
    "id\tname\tdatetime\tdepartment_id\tjob_id",
    "sep=,",
    "# employees of 2021",
    "employee,who,when,where,what",
    "\ufeff\ufeff1,Ana,2021-01-01,2,3",
    "x,Ana,2021-01-01,2,3",
    ",Ana,2021-01-01,2,3",
    "'1',Ana,2021-01-01,2,3",
    " ",
    "0,1,2,3,4",
)


@pytest.mark.parametrize("line", REFUSED)
def test_a_header_that_is_not_understood_refuses_the_file(read: Read, line: str) -> None:
    """A name that is unknown, missing or there twice refuses the file, with what is expected."""
    with pytest.raises(BadSource) as refused:
        read(f"\n{line}\n{','.join(ROW)}\n")
    expected = "line 2: the columns id, name, datetime, department_id, job_id are expected"
    assert expected in str(refused.value)


@pytest.mark.parametrize("line", ["1,Ana,2021-01-01,2,3", "0,1,2,3,5", "1.0,1", "+1,", " 1 ,"])
def test_a_first_line_that_begins_with_a_whole_number_is_a_row(read: Read, line: str) -> None:
    """A first line whose id is a whole number is a row."""
    assert read(line) == [(1, line.split(","))]


def test_columns_are_never_taken_by_position_under_a_header(
    database: Database, run_import: Loader, tmp_path: Path
) -> None:
    """A header with job_id before department_id, and `date`, loads each value into its column."""
    header = "id,name,date,job_id,department_id\n"
    source = csv_folder.write(tmp_path, f"{header}1,Ana,2021-01-01,2,1\n")
    assert run_import(source).outcomes["employees"] == (1, 1, 0, "")
    ((*_, department, job),) = content(database)["employees"]
    assert (department, job) == (1, 2)


def test_a_header_alone_is_an_empty_table(
    database: Database, run_import: Loader, tmp_path: Path
) -> None:
    """A file with nothing but a header fills its table with no row."""
    source = csv_folder.write(tmp_path, "id,name,datetime,department_id,job_id")
    assert run_import(source).outcomes["employees"] == (0, 0, 0, "")


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_column_numbers_are_no_row(
    database: Database, run_import: Loader, tmp_path: Path, options: list[str]
) -> None:
    """pandas' header of columns without names is refused; under one, it is a row."""
    numbers = "0,1\n1,Sales\n"
    loaded = run_import(csv_folder.write(tmp_path, departments=numbers), *options)
    assert (loaded.status, content(database)["departments"]) == (3, [])
    assert "a row that begins with an id and does not just count from 0, but not '0,1'" in (
        loaded.error
    )
    source = csv_folder.write(tmp_path, departments=f"id,department\n{numbers}")
    assert run_import(source, *options).outcomes["departments"][:3] == (2, 2, 0)
