"""The rules for the fields of CSV files: each returns the value as MySQL would print it."""

import datetime
import re
from collections.abc import Callable

from hiring.export.table import Column


class BrokenRule(ValueError):
    """A field breaks a rule; the message names both."""


BLANKS = " \t\n\r\v\f\u00a0"
"""Characters allowed around a number; `str.strip` would also remove control characters."""
INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}


def _number(column: Column, field: str) -> str:
    digits = field.strip(BLANKS)
    if not re.fullmatch("[+-]?[0-9]{1,30}", digits):
        raise BrokenRule(f"{column.name} is not a number: {_shortened(field)}")
    number = int(digits)
    lowest, highest = _integer_range(column)
    if not lowest <= number <= highest:
        raise BrokenRule(f"{column.name} is not between {lowest} and {highest}: {number}")
    return str(number)


def _integer_range(column: Column) -> tuple[int, int]:
    bits = INTEGER_BITS.get(re.split(r"\W", column.mysql_type)[0], 64)
    if "unsigned" in column.mysql_type:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _name(column: Column, field: str) -> str:
    longest = re.fullmatch(r"(?:var)?char\((\d+)\)", column.mysql_type)
    if longest and len(field) > int(longest[1]):
        raise BrokenRule(f"{column.name} is longer than {longest[1]} characters: {len(field)}")
    return field


ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s?(Z|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def _datetime(column: Column, field: str) -> str:
    """A time in UTC, cut to the column's precision: rounding could move it into the next year."""
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
        raise BrokenRule(f"{column.name} is outside the range of a TIMESTAMP: {time}")
    digits = re.search(r"\((\d)\)", column.mysql_type)
    unit = 10 ** (6 - int(digits[1] if digits else 0))
    return str(time.replace(microsecond=time.microsecond // unit * unit))


# https://dev.mysql.com/doc/refman/8.4/en/datetime.html
FIRST_TIMESTAMP = datetime.datetime(1970, 1, 1, 0, 0, 1)  # noqa: DTZ001 - UTC throughout
END_TIMESTAMP = datetime.datetime(2038, 1, 19, 3, 14, 8)  # noqa: DTZ001


def _shortened(field: str) -> str:
    return repr(field if len(field) <= 60 else f"{field[:60]}...")


RULES: dict[str, Callable[[Column, str], str]] = {
    "id": _number,
    "department_id": _number,
    "job_id": _number,
    "datetime": _datetime,
    "name": _name,
    "department": _name,
    "job": _name,
}
