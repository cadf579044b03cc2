"""The rules for the fields of CSV files: each returns the value as MySQL would print it."""

import datetime
import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hiring.avro.mapping import BYTES, FLOATS
from hiring.avro.schema import Column, Table
from hiring.storage.folders import SourceFolder
from restore.csv_files import BLANKS, REFERS_TO, WHOLE_NUMBER, Line, read_lines

BATCH_ROWS = 2000
BATCH_CHARACTERS = 128 * 1024
"""A batch ends after so many rows or characters."""


class Row(NamedTuple):
    """A row, its valid values by column, as MySQL would print them, and the broken rules."""

    line: Line
    values: dict[str, str]
    reasons: list[str]


Rule = Callable[[str], str]


class BrokenRule(ValueError):
    """A field breaks a rule; the message names both."""


def batches(table: Table, folder: SourceFolder, file: str) -> Iterator[list[Row]]:
    """The rows of a table's file, some at a time, judged; errors are those of `read_lines`."""
    rules = {column.name: _rule(column) for column in table.columns}
    batch: list[Row] = []
    characters = 0
    for line in read_lines(folder, file, table.name):
        batch.append(_row(rules, line))
        characters += sum(map(len, line.fields))
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _rule(column: Column) -> Rule:
    if column.name == "id":
        return _number_rule(column)
    if column.name in REFERS_TO:
        # Millions of rows refer to few others.
        return functools.lru_cache(_number_rule(column))
    return functools.partial(_time, column) if column.name == "datetime" else _name_rule(column)


def _row(rules: dict[str, Rule], line: Line) -> Row:
    if len(line.fields) != len(rules):
        return Row(line, {}, [f"a row does not have {len(rules)} fields: {len(line.fields)}"])
    values: dict[str, str] = {}
    reasons = []
    for (name, rule), field in zip(rules.items(), line.fields, strict=True):
        try:
            values[name] = rule(field)
        except BrokenRule as broken:
            reasons.append(str(broken) if field.strip() else f"{name} is empty")
    return Row(line, values, reasons)


BITS = {"tinyint": 7, "smallint": 15, "mediumint": 23, "int": 31, "float": 24, "double": 53}
"""The bits of the whole numbers that a column holds exactly, without their sign; of others, 63."""


def _number_rule(column: Column) -> Rule:
    """Whole numbers that the column can hold; a column of text keeps them as they are written."""
    is_text = bool(column.character_set) or column.type is BYTES
    kind, *_ = re.split(r"\W", column.mysql_type)
    most = 2 ** BITS.get(kind, 63)
    lowest, highest = -most, most - 1
    if "unsigned" in column.mysql_type:
        lowest, highest = 0, highest if kind in FLOATS else 2 * most - 1

    def number(field: str) -> str:
        found = WHOLE_NUMBER.fullmatch(field.strip(BLANKS))
        if not found:
            raise BrokenRule(f"{column.name} is not a whole number: {_shortened(field)}")
        if is_text:
            return field
        value = int(found[1])
        if not lowest <= value <= highest:
            raise BrokenRule(f"{column.name} is not between {lowest} and {highest}: {value}")
        return str(value)

    return number


def _name_rule(column: Column) -> Rule:
    """Texts that the column has room for, without the blanks that a CHAR column drops."""
    found = re.fullmatch(r"(?:var)?char\((\d+)\)", column.mysql_type)
    most = int(found[1]) if found else None
    is_char = column.mysql_type.startswith("char(")

    def name(field: str) -> str:
        text = field.rstrip(" ") if is_char else field
        if not text.strip():
            raise BrokenRule(f"{column.name} is empty")
        if most is not None and len(text) > most:
            raise BrokenRule(f"{column.name} is longer than {most} characters: {len(text)}")
        return text

    return name


ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s?(Z|[+-]\d\d(:?[0-5]\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def _time(column: Column, field: str) -> str:
    """A time in UTC, cut to the column's precision: rounding could move it into the next year."""
    text = field.strip()
    try:
        if not ISO_8601.fullmatch(text):
            raise ValueError
        value = datetime.datetime.fromisoformat(text.upper().removesuffix("Z").rstrip())
        if value.tzinfo:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise BrokenRule(
            f"{column.name} is not a time like 2021-11-07T02:48:42Z: {_shortened(field)}"
        ) from None
    if column.mysql_type == "date":
        return str(value.date())
    digits = re.match(r"(?:datetime|timestamp)(?:\((\d)\))?", column.mysql_type)
    unit = 10 ** (6 - int(digits[1] or 0)) if digits else 1  # a text has room for every digit
    return str(value.replace(microsecond=value.microsecond // unit * unit))


def _shortened(field: str) -> str:
    return repr(field if len(field) <= 60 else f"{field[:60]}...")
