"""Finds the valid rows of CSV files: every field by its rule, new ids, references to valid rows.

Most rows pass the checks of whole columns in `csv_columns`. `Checker._judge` judges the others, one
by one: it alone names reasons.
"""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hiring.avro.buffers import Mask, Part, joined
from hiring.avro.schema import Table
from hiring.mysql.packets import Ints
from restore import csv_columns, csv_rules
from restore.csv_columns import Checked
from restore.csv_lines import CsvRows
from restore.csv_rules import RULES, BrokenRule
from restore.ids import Ids

REFERS_TO = {"department_id": "departments", "job_id": "jobs"}


class Line(NamedTuple):
    """A row of a CSV file: the number of its first line, from 1, and its fields."""

    number: int
    fields: list[str]


class Checker:
    """Finds the valid rows of one table's file.

    Args:
        table: with the columns that the file fills.
        valid: the ids of the valid rows of the tables that this one may refer to, by table.

    Attributes:
        ids: those of the valid rows so far.
    """

    def __init__(self, table: Table, valid: dict[str, Ids]) -> None:
        self._columns = table.columns
        self._names = [column.name for column in table.columns]
        self._valid = valid
        self.ids = Ids()

    def accept(self, rows: CsvRows, reject: Callable[[Line, list[str]], None]) -> list[Part]:
        """The values of the valid rows, as MySQL would print them, by column.

        Args:
            rows: the next ones of the file, at least one.
            reject: called with each other row and its reasons.
        """
        columns = zip(self._columns, rows.columns, strict=True)
        checked = {column.name: csv_columns.check(column, part) for column, part in columns}
        valid = self._surely_valid(rows, checked)
        judged: dict[int, dict[str, str]] = {}
        ids: set[int] = set()
        for place in np.flatnonzero(~valid).tolist():
            fields = rows.fields(place)
            values, reasons = self._judge(fields, ids)
            if reasons:
                reject(Line(rows.numbers[place], fields), reasons)
            else:
                ids.add(int(values["id"]))
                judged[place] = values
        self.ids.add(checked["id"].numbers[valid])
        self.ids.add_any(ids)
        valid[list(judged)] = True
        return [
            _chosen(checked[name].printed, {at: row[name] for at, row in judged.items()}, valid)
            for name in self._names
        ]

    def _surely_valid(self, rows: CsvRows, checked: dict[str, Checked]) -> Mask:
        """The rows that are valid whatever the others turn out to be."""
        sure: Mask = np.logical_and.reduce([each.sure for each in checked.values()])
        for name, parent in REFERS_TO.items():
            if name in checked:
                sure &= self._valid[parent].holds(checked[name].numbers)
        numbers, is_sure = checked["id"].numbers, checked["id"].sure
        sure &= ~self.ids.holds(numbers)
        # Of several rows with one id, the first valid one counts, which is not known yet.
        ids, counts = np.unique(numbers[is_sure], return_counts=True)
        unusual = self._ids(rows, np.flatnonzero(~is_sure).tolist())
        sure &= ~np.isin(numbers, ids[counts > 1]) & ~np.isin(numbers, unusual)
        return sure

    def _ids(self, rows: CsvRows, places: list[int]) -> Ints:
        """The ids of those of some rows that have a valid one."""
        column = self._names.index("id")
        found = []
        for place in places:
            with contextlib.suppress(BrokenRule):
                found.append(csv_rules.number(self._columns[column], rows.field(place, column)))
        # What an array cannot hold is none of the ids that are looked for.
        return np.array([min(int(each), np.iinfo(np.int64).max) for each in found], np.int64)

    def _judge(self, fields: list[str], ids: set[int]) -> tuple[dict[str, str], list[str]]:
        """The valid values by column, and a reason for each broken rule.

        Args:
            fields: of the row.
            ids: those of the valid rows that are not in `self.ids` yet.
        """
        if len(fields) != len(self._columns):
            return {}, [f"{len(self._columns)} fields are expected, there are {len(fields)}"]
        values, reasons = {}, []
        for column, field in zip(self._columns, fields, strict=True):
            if not field.strip():
                reasons.append(f"{column.name} is empty")
                continue
            try:
                values[column.name] = RULES[column.name](column, field)
            except BrokenRule as reason:
                reasons.append(str(reason))
        if "id" in values and (int(values["id"]) in self.ids or int(values["id"]) in ids):
            reasons.append(f"id {values['id']} is that of an earlier row")
        for name, parent in REFERS_TO.items():
            if name in values and int(values[name]) not in self._valid[parent]:
                reasons.append(f"{name} {values[name]} is not the id of a valid row of {parent}")
        return values, reasons


def _chosen(part: Part, others: dict[int, str], rows: Mask) -> Part:
    """The pieces of some rows, `others` in place of some of them."""
    if others:
        places = list(others)
        extra = joined([value.encode() for value in others.values()])
        starts, lengths = part.starts.copy(), part.lengths.copy()
        starts[places], lengths[places] = extra.starts + len(part.source), extra.lengths
        part = Part(np.append(part.source, extra.source), starts, lengths)
    return part if rows.all() else Part(part.source, part.starts[rows], part.lengths[rows])
