"""Reads the rows of a CSV file (RFC 4180, in UTF-8) with Python's csv module, in bounded memory."""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from hiring.errors import BadSource

LONGEST_ROW = 4 * 1024 * 1024
"""Characters of a row; a longer one is probably a quote that never closes."""


class Line(NamedTuple):
    """A row of a CSV file: the number of the line on which it begins, from 1, and its fields."""

    number: int
    fields: list[str]


def read_lines(where: str, file: io.BufferedReader | io.BytesIO) -> Iterator[Line]:
    """The rows of a file, without blank lines.

    Args:
        where: the file's address, for messages.
        file: to read.

    Raises:
        BadSource: the file is not CSV, or not UTF-8; the message names the line.
    """
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
