"""Restores a backup: check, create missing tables, insert, compare, commit.

The data goes one way: manifest, plan, transaction, rows, comparison, commit.
"""

import dataclasses
from collections.abc import Callable

import db
from hiring.avro.schema import Column, Table, read_table
from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.mysql import create_table
from hiring.progress import Progress
from hiring.settings import Settings
from restore import constraints, table_checks, transaction
from restore.plan import Outcome, RestorePlan
from restore.row_inserter import RowInserter
from restore.table_creation import tables_created
from restore.table_filling import fill_table

RESTORE_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
"""Accepts everything that the tables could ever hold: an id of 0, dates that strict mode refuses.

Not strict: reading the rows back shows whether the server changed a value.
"""


def check(settings: Settings, plan: RestorePlan) -> list[Outcome]:
    """Checks everything that can be checked without changing anything.

    Returns:
        What the restore would do, if the server stores no invalid record as it was.

    Raises:
        BundleError: the restore would fail; the message says why.
    """
    _check(settings, plan)
    return [
        Outcome(
            name,
            read=stored.rows + stored.invalid_rows,
            loaded=stored.rows,
            invalid=stored.invalid_rows,
            where=plan.backup.invalid_addresses(name),
        )
        for name, stored in plan.backup.manifest.tables.items()
        if name in plan.tables
    ]


def restore(
    settings: Settings, plan: RestorePlan, committing: Callable[[], None] = lambda: None
) -> list[Outcome]:
    """Fills the tables from a backup, all or nothing.

    Args:
        settings: of the database.
        plan: of the restore.
        committing: called just before the commit.

    Raises:
        BundleError: nothing was loaded; the message says why.
        Unfinished: all rows are loaded but a next id is not set, or it is unknown whether they are.
    """
    fields = _check(settings, plan)
    deadline = Deadline(transaction.LOAD_SECONDS)
    # Nothing else of the bucket runs with the operator's rights, even if a table vanishes now.
    statements = {
        name: statement
        for name, statement in plan.statements.items()
        if not create_table.fault(name, statement)
    }
    with (
        tables_created(settings, deadline, plan, statements),
        transaction.loading(settings, deadline, RESTORE_SQL_MODE, plan) as connection,
    ):
        constraints.leave_unchecked(connection)
        tables = [_fit(read_table(connection, name), fields.get(name, ())) for name in plan.tables]
        outcomes = [
            fill_table(RowInserter(connection, table, deadline), plan.backup) for table in tables
        ]
        constraints.check(connection, plan.statements, plan.tables)
        transaction.commit(connection, plan.next_ids, committing)
    return outcomes


def _check(settings: Settings, plan: RestorePlan) -> dict[str, tuple[Column, ...]]:
    """Checks the backup, then the tables that exist; returns the fields of the backup's tables."""
    with Progress("checking", plan.backup.manifest.all_rows(plan.tables)) as progress:
        fields = plan.backup.check(progress, plan.tables)
    with db.own_connection(settings, Deadline(transaction.LOAD_SECONDS)) as connection:
        there = table_checks.check_tables(connection, plan)
        for name in there:
            _fit(read_table(connection, name), fields.get(name, ()))
    for name in plan.tables:
        fault = create_table.fault(name, plan.statements.get(name, ""))
        if fault and name in plan.statements and name not in there:
            raise BadSource(
                f"table {name} is missing, and {plan.address}schema.sql does not create it alone:"
                f" {fault}; create the table, then load again"
            )
    return fields


def _fit(table: Table, fields: tuple[Column, ...]) -> Table:
    """The table with the columns that the backup fills, then the generated ones that it has.

    Raises:
        BadSource: the backup has other columns; the message names the first.
    """
    stored = {field.name: field for field in fields}
    filled = {column.name: column for column in table.without_generated.columns}
    for name, field in stored.items():
        if name not in filled and not field.generated:
            raise BadSource(f"{table.name}.avro: table {table.name} has no column {name}")
    for name, column in filled.items():
        if name not in stored:
            raise BadSource(f"{table.name}.avro has no column {name}, table {table.name} has")
        if stored[name].type != column.type:
            raise BadSource(
                f"{table.name}.avro: column {name} was {stored[name].mysql_type},"
                f" in table {table.name} it is {column.mysql_type}"
            )
    generated = [
        column
        for column in table.columns
        if column.generated and column.name in stored and stored[column.name].type == column.type
    ]
    return dataclasses.replace(table, columns=(*filled.values(), *generated))
