"""CSV files as the source of a load: what is recognised, and the rules that each row has to keep.

    departments.csv   id, department
    jobs.csv          id, job
    employees.csv     id, name, datetime, department_id, job_id   (or hired_employees.csv)

The first line may name the columns, in any order. A row that breaks a rule is an invalid record: it
is kept with its place, its fields and every reason, and the others are loaded. A file that is not
CSV (RFC 4180) in UTF-8 is refused as a whole: nobody could say which rows it holds.
"""

import contextlib
import csv
import dataclasses
import datetime
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import backup
import mapping
from errors import BadSource, Misconfigured
from loading.progress import say
from loading.sources import BUFFER_BYTES, Folder

SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES"

SCHEMA = Path(__file__).resolve().parent.parent / "schema.sql"

FILES = {
    "departments": ("departments.csv",),
    "jobs": ("jobs.csv",),
    "employees": ("employees.csv", "hired_employees.csv"),
}
COLUMNS = {
    "departments": ("id", "department"),
    "jobs": ("id", "job"),
    "employees": ("id", "name", "datetime", "department_id", "job_id"),
}
REFERS_TO = {"department_id": "departments", "job_id": "jobs"}


class Ids:
    """A set of whole numbers: one bit for each where they lie close together.

    A million ids that count up take 0.3 MB, a million scattered ones 160 MB at most.
    """

    BITS = 512

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}

    def __contains__(self, number: int) -> bool:
        page, bit = divmod(number, self.BITS)
        return bool(self._pages.get(page, 0) >> bit & 1)

    def add(self, number: int) -> None:
        """Puts a number into the set."""
        page, bit = divmod(number, self.BITS)
        self._pages[page] = self._pages.get(page, 0) | 1 << bit


class BrokenRule(ValueError):
    """A field breaks a rule; the message says which field and which rule."""


# The fields: each takes what stands in the file and returns the value as MySQL would print it

INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}


def _number(column: mapping.Column, field: str) -> str:
    if not re.fullmatch("[+-]?[0-9]{1,30}", field.strip()):
        raise BrokenRule(f"{column.name} is not a number: {_shortened(field)}")
    number = int(field)
    lowest, highest = _integer_range(column)
    if not lowest <= number <= highest:
        raise BrokenRule(f"{column.name} is not between {lowest} and {highest}: {number}")
    return str(number)


