"""The rules for the fields of CSV files: each returns the value as MySQL would print it."""

import datetime
import functools
import re
from collections.abc import Callable

from hiring.avro.schema import Column


class BrokenRule(ValueError):
    """A field breaks a rule; the message names both."""


WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,30})(?:\.0{1,30})?")
"""pandas writes the whole numbers of a column with gaps as 6.0."""
BLANKS = " \t\n\r\v\f\u00a0"
"""Characters allowed around a number; `str.strip` would also remove control characters."""
INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}


def number(column: Column, field: str) -> str:
    """A whole number that the column can hold, without blanks, plus sign and leading zeros."""
    found = WHOLE_NUMBER.fullmatch(field.strip(BLANKS))
    if not found:
        raise BrokenRule(f"{column.name} is not a whole number: {_shortened(field)}")
    value = int(found[1])
    lowest, highest = integer_range(column.mysql_type)
    if not lowest <= value <= highest:
        raise BrokenRule(f"{column.name} is not between {lowest} and {highest}: {value}")
    return str(value)


@functools.cache
def integer_range(mysql_type: str) -> tuple[int, int]:
    """The least and the greatest number of a type."""
    bits = INTEGER_BITS.get(re.split(r"\W", mysql_type)[0], 64)
    if "unsigned" in mysql_type:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def name(column: Column, field: str) -> str:
    """A text that the column has room for, without the blanks that a CHAR column drops."""
    most, is_char = text_type(column.mysql_type)
    text = field.rstrip(" ") if is_char else field
    if not text.strip():
        raise BrokenRule(f"{column.name} is empty")
    if most is not None and len(text) > most:
        raise BrokenRule(f"{column.name} is longer than {most} characters: {len(text)}")
    return text


@functools.cache
def text_type(mysql_type: str) -> tuple[int | None, bool]:
    """How many characters a type holds, None where that is not counted; and whether it is CHAR."""
    found = re.fullmatch(r"(var)?char\((\d+)\)", mysql_type)
    return (int(found[2]), not found[1]) if found else (None, False)


ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s?(Z|[+-]\d\d(:?[0-5]\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def time(column: Column, field: str) -> str:
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
    if column.mysql_type.startswith("timestamp") and not FIRST_TIMESTAMP <= value < END_TIMESTAMP:
        raise BrokenRule(f"{column.name} is outside the range of a TIMESTAMP: {value}")
    if not value.microsecond:
        return str(value)
    digits = re.search(r"\((\d)\)", column.mysql_type)
    unit = 10 ** (6 - int(digits[1] if digits else 0))
    return str(value.replace(microsecond=value.microsecond // unit * unit))


# https://dev.mysql.com/doc/refman/8.4/en/datetime.html
FIRST_TIMESTAMP = datetime.datetime(1970, 1, 1, 0, 0, 1)  # noqa: DTZ001 - UTC throughout
END_TIMESTAMP = datetime.datetime(2038, 1, 19, 3, 14, 8)  # noqa: DTZ001


def _shortened(field: str) -> str:
    return repr(field if len(field) <= 60 else f"{field[:60]}...")


RULES: dict[str, Callable[[Column, str], str]] = {
    "id": number,
    "department_id": number,
    "job_id": number,
    "datetime": time,
    "name": name,
    "department": name,
    "job": name,
}
