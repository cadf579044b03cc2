"""Reads CSV files as the source of a load: their lines, their header, their invalid records.

    departments.csv   id, department
    jobs.csv          id, job
    employees.csv     id, name, datetime, department_id, job_id   (or hired_employees.csv)

The first line may name the columns, in any order. A row that breaks a rule is an invalid record: it
is stored with its line, its fields and every reason, and the others are loaded. A file that is not
CSV (RFC 4180) in UTF-8 is refused as a whole: its rows are unknown.

Each file may be compressed: `jobs.csv.gz`.
"""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hiring.core.errors import BadSource, Misconfigured
from hiring.export import mapping
from hiring.export.objects import ObjectWriter, OutputFolder
from hiring.export.table import Column, Table
from loading.cells import Cells, from_rows
from loading.csv_rules import RULES, BrokenRule
from loading.progress import status
from loading.sources import BUFFER_BYTES, SourceFolder

CSV_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES"

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
REFERS_TO = {"department_id": "departments", "job_id": "jobs"}


class Ids:
    """A set of whole numbers that takes one bit for each if they are dense.

    A million consecutive ids take 0.3 MB, a million scattered ones at most 160 MB.
    """

    BITS = 512

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}

    def __contains__(self, number: int) -> bool:
        page, bit = divmod(number, self.BITS)
        return bool(self._pages.get(page, 0) >> bit & 1)

    def add(self, number: int) -> None:
        """Adds a number."""
        page, bit = divmod(number, self.BITS)
        self._pages[page] = self._pages.get(page, 0) | 1 << bit


class Line(NamedTuple):
    """A row of a CSV file: the number of its first line, from 1, and its unchanged fields."""

    number: int
    fields: list[str]


BLOCK_BYTES, BLOCK_ROWS = 512 * 1024, 10_000
"""A block ends with the row that exceeds these bytes, or after this number of rows."""
SHOWN_RECORDS = 20
"""Invalid records of a file that a dry run shows; it stores none."""


class InvalidRows:
    """The invalid records of one file: JSON lines in an object that the first one creates.

    Args:
        folder: to store the object in; None stores nothing and logs the first SHOWN_RECORDS.
        table: of the file.
        opened: closes the object.
    """

    def __init__(
        self, folder: OutputFolder | None, table: str, opened: contextlib.ExitStack
    ) -> None:
        self._folder = folder
        self._opened = opened
        self._writer: ObjectWriter | None = None
        self._name = f"{table}.jsonl"
        self.count = 0

    @property
    def address(self) -> str:
        """The address of the object; empty if there is none."""
        return f"{self._folder.address}{self._name}" if self._folder and self.count else ""

    def add(self, file: str, line: Line, reasons: list[str]) -> None:
        """Stores a row and its reasons."""
        self.count += 1
        if self._folder is None:
            if self.count <= SHOWN_RECORDS:
                status("invalid record", "WARNING", file=file, line=line.number, reasons=reasons)
            return
        if self._writer is None:
            self._writer = self._opened.enter_context(
                self._folder.create(self._name, "application/x-ndjson")
            )
        record = {"file": file, "line": line.number, "fields": line.fields, "reasons": reasons}
        self._writer.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


