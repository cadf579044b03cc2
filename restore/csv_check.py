"""Finds the valid rows of CSV files: new ids, references to valid rows, rows that the table takes.

Even in strict mode, the server changes some values without a warning, so each row is read back.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pymysql

from hiring.avro.columns import from_rows
from hiring.avro.schema import Table
from hiring.errors import RowRefused
from hiring.mysql.server_errors import error_number
from restore import comparison, sql_text
from restore.csv_files import NAME_COLUMNS, REFERS_TO, Line
from restore.csv_rules import Row
from restore.digest import digests
from restore.row_inserter import RowInserter, insert_in_parts

SHOWN_REASONS = 5
ABOUT_A_ROW = (pymysql.err.DataError, pymysql.err.IntegrityError)
ABOUT_A_ROW_TOO = {None, 1118, 1292, 1364, 1411, 1526, 1690, 3140, 3751, 3752, 3819, 3903, 4025}
"""Errors about a row that PyMySQL does not class as such; None is a row too long to be sent.

Any other one, such as a failing disk, is not the row's fault, and fails the import.
"""

Insert = Callable[[Sequence[Row]], Iterable[tuple[Row, str]]]


class Ids:
    """A set of ids; 64 consecutive numbers are one entry of a dictionary."""

    def __init__(self) -> None:
        self._pages: dict[int | str, int] = {}

    def __contains__(self, text: str) -> bool:
        page, bit = self._place(text)
        return bool(self._pages.get(page, 0) & bit)

    def add(self, text: str) -> None:
        """Adds an id."""
        page, bit = self._place(text)
        self._pages[page] = self._pages.get(page, 0) | bit

    def _place(self, text: str) -> tuple[int | str, int]:
        if not text.isdecimal() or text[0] == "0":
            return text, 1  # in a column of text, 007 is not 7
        number = int(text)
        return number >> 6, 1 << (number & 63)


class Checker:
    """Finds and counts the valid rows of one file, and adds their ids to those in `valid`.

    `insert` is for the rows that seem valid; None takes all. The counts are those of an `Outcome`.
    """

    def __init__(self, table: Table, valid: dict[str, Ids], insert: Insert | None = None) -> None:
        self.table = table
        self._valid = valid
        self._ids = valid[table.name] = Ids()
        self._insert = insert
        self.where = "not stored"
        self.read = self.invalid = self.blanks = self.cut = 0
        self._kinds: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        columns = enumerate(column.name for column in table.columns)
        self._names = [(place, name) for place, name in columns if name in NAME_COLUMNS]

    def add(self, batch: Sequence[Row]) -> list[tuple[Line, list[str]]]:
        """Inserts the valid rows of a batch; returns the invalid ones and their reasons."""
        invalid: list[tuple[Line, list[str]]] = []
        left = batch
        while left:
            tried: dict[str, Row] = {}
            repeated = []
            for row in left:
                if row.values.get("id") in tried:
                    repeated.append(row)
                elif reasons := [*row.reasons, *self._conflicts(row)]:
                    invalid.append((row.line, reasons))
                else:
                    tried[row.values["id"]] = row
            for row, reason in self._insert(list(tried.values())) if self._insert else ():
                invalid.append((row.line, [reason]))
                del tried[row.values["id"]]
            for number, row in tried.items():
                self._ids.add(number)
                for place, name in self._names:
                    field = row.line.fields[place]
                    self.blanks += field != field.strip()
                    self.cut += field != row.values[name]
            left = repeated  # the table may have refused the rows whose ids they repeat
        self.read += len(batch)
        self.invalid += len(invalid)
        for reason in itertools.chain.from_iterable(reasons for _, reasons in invalid):
            kind = reason.partition(": ")[0]
            self._kinds[kind] += 1
            self._examples.setdefault(kind, reason)
        return sorted(invalid)

    @property
    def counted_reasons(self) -> str:
        """The most frequent kinds of reasons: how often each was given, and the first one."""
        return ", ".join(
            f"{count:,} x {self._examples[kind]}"
            for kind, count in self._kinds.most_common(SHOWN_REASONS)
        )

    def _conflicts(self, row: Row) -> list[str]:
        """Why a row cannot be beside the valid rows."""
        values, reasons = row.values, []
        if "id" in values and values["id"] in self._ids:
            reasons.append(f"id is that of an earlier row: {values['id']}")
        for name, parent in REFERS_TO.items():
            if name in values and values[name] not in self._valid[parent]:
                reasons.append(f"{name} is not the id of a valid row of {parent}: {values[name]}")
        return reasons


def insert_rows(inserter: RowInserter, rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Inserts rows in strict mode; yields each that the table does not take as it is, and why.

    Raises RowRefused if the server refuses the rows for another reason than their values.
    """
    columns = inserter.filled

    def insert(rows: Sequence[Row]) -> str | None:
        sent = from_rows(
            columns, [[row.values[column.name].encode() for column in columns] for row in rows]
        )
        text, _ = sql_text.write(sql_text.INSERT, columns, sent)
        try:
            inserter.insert_statement(inserter.head + text[:-1])
        except RowRefused as refusal:
            error = refusal.__cause__
            if not isinstance(error, ABOUT_A_ROW) and error_number(error) not in ABOUT_A_ROW_TOO:
                raise
            message = str(error.args[-1] if error else refusal)
            return f"the database refuses the row: {message.removesuffix(' at row 1')}"
        ids, _ = sql_text.write(sql_text.INSERT, columns[:1], sent[:1])
        blocks = comparison.stored_blocks(inserter, f" WHERE `id` IN ({ids[:-1].decode()})")
        found = sum(digests(columns, chunks) for chunks in blocks)
        if np.array_equal(found, digests(columns, sent)):
            return None
        changed = comparison.difference(inserter, sent) if len(rows) == 1 else "one of many"
        return f"the table changes the row: {changed}"

    return insert_in_parts(inserter.connection, rows, insert) if rows else iter(())
