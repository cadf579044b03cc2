"""Checks whole columns of CSV fields: which fields surely are valid, and what they become.

No rule is stated here. A field that passes has the most common form of a valid one, such as `7` or
`2021-11-07T02:48:42Z`; every other field is for the rule in `csv_rules` to judge.
"""

from dataclasses import dataclass

import numpy as np

from hiring.avro.buffers import Mask, Part, cells_from
from hiring.avro.parsing import Values
from hiring.avro.schema import Column
from hiring.avro.times import plain_times
from hiring.mysql.packets import Ints
from restore import csv_rules

SURE_DIGITS = 18
"""Any number of so many digits fits into 64 bits."""
_DATE, _TIME, _TIME_AND_ZONE = 10, 19, 20
"""How long `2021-11-07`, `2021-11-07T02:48:42` and `2021-11-07T02:48:42Z` are."""


@dataclass(frozen=True)
class Checked:
    """A column of fields.

    Attributes:
        sure: the fields that surely are valid.
        printed: what the sure ones become, as MySQL would print them.
        numbers: the same of a column of numbers; zeros for another.
    """

    sure: Mask
    printed: Part
    numbers: Ints


_NO_BLANK = np.ones(256, np.bool_)
"""The first bytes of UTF-8 characters that surely are no blanks: the last blank is U+3000."""
_NO_BLANK[[chr(code).encode()[0] for code in range(0x3001) if chr(code).isspace()]] = False


def check(column: Column, fields: Part) -> Checked:
    """Checks the fields of a column, at least one."""
    rule = csv_rules.RULES[column.name]
    if rule is csv_rules.number:
        return _numbers(column, fields)
    if rule is csv_rules.time:
        return _times(column, fields)
    return _texts(column, fields)


def _texts(column: Column, part: Part) -> Checked:
    """A text that does not start with a blank, nor has more bytes than it may have characters."""
    sure = _NO_BLANK[part.source.take(part.starts, mode="clip")] & (part.lengths > 0)
    if (most := csv_rules.most_characters(column)) is not None:
        sure &= part.lengths <= most
    return Checked(sure, part, np.zeros(len(sure), np.int64))


def _numbers(column: Column, part: Part) -> Checked:
    """Digits, without a zero in front."""
    sure = (part.lengths > 0) & (part.lengths <= SURE_DIGITS)
    first = part.source.take(part.starts, mode="clip")
    sure &= (first != ord("0")) | (part.lengths == 1)
    last = part.starts + part.lengths - 1
    numbers = np.zeros(len(sure), np.int64)
    power = 1
    for place in range(int(np.where(sure, part.lengths, 0).max())):
        digit = part.source.take(last - place, mode="clip") - np.uint8(ord("0"))
        digit *= part.lengths > place
        sure &= digit <= 9
        numbers += digit.astype(np.int64) * power
        power *= 10
    lowest, highest = csv_rules.integer_range(column.mysql_type)
    sure &= (numbers >= lowest) & (numbers <= min(highest, np.iinfo(np.int64).max))
    return Checked(sure, part, numbers)


def _times(column: Column, part: Part) -> Checked:
    """Date and time to the second, in UTC."""
    lengths = part.lengths
    table = cells_from(part.source, part.starts, _TIME_AND_ZONE)
    between, zone = table[:, _DATE].copy(), table[:, _TIME]
    sure = (lengths == _TIME) | ((lengths == _TIME_AND_ZONE) & ((zone | 0x20) == ord("z")))
    sure &= (between == ord(" ")) | ((between | 0x20) == ord("t"))
    table[:, _DATE] = ord(" ")
    starts = np.arange(0, table.size, _TIME_AND_ZONE)
    some = np.where(sure, _TIME, 0)
    values = Values(table.reshape(-1), starts, some, np.zeros(len(sure), np.bool_))
    micros, plain = plain_times(values, _TIME)
    sure &= plain
    if column.mysql_type.startswith("timestamp"):
        limits = (csv_rules.FIRST_TIMESTAMP, csv_rules.END_TIMESTAMP)
        first, end = (np.datetime64(each, "us").astype(np.int64) for each in limits)
        sure &= (micros >= first) & (micros < end)
    width = _DATE if column.mysql_type == "date" else _TIME
    return Checked(sure, Part(values.packets, starts, np.full(len(sure), width)), micros)