class CsvFiles:
    """The three CSV files of a folder.

    Args:
        folder: that holds the files.

    Raises:
        BadSource: a file is missing, or two are for the same table.
    """

    sql_mode = CSV_SQL_MODE
    origin = "loading/schema.sql"

    def __init__(self, folder: SourceFolder) -> None:
        self._folder = folder
        self._names = _find_files(folder)
        self._loaded: dict[str, Ids] = {}

    @staticmethod
    def are_in(folder: SourceFolder) -> bool:
        """Whether a folder holds any of the files."""
        return any(name in folder.names() for names in FILES.values() for name in names)

    def statements(self) -> dict[str, str]:
        """For each table, the CREATE TABLE of the project's own schema."""
        script = SCHEMA.read_text()
        found = re.finditer(r"^CREATE TABLE (\w+) \(.*?^\)[^;]*", script, re.MULTILINE | re.DOTALL)
        return {statement[1]: statement[0] for statement in found}

    def next_ids(self) -> dict[str, int]:
        """An empty mapping: the server continues after the highest loaded id."""
        return {}

    def missing_table(self, name: str) -> Table:
        """A table as `statements` would create it, as far as the rules need it."""
        found = re.findall(
            r"^\s+(\w+) (\w+(?:\(\d+\))?(?: UNSIGNED)?)", self.statements()[name], re.M
        )
        types = {column: mysql_type.lower() for column, mysql_type in found}
        columns = [
            Column(each, each, types[each], mapping.STRING, False, False, False)
            for each in CSV_COLUMNS[name]
        ]
        return Table(name, tuple(columns), ("id",))

    def fit(self, table: Table) -> Table:
        """The table with only the columns that the file fills.

        Raises:
            Misconfigured: the table lacks one; the message names it.
        """
        columns = {column.name: column for column in table.columns}
        for name in CSV_COLUMNS[table.name]:
            if name not in columns:
                raise Misconfigured(f"table {table.name} has no column {name}")
        return dataclasses.replace(
            table, columns=tuple(columns[name] for name in CSV_COLUMNS[table.name])
        )

    def read_rows(self, table: Table, invalid: InvalidRows) -> Iterator[list[Cells]]:
        """A table's valid rows by column, some at a time; `invalid` gets the others.

        Read the tables in the order of `db.TABLES`: a row may refer to valid rows of the tables
        before it.

        Args:
            table: as `fit` returns it.
            invalid: for the invalid rows.

        Raises:
            BadSource: the file is not CSV; the message says where.
            StorageFailed: Cloud Storage refused or failed.
        """
        rows = self._valid_rows(table, invalid)
        while some := list(_up_to(BLOCK_BYTES, rows)):
            yield from_rows(table.columns, some)

    def _valid_rows(self, table: Table, invalid: InvalidRows) -> Iterator[list[bytes]]:
        loaded = self._loaded[table.name] = Ids()
        expected = len(table.columns)
        for line in self._lines(table):
            if len(line.fields) != expected:
                reasons = [f"{expected} fields are expected, there are {len(line.fields)}"]
            else:
                values, reasons = self._check(table, line.fields)
            if reasons:
                invalid.add(self._names[table.name], line, reasons)
                continue
            loaded.add(int(values["id"]))
            yield [values[each.name].encode() for each in table.columns]

    def _check(self, table: Table, fields: list[str]) -> tuple[dict[str, str], list[str]]:
        """The valid values by column, and a reason for each broken rule."""
        values, reasons = {}, []
        for column, field in zip(table.columns, fields, strict=True):
            if not field.strip():
                reasons.append(f"{column.name} is empty")
                continue
            try:
                values[column.name] = RULES[column.name](column, field)
            except BrokenRule as reason:
                reasons.append(str(reason))
        if "id" in values and int(values["id"]) in self._loaded[table.name]:
            reasons.append(f"id {values['id']} is that of an earlier row")
        for name, parent in REFERS_TO.items():
            if name in values and int(values[name]) not in self._loaded[parent]:
                reasons.append(f"{name} {values[name]} is not the id of a valid row of {parent}")
        return values, reasons

    def _lines(self, table: Table) -> Iterator[Line]:
        """The rows of a table's file, with the fields in the order of the table's columns.

        Raises:
            BadSource: it is not CSV, or no row has as many fields as there are columns.
        """
        name = self._names[table.name]
        where = f"{self._folder.address}{name}"
        columns = [column.name for column in table.columns]
        with self._folder.open(name) as reader:
            file = io.BufferedReader(reader, BUFFER_BYTES)
            # -sig drops the byte-order mark that spreadsheets write.
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            lines = _csv_lines(where, text)
            first = next(lines, None)
            if first is None:
                raise BadSource(f"{where} is empty")
            names = [field.strip().lower() for field in first.fields]
            has_header = sorted(names) == sorted(columns)
            order = [names.index(column) for column in columns if has_header]
            is_csv = has_header
            for number, fields in lines if has_header else itertools.chain([first], lines):
                if len(fields) != len(columns):
                    yield Line(number, fields)
                    continue
                is_csv = True
                yield Line(number, [fields[place] for place in order] or fields)
            if not is_csv:
                raise BadSource(f"{where} has no line with the fields {', '.join(columns)}")


def _up_to(limit: int, rows: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The next rows, at most BLOCK_ROWS, up to the one with which they exceed `limit` bytes."""
    size = 0
    for row in itertools.islice(rows, BLOCK_ROWS):
        yield row
        size += sum(map(len, row))
        if size > limit:
            return


LONGEST_FIELD = 16 * 1024 * 1024
"""Characters of a field; a longer one is probably a quote that never closes."""


LONGEST_ROW = 2 * LONGEST_FIELD
"""Characters of a row; a file with a longer line is probably not CSV."""


class _BoundedLines:
    """The lines of a text, bounded in characters a row; `start_row` begins the next row."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._left = LONGEST_ROW

    def start_row(self) -> None:
        self._left = LONGEST_ROW

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                raise csv.Error(f"a row of more than {LONGEST_ROW} characters")
            yield line


def _csv_lines(where: str, text: io.TextIOWrapper) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_FIELD)
    lines = _BoundedLines(text)
    rows = csv.reader(lines, strict=True)
    number = 1
    try:
        for fields in rows:
            if any("\0" in field for field in fields):
                raise csv.Error("a zero byte")
            if fields:
                yield Line(number, fields)
            number = rows.line_num + 1
            lines.start_row()
    except csv.Error as error:
        raise BadSource(f"{where} is not CSV, at line {number}: {error}") from error
    except UnicodeDecodeError as error:
        raise BadSource(f"{where} is not UTF-8, soon after line {rows.line_num}") from error


def _find_files(folder: SourceFolder) -> dict[str, str]:
    there = folder.names()
    found = {}
    for table, names in FILES.items():
        files = [name for name in names if name in there]
        if not files:
            raise BadSource(f"{folder.address} has no {', '.join(names)}")
        if len(files) > 1:
            raise BadSource(f"{folder.address} has both {' and '.join(files)}: which one counts?")
        found[table] = files[0]
    return found
