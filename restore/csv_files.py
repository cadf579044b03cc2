"""The CSV files that an import reads: which they are, their columns, their header.

    departments.csv   id, department
    jobs.csv          id, job
    employees.csv     id, name, datetime, department_id, job_id   (or hired_employees.csv)

Each file may be compressed: `jobs.csv.gz`. The first line may name the columns, in any order.
"""

import dataclasses
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hiring.avro import mapping
from hiring.avro.schema import Column, Table
from hiring.errors import BadSource, Misconfigured
from hiring.storage.folders import SourceFolder
from hiring.storage.reader import BUFFER_BYTES
from restore import csv_reader
from restore.csv_reader import Line
from restore.csv_rules import BLANKS, WHOLE_NUMBER

SCHEMA = Path(__file__).resolve().parent / "schema.sql"

FILES = {
    "departments": ("departments.csv", "departments.csv.gz"),
    "jobs": ("jobs.csv", "jobs.csv.gz"),
    "employees": (
        "employees.csv",
        "hired_employees.csv",
        "employees.csv.gz",
        "hired_employees.csv.gz",
    ),
}
CSV_COLUMNS = {
    "departments": ("id", "department"),
    "jobs": ("id", "job"),
    "employees": ("id", "name", "datetime", "department_id", "job_id"),
}
ALIASES = {"date": "datetime", "hiredate": "datetime"}
"""Other names that a header may use, as `_plain` writes them."""


@dataclass(frozen=True)
class CsvFiles:
    """The files of a folder: `names` has one for each table."""

    folder: SourceFolder
    names: dict[str, str]


def are_in(folder: SourceFolder) -> bool:
    """Whether a folder holds any of the files."""
    return not folder.entries()[0].isdisjoint(name for names in FILES.values() for name in names)


def find_files(folder: SourceFolder) -> CsvFiles:
    """Finds the file of each table.

    Raises:
        BadSource: a file is missing, or two are for the same table.
    """
    there = folder.entries()[0]
    found = {}
    for table, names in FILES.items():
        files = [name for name in names if name in there]
        if not files:
            raise BadSource(f"{folder.address} has no {', '.join(names)}")
        if len(files) > 1:
            raise BadSource(f"{folder.address} has both {' and '.join(files)}: which one counts?")
        found[table] = files[0]
    return CsvFiles(folder, found)


def statements() -> dict[str, str]:
    """For each table, the CREATE TABLE of the project's own schema."""
    script = SCHEMA.read_text()
    found = re.finditer(r"^CREATE TABLE (\w+) \(.*?^\)[^;]*", script, re.MULTILINE | re.DOTALL)
    return {statement[1]: statement[0] for statement in found}


def missing_table(name: str) -> Table:
    """A table as `statements` would create it, as far as the rules need it."""
    found = re.findall(r"^\s+(\w+) (\w+(?:\(\d+\))?(?: UNSIGNED)?)", statements()[name], re.M)
    types = {column: mysql_type.lower() for column, mysql_type in found}
    columns = [
        Column(each, each, types[each], mapping.STRING, False, False, False)
        for each in CSV_COLUMNS[name]
    ]
    return Table(name, tuple(columns), ("id",))


def fit(table: Table) -> Table:
    """The table with only the columns that the file fills, as the file names them.

    Raises:
        Misconfigured: the table lacks one; the message names it.
    """
    # MySQL compares the names of columns without case.
    columns = {column.name.lower(): column for column in table.without_generated.columns}
    for name in CSV_COLUMNS[table.name]:
        if name not in columns:
            raise Misconfigured(f"table {table.name} has no column {name} that rows may fill")
    filled = [dataclasses.replace(columns[name], name=name) for name in CSV_COLUMNS[table.name]]
    primary_key = tuple(name.lower() for name in table.primary_key)
    return dataclasses.replace(table, columns=tuple(filled), primary_key=primary_key)


def read_lines(files: CsvFiles, table: str) -> Iterator[Line]:
    """The rows of a table's file, with the fields of a row in the order of CSV_COLUMNS.

    A row with another number of fields has them as they are.

    Raises:
        BadSource: the file is empty or not CSV, or its header is not understood; the message says
            where and why.
        StorageFailed: Cloud Storage refused or failed.
    """
    folder, name, columns = files.folder, files.names[table], CSV_COLUMNS[table]
    where = f"{folder.address}{name}"
    with folder.open(name) as reader:
        lines = csv_reader.read_lines(where, io.BufferedReader(reader, BUFFER_BYTES))
        first = next(lines, None)
        if first is None:
            raise BadSource(f"{where} is empty")
        if WHOLE_NUMBER.fullmatch(first.fields[0].strip(BLANKS)):
            yield from itertools.chain([first], lines)
            return
        places = _places(where, first, columns)
        for line in lines:
            if len(line.fields) == len(places):
                yield Line(line.number, [line.fields[place] for place in places])
            else:
                yield line


def _places(where: str, header: Line, columns: tuple[str, ...]) -> list[int]:
    """Where a row has the field of each column."""
    known = {_plain(column): column for column in columns}
    known |= {alias: column for alias, column in ALIASES.items() if column in columns}
    names = [known.get(_plain(field)) for field in header.fields]
    if sorted(map(str, names)) != sorted(columns):
        line = ",".join(header.fields)
        shown = line if len(line) <= 200 else f"{line[:200]}..."
        raise BadSource(
            f"{where}, line {header.number}: the columns {', '.join(columns)} are expected, each"
            f" once and in any order, or a row that begins with an id, but not {shown!r}"
        )
    return [names.index(column) for column in columns]


def _plain(name: str) -> str:
    """A column's name without case, blanks, marks and underscores."""
    return "".join(character for character in name.casefold() if character.isalnum())
