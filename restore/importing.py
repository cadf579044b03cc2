"""Imports CSV files: check, create missing tables, insert the valid rows, compare, commit."""

import contextlib
import datetime
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hiring.avro.schema import read_table
from hiring.deadline import Deadline
from hiring.errors import RowRefused
from hiring.pipeline import read_ahead
from hiring.progress import CountRows, Progress, status
from hiring.settings import Settings
from hiring.storage.objects import OutputFolder
from hiring.storage.rows import RecordWriter
from restore import constraints, transaction
from restore.csv_check import Checker, Ids, insert_rows
from restore.csv_files import fit, missing_table
from restore.csv_rules import Row, batches
from restore.plan import ImportPlan, Outcome
from restore.row_inserter import RowInserter
from restore.table_creation import tables_created

CSV_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES"
SHOWN_RECORDS = 20
"""Invalid records of a file that a dry run shows; it stores none."""


def check(settings: Settings, plan: ImportPlan, deadline: Deadline) -> list[Outcome]:
    """What the import would do if the table takes each row; errors are those of `import_files`."""
    tables = {
        table.name: fit(table) for table in transaction.check_tables(settings, deadline, plan)
    }
    valid: dict[str, Ids] = {}
    checkers = [Checker(tables.get(name) or missing_table(name), valid) for name in plan.tables]
    for checker in checkers:
        with Progress(f"checking {checker.table.name}") as progress:
            read = batches(checker.table, plan.folder, plan.files[checker.table.name])
            for number, record in enumerate(_invalid(plan, checker, read, progress)):
                if number < SHOWN_RECORDS:
                    del record["fields"]
                    status("invalid record", "WARNING", **record)
    return _outcomes(plan, checkers)


def import_files(
    settings: Settings,
    plan: ImportPlan,
    deadline: Deadline,
    committing: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Fills the tables from CSV files, all valid rows or nothing; see `restoring.restore`.

    Raises:
        RowRefused: too many rows are invalid. Nothing was loaded; their records are stored.
        BundleError: nothing was loaded; the message says why.
        Unfinished: it is unknown whether the rows are loaded.
    """
    location = settings.require_storage()
    for table in transaction.check_tables(settings, deadline, plan):
        fit(table)
    with (
        tables_created(settings, deadline, plan),
        transaction.loading(settings, deadline, CSV_SQL_MODE, plan) as connection,
    ):
        run = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
        folder = OutputFolder(location, f"invalid/{run}/", connection, deadline)
        valid: dict[str, Ids] = {}
        checkers: list[Checker] = []
        try:
            for name in plan.tables:
                inserter = RowInserter(connection, fit(read_table(connection, name)))
                checker = Checker(inserter.table, valid, functools.partial(insert_rows, inserter))
                checkers.append(checker)
                _insert(plan, checker, folder, inserter)
            constraints.check(connection, {}, plan.tables)
        except BaseException:
            folder.remove()
            raise
        outcomes = _outcomes(plan, checkers)
        transaction.commit(connection, {}, committing)
    return outcomes


def _insert(
    plan: ImportPlan, checker: Checker, folder: OutputFolder, inserter: RowInserter
) -> None:
    """Inserts the valid rows of one file, and stores the invalid ones."""
    name = checker.table.name
    read = read_ahead(batches(checker.table, plan.folder, plan.files[name]), inserter.connection)
    with (
        contextlib.ExitStack() as opened,
        contextlib.closing(read),
        Progress(f"loading {name}") as progress,
    ):
        records = RecordWriter(folder, f"{name}.jsonl", opened)
        for record in _invalid(plan, checker, read, progress):
            records.write(record)
    checker.where = records.address


def _invalid(
    plan: ImportPlan, checker: Checker, read: Iterable[list[Row]], progress: CountRows
) -> Iterator[dict[str, Any]]:
    """The records of the invalid rows; the valid ones are inserted meanwhile."""
    file = plan.files[checker.table.name]
    for batch in read:
        for line, reasons in checker.add(batch):
            yield {"file": file, "line": line.number, "fields": line.fields, "reasons": reasons}
        progress(len(batch))


def _outcomes(plan: ImportPlan, checkers: list[Checker]) -> list[Outcome]:
    """The counts of all files; raises RowRefused if one has too many invalid rows."""
    outcomes, refused = [], []
    for each in checkers:
        name, where, read, invalid = each.table.name, each.where, each.read, each.invalid
        outcomes.append(Outcome(name, read, read - invalid, invalid, where, each.blanks, each.cut))
        if invalid * 100 > plan.most_invalid * read:
            counts = f"{invalid:,} of {read:,} ({each.counted_reasons})"
            refused.append(f"{plan.files[name]}: {counts}, {where}")
    if refused:
        raise RowRefused(
            f"more than {plan.most_invalid} % of the rows of a file are invalid; --max-invalid"
            f" allows more: {'; '.join(refused)}"
        )
    return outcomes
