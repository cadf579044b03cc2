"""Reads the rows of a CSV file (RFC 4180, in UTF-8), many at a time, with their line numbers.

Lines without a quote are split by NumPy, all lines of a chunk at once. Python's csv module reads
the other chunks, and decides what is CSV.
"""

import codecs
import csv
import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from hiring.avro.buffers import Part
from hiring.errors import BadSource

LONGEST_FIELD = 16 * 1024 * 1024
"""Characters of a field; a longer one is probably a quote that never closes."""
LONGEST_ROW = 2 * LONGEST_FIELD
"""Characters of a row and the rest of its last chunk; a file with more is probably not CSV."""
TEXT_BYTES = 512 * 1024
MOST_ROWS = 10_000
"""Rows that the csv module reads at a time, at most."""


class CsvRows:
    """Some rows of a CSV file.

    Attributes:
        numbers: the number of the first line of each, from 1.
        columns: the fields; those of a row with another number of fields are empty.
    """

    def __init__(
        self, numbers: Sequence[int], columns: list[Part], odd: dict[int, list[str]] | None = None
    ) -> None:
        self.numbers = numbers
        self.columns = columns
        self._odd = odd or {}

    def fields(self, place: int) -> list[str]:
        """The fields of one row."""
        if place in self._odd:
            return self._odd[place]
        return [self.field(place, column) for column in range(len(self.columns))]

    def field(self, place: int, column: int) -> str:
        """One field; empty where the row has another number of fields."""
        part = self.columns[column]
        start = part.starts[place]
        return part.source[start : start + part.lengths[place]].tobytes().decode()

    @property
    def has_plain(self) -> bool:
        """Whether any row has as many fields as there are columns."""
        return len(self._odd) < len(self.numbers)

    def ordered(self, order: list[int]) -> "CsvRows":
        """The rows with their fields in this order, where they have so many."""
        return CsvRows(self.numbers, [self.columns[place] for place in order], self._odd)

    def without_first(self) -> "CsvRows":
        """All rows but the first."""
        columns = [Part(part.source, part.starts[1:], part.lengths[1:]) for part in self.columns]
        odd = {place - 1: fields for place, fields in self._odd.items() if place}
        return CsvRows(self.numbers[1:], columns, odd)


def _from_fields(numbers: list[int], rows: list[list[str]], count: int) -> CsvRows:
    odd = {}
    if set(map(len, rows)) != {count}:
        odd = {place: fields for place, fields in enumerate(rows) if len(fields) != count}
        empty = [""] * count
        rows = [empty if place in odd else fields for place, fields in enumerate(rows)]
    fields = list(itertools.chain.from_iterable(rows))
    text = "".join(fields)
    pieces = fields if text.isascii() else [field.encode() for field in fields]
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    starts = np.cumsum(lengths) - lengths
    # NumPy takes nothing from an array without a byte.
    source = np.frombuffer(text.encode() or b"\0", np.uint8)
    columns = [Part(source, starts[at::count], lengths[at::count]) for at in range(count)]
    return CsvRows(numbers, columns, odd)


_COMMA, _LINE_FEED, _CARRIAGE_RETURN = b",\n\r"


def _split(text: str, number: int, count: int) -> CsvRows | None:
    """The rows of whole lines, if each is `count` fields without a quote.

    Args:
        text: the lines.
        number: that of the first.
        count: at least two, so that no blank line is a row.
    """
    if '"' in text or "\0" in text:
        return None
    source = np.frombuffer(text.encode(), np.uint8)
    breaks = np.flatnonzero((source == _COMMA) | (source == _LINE_FEED))
    rows, more = divmod(len(breaks), count)
    if more or not rows or breaks[-1] != len(source) - 1:
        return None
    table = breaks.reshape(rows, count)
    is_end = source[table] == _LINE_FEED
    if not is_end[:, -1].all() or is_end[:, :-1].any():
        return None
    starts = np.append(0, breaks[:-1] + 1).reshape(rows, count)
    lengths = table - starts
    if returns := text.count("\r"):
        at_end = source[table[:, -1] - 1] == _CARRIAGE_RETURN
        if np.count_nonzero(at_end) != returns:
            return None  # the others end a line, too
        lengths[:, -1] -= at_end
    columns = [Part(source, starts[:, at], lengths[:, at]) for at in range(count)]
    return CsvRows(range(number, number + rows), columns)


