"""CSV files, checked by whole columns: the same rows and reasons as field by field."""

import contextlib
import csv
import io
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiring.avro.columns import ColumnChunk
from hiring.avro.mapping import type_mapping
from hiring.avro.schema import Column, Table
from hiring.errors import BadSource
from hiring.storage.folders import SourceFolder
from restore import csv_check, csv_columns, csv_files, csv_lines
from restore.csv_check import Line

TYPES: dict[str, tuple[str, ...]] = {
    "id": ("int unsigned", "tinyint", "bigint", "bigint unsigned"),
    "department_id": ("int unsigned",),
    "job_id": ("int",),
    "name": ("varchar(5)", "varchar(255)", "text"),
    "department": ("varchar(255)",),
    "job": ("varchar(255)",),
    "datetime": ("datetime", "datetime(3)", "timestamp", "date", "varchar(30)"),
}

NUMBERS = st.sampled_from(["1", "2", "3", "9", "127", "300"]) | st.sampled_from(
    [
        *("", " ", "0", "01", "+1", "-1", " 2\t", "\u00a03", "1.0", "1e3", "\u0661", "\x1f1", "x"),
        *(str(2**32 - 1), str(2**32), "9" * 18, str(10**18), str(2**63 - 1), str(2**63)),
        *(str(2**64 - 1), str(2**64), str(-(2**63)), "1" * 31),
    ]
)
TEXTS = st.sampled_from(["Ana", "Zoë", "五月", "\u3000", "\u2028x", "\x1c", "", " ", "12345"]) | (
    st.text("aé五\u2028\u00a0 ,\"\n\r'\\", max_size=7)
)
TIMES = st.sampled_from(
    [
        *("2021-02-03T04:05:06Z", "2021-02-03 04:05:06", "2024-02-29t23:59:59z", ""),
        *("1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z", "9999-12-31T23:59:59"),
        *("2038-01-19T03:14:07Z", "2038-01-19T03:14:08Z", "0001-01-01T00:00:00Z"),
        *("0000-01-01T00:00:00Z", "2021-02-29T00:00:00Z", "2021-02-03T24:00:00", "2021-02-03"),
        *("2021-02-03T04:05", "2021-02-03T04:05:06.789Z", "2021-02-03T04:05:06+01:00"),
        *("2021-02-03T04:05:60Z", "2021-13-03T04:05:06Z", "2021-02-03x04:05:06Z", "yesterday"),
        *("2021-02-03T04:05:06Y", "2021/02/03T04:05:06Z", "2021-02-03T04.05.06Z", " 2021-02-03 "),
    ]
)
LINE_ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])


def table_of(name: str, types: dict[str, str]) -> Table:
    """One of the tables, with these types."""
    columns = []
    for column in csv_files.CSV_COLUMNS[name]:
        mysql_type = types[column]
        data_type = mysql_type.split("(")[0].split(" ")[0]
        mapped = type_mapping(data_type, mysql_type, None, None)
        assert mapped is not None
        columns.append(Column(column, column, mysql_type, mapped, False, False, False))
    return Table(name, tuple(columns), ("id",))


@st.composite
def files(draw: st.DrawFn, columns: tuple[str, ...]) -> bytes:
    """A CSV file, valid or not, with or without a header and its columns in any order."""
    kinds = {column: NUMBERS for column in columns if column.endswith("id")}
    kinds |= {column: TIMES for column in columns if column == "datetime"}
    order = draw(st.permutations(columns)) if draw(st.booleans()) else list(columns)
    text = io.StringIO()
    quoting: Any = csv.QUOTE_MINIMAL if draw(st.booleans()) else csv.QUOTE_ALL
    writer = csv.writer(text, quoting=quoting, lineterminator=draw(LINE_ENDS))
    if tuple(order) != columns:
        writer.writerow(order)
    for _ in range(draw(st.integers(0, 12))):
        if draw(st.integers(0, 9)):
            writer.writerow([draw(kinds.get(column, TEXTS)) for column in order])
        else:
            text.write(
                draw(st.sampled_from(["1,2\n", "\n", "\r\n", ",,,,,,\n", '"', '"a"b,', "\0"]))
            )
    raw = text.getvalue().encode()
    if not draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=3)) + raw[at:]
    cut = draw(st.integers(0, 3)) == 0
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + (raw[:-1] if cut else raw)


class Folder(SourceFolder):
    """A folder in memory."""

    address = "files/"

    def __init__(self, content: dict[str, bytes]) -> None:
        self._content = content

    def names(self) -> set[str]:
        return set(self._content)

    def folders(self) -> list[SourceFolder]:
        return []

    def size(self, name: str) -> int:
        return len(self._content[name])

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Any]:
        yield io.BytesIO(self._content[name])


