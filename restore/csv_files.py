"""The CSV files that an import reads: which they are, their columns, their header, their rows.

Python's csv module reads the rows (RFC 4180, in UTF-8), in bounded memory.
"""

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hiring.avro import mapping
from hiring.avro.schema import Column, Table
from hiring.errors import BadSource, Misconfigured
from hiring.storage.folders import SourceFolder
from hiring.storage.reader import BUFFER_BYTES

SCHEMA = Path(__file__).resolve().parent / "schema.sql"

STEMS = {
    "departments": ["departments"],
    "jobs": ["jobs"],
    "employees": ["employees", "hired_employees"],
}
CSV_COLUMNS = {
    "departments": ("id", "department"),
    "jobs": ("id", "job"),
    "employees": ("id", "name", "datetime", "department_id", "job_id"),
}
REFERS_TO = {"department_id": "departments", "job_id": "jobs"}
NAME_COLUMNS = ("department", "job", "name")
ALIASES = {"date": "datetime", "hiredate": "datetime"}
"""Other names that a header may use, as `_plain` writes them."""
WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,30})(?:\.0{1,30})?")
"""pandas writes the whole numbers of a column with gaps as 6.0."""
BLANKS = " \t\n\r\v\f\u00a0"
"""Characters allowed around a number; `str.strip` would also remove control characters."""
LONGEST_ROW = 4 * 1024 * 1024
"""Characters of a row; a longer one is probably a quote that never closes."""


class Line(NamedTuple):
    """A row of a CSV file: the number of the line on which it begins, from 1, and its fields."""

    number: int
    fields: list[str]


def find_files(folder: SourceFolder) -> dict[str, str]:
    """The name of each table's file; raises BadSource if a table has none, or two."""
    there = folder.entries()[0]
    found = {}
    for table, stems in STEMS.items():
        names = [stem + ending for ending in (".csv", ".csv.gz") for stem in stems]
        files = [name for name in names if name in there]
        if not files:
            raise BadSource(f"{folder.address} has no {', '.join(names)}")
        if len(files) > 1:
            raise BadSource(f"{folder.address} has both {' and '.join(files)}: which one counts?")
        found[table] = files[0]
    return found


def statements() -> dict[str, str]:
    """For each table, the CREATE TABLE of the project's own schema."""
    script = SCHEMA.read_text()
    found = re.finditer(r"^CREATE TABLE (\w+) \(.*?^\)[^;]*", script, re.MULTILINE | re.DOTALL)
    return {statement[1]: statement[0] for statement in found}


def missing_table(name: str) -> Table:
    """A table as `statements` would create it, as far as the rules need it."""
    found = re.findall(r"^\s+(\w+) (\w+(?:\(\d+\))?(?: UNSIGNED)?)", statements()[name], re.M)
    types = {column: mysql_type.lower() for column, mysql_type in found}
    columns = (
        Column(each, each, types[each], mapping.STRING, False, False, False)
        for each in CSV_COLUMNS[name]
    )
    return Table(name, tuple(columns), ("id",))


def fit(table: Table) -> Table:
    """The table with the columns that the file fills; raises Misconfigured if one is missing."""
    # MySQL compares the names of columns without case.
    columns = {column.name.lower(): column for column in table.without_generated.columns}
    for name in CSV_COLUMNS[table.name]:
        if name not in columns:
            raise Misconfigured(f"table {table.name} has no column {name} that rows may fill")
    filled = [dataclasses.replace(columns[name], name=name) for name in CSV_COLUMNS[table.name]]
    primary_key = tuple(name.lower() for name in table.primary_key)
    return dataclasses.replace(table, columns=tuple(filled), primary_key=primary_key)


def read_lines(folder: SourceFolder, name: str, table: str) -> Iterator[Line]:
    """The rows of a table's file, with the fields in the order of CSV_COLUMNS.

    Raises BadSource, which says where and why, if the file is empty or not CSV, or its header is
    not understood; StorageFailed if Cloud Storage refused or failed.
    """
    columns = CSV_COLUMNS[table]
    where = f"{folder.address}{name}"
    with folder.open(name) as reader:
        lines = parse(where, io.BufferedReader(reader, BUFFER_BYTES))
        first = next(lines, None)
        if first is None:
            raise BadSource(f"{where} is empty")
        # pandas numbers columns that have no names.
        is_numbers = first.fields == [str(number) for number in range(len(columns))]
        if WHOLE_NUMBER.fullmatch(first.fields[0].strip(BLANKS)) and not is_numbers:
            yield from itertools.chain([first], lines)
            return
        places = _places(where, first, columns)
        for line in lines:
            if len(line.fields) == len(places):
                yield Line(line.number, [line.fields[place] for place in places])
            else:
                yield line


def parse(where: str, file: io.BufferedReader | io.BytesIO) -> Iterator[Line]:
    """The rows of a file, without blank lines; raises BadSource if it is not CSV or not UTF-8."""
    # -sig drops the byte-order mark that spreadsheets write. What is not UTF-8 becomes a surrogate,
    # which `encode` refuses: so its line is known.
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    number = 1
    left = LONGEST_ROW

    def lines() -> Iterator[str]:
        nonlocal left
        while line := text.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise csv.Error(f"a row of more than {LONGEST_ROW} characters")
            if "\0" in line:
                raise csv.Error("a zero byte")
            line.encode()
            yield line

    csv.field_size_limit(LONGEST_ROW)
    reader = csv.reader(lines(), strict=True)
    try:
        for fields in reader:
            if fields:
                yield Line(number, fields)
            number = reader.line_num + 1
            left = LONGEST_ROW
    except csv.Error as error:
        raise BadSource(f"{where} is not CSV, at line {number}: {error}") from error
    except UnicodeEncodeError as error:
        raise BadSource(f"{where} is not UTF-8, at line {reader.line_num + 1}") from error


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
            f" once and in any order, or a row that begins with an id and does not just count"
            f" from 0, but not {shown!r}"
        )
    return [names.index(column) for column in columns]


def _plain(name: str) -> str:
    """A column's name without case, blanks, marks and underscores."""
    return "".join(character for character in name.casefold() if character.isalnum())