class CsvReader:
    """The rows of a file, without blank lines.

    Args:
        where: the file's address, for messages.
        file: to read.
        count: the number of fields of a row, at least two.
    """

    def __init__(self, where: str, file: io.BufferedIOBase, count: int) -> None:
        csv.field_size_limit(LONGEST_FIELD)
        self._where = where
        self._count = count
        self._chunks = self._read_chunks(file)
        self._chunk: str | None = None  # the next one, if it is read already
        self._reader = csv.reader(itertools.chain.from_iterable(self._read_lines()), strict=True)
        self._handed = 0  # lines that the csv module was given
        self._split = 0  # lines that were split without it
        self._number = 1  # of the line where the next row starts
        self._left = LONGEST_ROW  # characters that this row may still have
        self._has_zero = False

    def __iter__(self) -> Iterator[CsvRows]:
        """The rows, some at a time.

        Raises:
            BadSource: the file is not CSV; the message says where. The rows before came first.
        """
        try:
            while (chunk := next(self._chunks, None)) is not None:
                if rows := _split(chunk, self._number, self._count):
                    self._split += len(rows.numbers)
                    self._start_row()
                    yield rows
                else:
                    self._chunk = chunk
                    yield from self._parse()
        except csv.Error as error:
            raise BadSource(f"{self._where} is not CSV, at line {self._number}: {error}") from error
        except UnicodeDecodeError as error:
            line = self._split + self._reader.line_num
            raise BadSource(f"{self._where} is not UTF-8, soon after line {line}") from error

    def _start_row(self) -> None:
        self._number = self._split + self._reader.line_num + 1
        self._left = LONGEST_ROW

    def _parse(self) -> Iterator[CsvRows]:
        """The rows from the next chunk to the first chunk that ends with a row."""
        numbers: list[int] = []
        rows: list[list[str]] = []
        end = 0
        try:
            for fields in self._reader:
                if self._has_zero and any("\0" in field for field in fields):
                    raise csv.Error("a zero byte")
                if not rows:
                    end = min(self._handed, self._reader.line_num + MOST_ROWS)
                if fields:
                    numbers.append(self._number)
                    rows.append(fields)
                self._start_row()
                # A row that goes on in the next chunk ends the block, too: it may be long.
                if self._reader.line_num >= end:
                    if rows:
                        yield _from_fields(numbers, rows, self._count)
                    numbers, rows = [], []
                    if self._reader.line_num == self._handed:
                        return
        except (csv.Error, UnicodeDecodeError):
            if rows:
                yield _from_fields(numbers, rows, self._count)
            raise

    def _read_lines(self) -> Iterator[list[str]]:
        """The lines of the chunks that the csv module reads, a chunk at a time."""
        while (chunk := self._chunk or next(self._chunks, None)) is not None:
            self._chunk = None
            self._has_zero = self._has_zero or "\0" in chunk
            lines = list(io.StringIO(chunk, newline=""))
            self._handed += len(lines)
            yield lines

    def _read_chunks(self, file: io.BufferedIOBase) -> Iterator[str]:
        """The file's text, cut after lines."""
        rest = ""
        for text in _texts(file):
            self._left -= len(text)
            if self._left < 0:
                raise csv.Error(f"a row of more than {LONGEST_ROW} characters")
            rest += text
            # The line feed after a carriage return may be the next text's first character.
            if end := max(rest.rfind("\n"), rest.rfind("\r", 0, len(rest) - 1)) + 1:
                yield rest[:end]
                rest = rest[end:]
        if rest:
            yield rest


def _texts(file: io.BufferedIOBase) -> Iterator[str]:
    # -sig drops the byte-order mark that spreadsheets write.
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        while chunk := file.read(TEXT_BYTES):
            yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        yield error.object[: error.start].decode()
        raise