def _integer_range(column: mapping.Column) -> tuple[int, int]:
    bits = INTEGER_BITS.get(re.split(r"\W", column.mysql_type)[0], 64)
    if "unsigned" in column.mysql_type:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _name(column: mapping.Column, field: str) -> str:
    longest = re.fullmatch(r"(?:var)?char\((\d+)\)", column.mysql_type)
    if longest and len(field) > int(longest[1]):
        raise BrokenRule(f"{column.name} is longer than {longest[1]} characters: {len(field)}")
    return field


ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s?(Z|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def _datetime(column: mapping.Column, field: str) -> str:
    """A time in UTC, cut to what the column holds: rounding could move it into the next year."""
    text = field.strip()
    try:
        if not ISO_8601.fullmatch(text):
            raise ValueError
        time = datetime.datetime.fromisoformat(text.upper().replace(" Z", "Z"))
        if time.tzinfo:
            time = time.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise BrokenRule(
            f"{column.name} is not a time like 2021-11-07T02:48:42Z: {_shortened(field)}"
        ) from None
    if column.mysql_type == "date":
        return str(time.date())
    if column.mysql_type.startswith("timestamp") and not FIRST_TIMESTAMP <= time < END_TIMESTAMP:
        raise BrokenRule(f"{column.name} is outside of what a TIMESTAMP holds: {time}")
    digits = re.search(r"\((\d)\)", column.mysql_type)
    unit = 10 ** (6 - int(digits[1] if digits else 0))
    return str(time.replace(microsecond=time.microsecond // unit * unit))


# https://dev.mysql.com/doc/refman/8.4/en/datetime.html
FIRST_TIMESTAMP = datetime.datetime(1970, 1, 1, 0, 0, 1)  # noqa: DTZ001 - UTC throughout
END_TIMESTAMP = datetime.datetime(2038, 1, 19, 3, 14, 8)  # noqa: DTZ001


def _shortened(field: str) -> str:
    return repr(field if len(field) <= 60 else f"{field[:60]}...")


RULES: dict[str, Callable[[mapping.Column, str], str]] = {
    "id": _number,
    "department_id": _number,
    "job_id": _number,
    "datetime": _datetime,
    "name": _name,
    "department": _name,
    "job": _name,
}


# The files


class Line(NamedTuple):
    """A row of a CSV file: the number of its first line, from 1, and its fields as they stand."""

    number: int
    fields: list[str]


SHOWN_RECORDS = 20
"""How many invalid records of a file a dry run, which stores none, shows."""


class InvalidRows:
    """The invalid records of one file, as JSON lines in an object made for the first one.

    Args:
        folder: to store the object in; None stores nothing, and logs the first SHOWN_RECORDS.
        table: whose file it is.
        opened: closes the object.
    """

    def __init__(
        self, folder: backup.Folder | None, table: str, opened: contextlib.ExitStack
    ) -> None:
        self._folder = folder
        self._opened = opened
        self._writer: backup.ObjectWriter | None = None
        self._name = f"{table}.jsonl"
        self.count = 0

    @property
    def address(self) -> str:
        """Where they are; empty when there are none or they are not stored."""
        return f"{self._folder.address}{self._name}" if self._folder and self.count else ""

    def add(self, file: str, line: Line, reasons: list[str]) -> None:
        """Keeps a row."""
        self.count += 1
        if self._folder is None:
            if self.count <= SHOWN_RECORDS:
                say("invalid record", "WARNING", file=file, line=line.number, reasons=reasons)
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
        folder: that holds them.

    Raises:
        BadSource: one is missing, or there are two for the same table.
    """

    sql_mode = SQL_MODE
    origin = "schema.sql"

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._names = _find_files(folder)
        self._loaded: dict[str, Ids] = {}

    @staticmethod
    def are_in(folder: Folder) -> bool:
        """Whether a folder holds any of the files."""
        return any(name in folder.names() for names in FILES.values() for name in names)

    def statements(self) -> dict[str, str]:
        """For each table the statement of the project's own schema that creates it."""
        script = SCHEMA.read_text()
        found = re.finditer(r"^CREATE TABLE (\w+) \(.*?^\)[^;]*", script, re.MULTILINE | re.DOTALL)
        return {statement[1]: statement[0] for statement in found}

    def next_ids(self) -> dict[str, int]:
        """None: after the highest id that was loaded comes the next one."""
        return {}

    def missing_table(self, name: str) -> mapping.Table:
        """A table as `statements` would create it, as far as the rules need to know."""
        found = re.findall(
            r"^\s+(\w+) (\w+(?:\(\d+\))?(?: UNSIGNED)?)", self.statements()[name], re.M
        )
        types = {column: mysql_type.lower() for column, mysql_type in found}
        columns = [
            mapping.Column(each, each, types[each], mapping.STRING, False, False, False)
            for each in COLUMNS[name]
        ]
        return mapping.Table(name, tuple(columns), ("id",))

    def fit(self, table: mapping.Table) -> mapping.Table:
        """The table with the columns alone that the file fills.

        Raises:
            Misconfigured: it lacks one; the message names it.
        """
        columns = {column.name: column for column in table.columns}
        for name in COLUMNS[table.name]:
            if name not in columns:
                raise Misconfigured(f"table {table.name} has no column {name}")
        return dataclasses.replace(
            table, columns=tuple(columns[name] for name in COLUMNS[table.name])
        )

    def read_rows(self, table: mapping.Table, invalid: InvalidRows) -> Iterator[mapping.Row]:
        """A table's valid rows; the others are added to `invalid`.

        The tables have to be read in the order of `db.TABLES`: a row may refer to the valid rows of
        the tables before.

        Args:
            table: as `fit` returns it.
            invalid: for the invalid rows.

        Raises:
            BadSource: the file is not CSV; the message says where.
            StorageFailed: Cloud Storage refused or failed.
        """
        loaded = self._loaded[table.name] = Ids()
        writer = mapping.RowWriter(table.columns)
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
            yield writer.from_printed([values[each.name].encode() for each in table.columns])

    def _check(self, table: mapping.Table, fields: list[str]) -> tuple[dict[str, str], list[str]]:
        """The values that keep the rules, by column, and a reason for each rule that is broken."""
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

    def _lines(self, table: mapping.Table) -> Iterator[Line]:
        """The rows of a table's file, fields in the order of the table's columns.

        Raises:
            BadSource: it is not CSV, or no row has as many fields as there are columns.
        """
        name = self._names[table.name]
        where = f"{self._folder.address}{name}"
        columns = [column.name for column in table.columns]
        with self._folder.open(name) as reader:
            file = io.BufferedReader(reader, BUFFER_BYTES)
            # -sig: without the byte-order mark that spreadsheets begin a file with.
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


LONGEST_FIELD = 16 * 1024 * 1024
"""Beyond what is broken by a rule: a longer one is taken for a quote that never closes."""


def _csv_lines(where: str, text: io.TextIOWrapper) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_FIELD)
    rows = csv.reader(text, strict=True)
    number = 1
    try:
        for fields in rows:
            if any("\0" in field for field in fields):
                raise csv.Error("a zero byte")
            if fields:
                yield Line(number, fields)
            number = rows.line_num + 1
    except csv.Error as error:
        raise BadSource(f"{where} is not CSV, at line {number}: {error}") from error
    except UnicodeDecodeError as error:
        raise BadSource(f"{where} is not UTF-8, soon after line {rows.line_num}") from error


def _find_files(folder: Folder) -> dict[str, str]:
    there = folder.names()
    found = {}
    for table, names in FILES.items():
        files = [name for name in names if name in there]
        if not files:
            raise BadSource(f"{folder.address} has no {' or '.join(names)}")
        if len(files) > 1:
            raise BadSource(f"{folder.address} has both {' and '.join(files)}: which one counts?")
        found[table] = files[0]
    return found
