"""Imports CSV files: check, create missing tables, insert the valid rows, compare, commit."""

import contextlib
import datetime
from collections.abc import Callable

import db
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.progress import Progress
from hiring.settings import Settings
from hiring.storage.objects import OutputFolder
from restore import comparison, constraints, table_checks, transaction
from restore.csv_files import CSV_SQL_MODE, InvalidRows
from restore.plan import ImportPlan, Outcome
from restore.row_inserter import RowInserter
from restore.table_creation import create_missing_tables


def check(settings: Settings, plan: ImportPlan) -> list[Outcome]:
    """Checks tables and files without changing anything; no invalid record is stored.

    Returns:
        What the import would do.

    Raises:
        BundleError: the import would fail; the message says why.
    """
    tables = _check_tables(settings, plan)
    outcomes = []
    for name in plan.tables:
        invalid = InvalidRows(None, name, contextlib.ExitStack())
        valid = 0
        with Progress(f"checking {name}") as progress:
            table = tables.get(name) or plan.files.missing_table(name)
            for chunks in plan.files.read_rows(table, invalid):
                rows = len(chunks[0].nulls)
                progress(rows)
                valid += rows
        outcomes.append(Outcome(name, valid + invalid.count, valid, invalid.count, "not stored"))
    return outcomes


def import_files(
    settings: Settings, plan: ImportPlan, committing: Callable[[], None] = lambda: None
) -> list[Outcome]:
    """Fills the tables from CSV files, all valid rows or nothing.

    Args:
        settings: of the database.
        plan: of the import.
        committing: called just before the commit.

    Raises:
        BundleError: nothing was loaded; the message says why.
        Unfinished: it is unknown whether the rows are loaded.
    """
    location = settings.require_storage()
    _check_tables(settings, plan)
    deadline = Deadline(transaction.LOAD_SECONDS)
    create_missing_tables(settings, deadline, plan.statements, plan.origin)
    with transaction.loading(settings, deadline, CSV_SQL_MODE, plan) as connection:
        run = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
        folder = OutputFolder(location, f"invalid/{run}/", connection, deadline)
        try:
            tables = [plan.files.fit(read_table(connection, name)) for name in plan.tables]
            inserters = [RowInserter(connection, table, deadline) for table in tables]
            outcomes = [_insert(inserter, plan, folder) for inserter in inserters]
            for each in inserters:
                comparison.compare(connection, each.table, each.digest, each.warning, deadline)
            constraints.check(connection, {}, plan.tables)
        except BaseException:
            folder.remove()
            raise
        transaction.commit(connection, {}, committing)
    return outcomes


def _check_tables(settings: Settings, plan: ImportPlan) -> dict[str, Table]:
    """The tables that exist, with the columns that the files fill."""
    with db.own_connection(settings, Deadline(transaction.LOAD_SECONDS)) as connection:
        names = table_checks.check_tables(connection, plan)
        return {name: plan.files.fit(read_table(connection, name)) for name in names}


def _insert(inserter: RowInserter, plan: ImportPlan, folder: OutputFolder) -> Outcome:
    """Inserts the valid rows of one file, and stores its invalid ones."""
    table = inserter.table
    with contextlib.ExitStack() as opened:
        invalid = InvalidRows(folder, table.name, opened)
        with Progress(f"loading {table.name}") as progress:
            inserter.insert(plan.files.read_rows(table, invalid), progress)
    loaded = inserter.digest.rows
    return Outcome(table.name, loaded + invalid.count, loaded, invalid.count, invalid.address)