class PlainReader:
    """Reads a file with the csv module, row by row."""

    def __init__(self, where: str, file: io.BufferedIOBase, count: int) -> None:
        self._where = where
        self._raw = file.read().removeprefix(b"\xef\xbb\xbf")
        self._count = count

    def _lines(self) -> Iterator[str]:
        try:
            yield from io.StringIO(self._raw.decode(), newline="")
        except UnicodeDecodeError as error:
            text = self._raw[: error.start].decode()
            end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
            yield from io.StringIO(text[:end], newline="")
            raise

    def __iter__(self) -> Iterator[csv_lines.CsvRows]:
        rows = csv.reader(self._lines(), strict=True)
        number = 1
        try:
            for fields in rows:
                if any("\0" in field for field in fields):
                    raise csv.Error("a zero byte")
                if fields:
                    yield csv_lines._from_fields([number], [fields], self._count)
                number = rows.line_num + 1
        except csv.Error as error:
            raise BadSource(f"{self._where} is not CSV, at line {number}: {error}") from error
        except UnicodeDecodeError as error:
            raise BadSource(
                f"{self._where} is not UTF-8, soon after line {rows.line_num}"
            ) from error


def nothing_is_sure(column: Column, fields: Any) -> csv_columns.Checked:
    """Leaves every field to its rule."""
    rows = len(fields.starts)
    return csv_columns.Checked(np.zeros(rows, np.bool_), fields, np.zeros(rows, np.int64))


class Found(csv_files.InvalidRows):
    """Keeps the invalid rows."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Line, list[str]]] = []

    def add(self, file: str, line: Line, reasons: list[str]) -> None:
        self.rows.append((file, line, reasons))


def values(cells: list[ColumnChunk]) -> list[tuple[Any, ...]]:
    """The rows of some columns."""
    columns = []
    for each in cells:
        texts: list[Any] = [None] * len(each.nulls)
        if each.content is not None:
            spans = zip(each.content.starts, each.content.lengths, strict=True)
            texts = [bytes(each.content.source[start : start + size]) for start, size in spans]
        numbers = each.numbers.tolist() if each.numbers is not None else texts
        odd = each.odd.tolist() if each.odd is not None else [False] * len(texts)
        columns.append(list(zip(odd, numbers, texts, strict=True)))
    return list(zip(*columns, strict=True))


def load(content: dict[str, bytes], types: dict[str, str]) -> list[Any]:
    """What the files hold, by table: the rows, the invalid rows, and why there are no more."""
    source = csv_files.CsvFiles(Folder(content))
    found: list[Any] = []
    for name in csv_files.CSV_COLUMNS:
        invalid, rows, error = Found(), [], ""
        try:
            for cells in source.read_rows(table_of(name, types), invalid):
                rows += values(cells)
        except BadSource as refused:
            error = str(refused)
        found.append((rows, invalid.rows, error))
        if error:
            break
    return found


@given(data=st.data())
def test_columns_give_the_rows_and_reasons_that_single_fields_give(data: st.DataObject) -> None:
    """Files of any content give the same rows, the same invalid records in the same order, and the
    same refusal, whether whole columns are checked or each field by itself."""
    content = {
        f"{name}.csv": data.draw(files(columns)) for name, columns in csv_files.CSV_COLUMNS.items()
    }
    content["departments.csv"] = data.draw(
        st.sampled_from([b"1,A\n2,B\n4294967295,C\n", content["departments.csv"]])
    )
    content["jobs.csv"] = data.draw(st.sampled_from([b"1,A\r\n3,B\r\n300,C", content["jobs.csv"]]))
    types = {column: data.draw(st.sampled_from(types)) for column, types in TYPES.items()}
    size = data.draw(st.sampled_from([1, 7, 50, 1000]))
    with (
        mock.patch.object(csv_files, "CsvReader", PlainReader),
        mock.patch.object(csv_columns, "check", nothing_is_sure),
    ):
        expected = load(content, types)
    with (
        mock.patch.object(csv_lines, "TEXT_BYTES", size),
        mock.patch.object(csv_lines, "MOST_ROWS", data.draw(st.integers(1, 5))),
    ):
        assert load(content, types) == expected


@pytest.mark.parametrize(
    "line", ["{n},Ana {n},2021-02-03T04:05:06Z,1,1", '{n},"A",2021-02-03 04:05:06,1,1']
)
def test_common_rows_are_judged_by_columns_alone(line: str) -> None:
    """No row of a file in the common form is judged field by field, quoted or not."""
    content = {
        "departments.csv": b"1,Sales\n",
        "jobs.csv": b"1,Clerk\n",
        "employees.csv": "\n".join(line.format(n=number) for number in range(2000)).encode(),
    }
    types = {column: types[0] for column, types in TYPES.items()} | {"name": "varchar(255)"}
    with mock.patch.object(csv_check.Checker, "_judge", side_effect=AssertionError):
        (*_, (rows, invalid, error)) = load(content, types)
    assert (len(rows), invalid, error) == (2000, [], "")
