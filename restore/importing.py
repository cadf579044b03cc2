"""Imports CSV files: check, create missing tables, insert the valid rows, compare, commit."""

import contextlib
import datetime
import functools
from collections.abc import Callable
from dataclasses import dataclass

import db
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.errors import RowRefused
from hiring.pipeline import read_ahead
from hiring.progress import Progress, status
from hiring.settings import Settings
from hiring.storage.invalid_records import RecordWriter
from hiring.storage.objects import OutputFolder
from restore import constraints, table_checks, transaction
from restore.csv_check import Checker, Ids, batches
from restore.csv_files import fit, missing_table, read_lines
from restore.csv_insert import CSV_SQL_MODE, insert_rows
from restore.plan import ImportPlan
from restore.row_inserter import RowInserter
from restore.table_creation import tables_created

SHOWN_RECORDS = 20
"""Invalid records of a file that a dry run shows; it stores none."""


@dataclass(frozen=True)
class ImportOutcome:
    """Row counts for one table.

    Attributes:
        blanks: names of valid rows that begin or end with a blank.
        cut: those that the column holds without the blanks at their end.
        where: the address of the invalid rows.
    """

    table: str
    read: int
    loaded: int
    invalid: int
    blanks: int
    cut: int
    where: str


def check(settings: Settings, plan: ImportPlan) -> list[ImportOutcome]:
    """Checks tables and files without changing anything; no invalid record is stored.

    Returns:
        What the import would do, as far as the columns take the rows.

    Raises:
        BundleError: the import would fail; the message says why.
    """
    tables = _check_tables(settings, plan)
    valid: dict[str, Ids] = {}
    checkers = [Checker(tables.get(name) or missing_table(name), valid) for name in plan.tables]
    for checker in checkers:
        name = checker.table.name
        with Progress(f"checking {name}") as progress:
            for batch in batches(checker.table, read_lines(plan.files, name)):
                left = max(0, SHOWN_RECORDS - checker.invalid)
                for line, reasons in checker.add(batch)[:left]:
                    where = {"file": plan.files.names[name], "line": line.number}
                    status("invalid record", "WARNING", **where, reasons=reasons)
                progress(len(batch))
    return _outcomes(plan, checkers, dict.fromkeys(plan.tables, "not stored"))


def import_files(
    settings: Settings, plan: ImportPlan, committing: Callable[[], None] = lambda: None
) -> list[ImportOutcome]:
    """Fills the tables from CSV files, all valid rows or nothing.

    Args:
        settings: of the database.
        plan: of the import.
        committing: called just before the commit.

    Raises:
        RowRefused: too many rows are invalid. Nothing was loaded; their records are stored.
        BundleError: nothing was loaded; the message says why.
        Unfinished: it is unknown whether the rows are loaded.
    """
    location = settings.require_storage()
    _check_tables(settings, plan)
    deadline = Deadline(transaction.LOAD_SECONDS)
    with (
        tables_created(settings, deadline, plan, plan.statements),
        transaction.loading(settings, deadline, CSV_SQL_MODE, plan) as connection,
    ):
        run = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
        folder = OutputFolder(location, f"invalid/{run}/", connection, deadline)
        valid: dict[str, Ids] = {}
        checkers, addresses = [], {}
        try:
            for name in plan.tables:
                inserter = RowInserter(connection, fit(read_table(connection, name)), deadline)
                checker = Checker(inserter.table, valid, functools.partial(insert_rows, inserter))
                addresses[name] = _insert(plan, checker, folder, inserter)
                checkers.append(checker)
            constraints.check(connection, {}, plan.tables)
        except BaseException:
            folder.remove()
            raise
        outcomes = _outcomes(plan, checkers, addresses)
        transaction.commit(connection, {}, committing)
    return outcomes


def _check_tables(settings: Settings, plan: ImportPlan) -> dict[str, Table]:
    """The tables that exist, with the columns that the files fill."""
    with db.own_connection(settings, Deadline(transaction.LOAD_SECONDS)) as connection:
        names = table_checks.check_tables(connection, plan)
        return {name: fit(read_table(connection, name)) for name in names}


def _insert(plan: ImportPlan, checker: Checker, folder: OutputFolder, inserter: RowInserter) -> str:
    """Inserts the valid rows of one file; returns the address of the invalid ones."""
    table = checker.table
    file = plan.files.names[table.name]
    lines = read_lines(plan.files, table.name)
    read = read_ahead(batches(table, lines), inserter.connection, inserter.deadline)
    with (
        contextlib.ExitStack() as opened,
        contextlib.closing(read),
        Progress(f"loading {table.name}") as progress,
    ):
        records = RecordWriter(folder, f"{table.name}.jsonl", opened)
        for batch in read:
            for line, reasons in checker.add(batch):
                record = {"file": file, "line": line.number, "fields": line.fields}
                records.write(record | {"reasons": reasons})
            progress(len(batch))
    return records.address


def _outcomes(
    plan: ImportPlan, checkers: list[Checker], addresses: dict[str, str]
) -> list[ImportOutcome]:
    """The counts of all files, if none has too many invalid rows.

    Raises:
        RowRefused: a file has; the message counts their reasons.
    """
    refused = [
        f"{plan.files.names[each.table.name]}: {each.invalid:,} of {each.read:,}"
        f" ({each.counted_reasons}), {addresses[each.table.name]}"
        for each in checkers
        if each.invalid * 100 > plan.most_invalid * each.read
    ]
    if refused:
        raise RowRefused(
            f"more than {plan.most_invalid} % of the rows of a file are invalid; --max-invalid"
            f" allows more: {'; '.join(refused)}"
        )
    return [
        ImportOutcome(
            each.table.name,
            each.read,
            each.read - each.invalid,
            each.invalid,
            each.blanks,
            each.cut,
            addresses[each.table.name],
        )
        for each in checkers
    ]
