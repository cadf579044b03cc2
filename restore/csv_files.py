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
import dataclasses
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hiring.avro import mapping
from hiring.avro.columns import ColumnChunk, from_printed
from hiring.avro.schema import Column, Table
from hiring.errors import BadSource, Misconfigured
from hiring.progress import status
from hiring.storage.folders import BUFFER_BYTES, SourceFolder
from hiring.storage.objects import ObjectWriter, OutputFolder
from restore.csv_check import Checker, Line
from restore.csv_lines import CsvReader, CsvRows
from restore.ids import Ids

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

    def __init__(self, folder: SourceFolder) -> None:
        self._folder = folder
        self._names = _find_files(folder)
        self._valid: dict[str, Ids] = {}

    @staticmethod
    def are_in(folder: SourceFolder) -> bool:
        """Whether a folder holds any of the files."""
        return any(name in folder.names() for names in FILES.values() for name in names)

    def statements(self) -> dict[str, str]:
        """For each table, the CREATE TABLE of the project's own schema."""
        script = SCHEMA.read_text()
        found = re.finditer(r"^CREATE TABLE (\w+) \(.*?^\)[^;]*", script, re.MULTILINE | re.DOTALL)
        return {statement[1]: statement[0] for statement in found}

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

    def read_rows(self, table: Table, invalid: InvalidRows) -> Iterator[list[ColumnChunk]]:
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
        checker = Checker(table, self._valid)
        self._valid[table.name] = checker.ids

        def reject(line: Line, reasons: list[str]) -> None:
            invalid.add(self._names[table.name], line, reasons)

        for rows in self._rows(table):
            printed = checker.accept(rows, reject)
            nulls = np.zeros(len(printed[0].lengths), np.bool_)
            if len(nulls):
                columns = zip(table.columns, printed, strict=True)
                yield [from_printed(column, part, nulls) for column, part in columns]

    def _rows(self, table: Table) -> Iterator[CsvRows]:
        """The rows of a table's file, with the fields in the order of the table's columns.

        Raises:
            BadSource: it is not CSV, or no row has as many fields as there are columns.
        """
        name = self._names[table.name]
        where = f"{self._folder.address}{name}"
        columns = [column.name for column in table.columns]
        with self._folder.open(name) as reader:
            blocks = iter(CsvReader(where, io.BufferedReader(reader, BUFFER_BYTES), len(columns)))
            first = next(blocks, None)
            if first is None:
                raise BadSource(f"{where} is empty")
            names = [field.strip().lower() for field in first.fields(0)]
            has_header = sorted(names) == sorted(columns)
            order = [
                names.index(name) if has_header else place for place, name in enumerate(columns)
            ]
            is_csv = has_header
            if has_header:
                first = first.without_first()
            for rows in itertools.chain([first] if first.numbers else [], blocks):
                is_csv = is_csv or rows.has_plain
                yield rows.ordered(order)
            if not is_csv:
                raise BadSource(f"{where} has no line with the fields {', '.join(columns)}")


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
