"""Finds the valid rows of CSV files: fields by their rules, new ids, references to valid rows.

The table decides last: `insert` rejects rows, and a later row may then use such a row's id.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from hiring.avro.schema import Column, Table
from restore import csv_rules
from restore.csv_reader import Line
from restore.csv_rules import RULES, BrokenRule

REFERS_TO = {"department_id": "departments", "job_id": "jobs"}
SHOWN_REASONS = 5
BATCH_ROWS = 2000
BATCH_CHARACTERS = 128 * 1024
"""A batch ends after so many rows or characters."""


class Row(NamedTuple):
    """A row, its valid values by column, as MySQL would print them, and the broken rules."""

    line: Line
    values: dict[str, str]
    reasons: list[str]


Rule = Callable[[str], str]
"""The rule for the fields of one column."""
Insert = Callable[[Sequence[Row]], Iterable[tuple[Row, str]]]
"""Inserts rows; returns those that the table does not take, each with the reason."""


class Ids:
    """A set of whole numbers; 64 consecutive ones are one entry of a dictionary."""

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}

    def __contains__(self, number: int) -> bool:
        return bool(self._pages.get(number >> 6, 0) >> (number & 63) & 1)

    def add(self, number: int) -> None:
        """Adds a number."""
        self._pages[number >> 6] = self._pages.get(number >> 6, 0) | 1 << (number & 63)


def batches(table: Table, lines: Iterable[Line]) -> Iterator[list[Row]]:
    """The rows of a file, some at a time, after the rules for single fields."""
    rules = {column.name: _rule(column) for column in table.columns}
    batch: list[Row] = []
    characters = 0
    for line in lines:
        batch.append(_row(rules, line))
        characters += sum(map(len, line.fields))
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _rule(column: Column) -> Rule:
    rule = functools.partial(RULES[column.name], column)
    # Millions of rows refer to few others.
    return functools.lru_cache(rule) if column.name in REFERS_TO else rule


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


class Checker:
    """Finds the valid rows of one file.

    Args:
        table: that they are for.
        valid: the ids of the valid rows of each table before this one; those of this one are added.
        insert: for the rows that seem valid; None takes all of them.

    Attributes:
        table: that they are for.
        read: the number of rows so far.
        invalid: the number of invalid rows.
        blanks: the number of names in valid rows that begin or end with a blank.
        cut: the number of those that the column holds without the blanks at their end.
    """

    def __init__(self, table: Table, valid: dict[str, Ids], insert: Insert | None = None) -> None:
        self.table = table
        self._valid = valid
        self._ids = valid[table.name] = Ids()
        self._insert = insert
        self.read = self.invalid = self.blanks = self.cut = 0
        self._kinds: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        rules = enumerate(column.name for column in table.columns)
        self._texts = [(place, each) for place, each in rules if RULES[each] is csv_rules.name]

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
                self._ids.add(int(number))
                self._count_blanks(row)
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
        if "id" in values and int(values["id"]) in self._ids:
            reasons.append(f"id is that of an earlier row: {values['id']}")
        for name, parent in REFERS_TO.items():
            if name in values and int(values[name]) not in self._valid[parent]:
                reasons.append(f"{name} is not the id of a valid row of {parent}: {values[name]}")
        return reasons

    def _count_blanks(self, row: Row) -> None:
        for place, name in self._texts:
            field = row.line.fields[place]
            self.blanks += field != field.strip()
            self.cut += field != row.values[name]
