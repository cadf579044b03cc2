"""Restores a backup: check, create missing tables, insert, compare, commit.

The data goes one way: manifest, plan, transaction, rows, comparison, commit.
"""

from collections.abc import Callable

import db
from hiring.avro.fields import Field
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.mysql import create_table
from hiring.progress import Progress, status
from hiring.settings import Settings
from restore import comparison, constraints, table_checks, transaction
from restore.plan import Outcome, RestorePlan
from restore.row_inserter import RowInserter
from restore.table_creation import create_missing_tables

RESTORE_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
"""Accepts everything that the tables could ever hold: an id of 0, dates that strict mode refuses.

Not strict: reading the rows back shows whether the server changed a value.
"""


def check(settings: Settings, plan: RestorePlan) -> list[Outcome]:
    """Checks everything that can be checked without changing anything.

    Returns:
        What the restore would do, as far as the server accepts the invalid records.

    Raises:
        BundleError: the restore would fail; the message says why.
    """
    with Progress("checking", plan.backup.manifest.all_rows(plan.tables)) as progress:
        fields = plan.backup.check(progress, plan.tables)
    with db.own_connection(settings, Deadline(transaction.LOAD_SECONDS)) as connection:
        there = table_checks.check_tables(connection, plan)
        for name in there:
            _check_fields(read_table(connection, name).without_generated, fields.get(name))
    for name in plan.tables:
        fault = create_table.fault(name, plan.statements.get(name, ""))
        if fault and name in plan.statements and name not in there:
            raise BadSource(
                f"table {name} is missing, and {plan.address}schema.sql does not create it alone:"
                f" {fault}; create the table, then load again"
            )
    outcomes = []
    for name in plan.tables:
        stored = plan.backup.manifest.tables[name]
        read = stored.rows + stored.invalid_rows
        where = plan.backup.invalid_addresses(name)
        outcomes.append(Outcome(name, read, stored.rows, stored.invalid_rows, where))
    return outcomes


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
    check(settings, plan)
    deadline = Deadline(transaction.LOAD_SECONDS)
    # Nothing else of the bucket runs with the operator's rights, even if a table vanishes now.
    statements = {
        name: statement
        for name, statement in plan.statements.items()
        if not create_table.fault(name, statement)
    }
    create_missing_tables(settings, deadline, statements, plan.origin)
    with transaction.loading(settings, deadline, RESTORE_SQL_MODE, plan) as connection:
        constraints.leave_unchecked(connection)
        tables = [read_table(connection, name).without_generated for name in plan.tables]
        inserters = [RowInserter(connection, table, deadline) for table in tables]
        outcomes = [_insert(inserter, plan) for inserter in inserters]
        for each in inserters:
            comparison.compare(connection, each.table, each.digest, each.warning, deadline)
        constraints.check(connection, plan.statements, plan.tables)
        transaction.commit(connection, plan.next_ids, committing)
    return outcomes


def _check_fields(table: Table, fields: tuple[Field, ...] | None) -> None:
    """Checks that the backup has the columns of a table that the server does not generate.

    Raises:
        BadSource: it has others; the message names the first.
    """
    stored = {field.column: field for field in fields or ()}
    columns = {column.name: column for column in table.columns}
    for name, field in stored.items():
        if name not in columns and not field.generated:
            raise BadSource(f"{table.name}.avro: table {table.name} has no column {name}")
    for name, column in columns.items():
        if fields is not None and name not in stored:
            raise BadSource(f"{table.name}.avro has no column {name}, table {table.name} has")
        if fields is not None and stored[name].type.value != column.type.avro:
            raise BadSource(
                f"{table.name}.avro: column {name} was {stored[name].mysql_type},"
                f" in table {table.name} it is {column.mysql_type}"
            )


def _insert(inserter: RowInserter, plan: RestorePlan) -> Outcome:
    """Inserts the rows and the invalid records of one table."""
    table, backup = inserter.table, plan.backup
    stored = backup.manifest.tables[table.name]
    read = stored.rows + stored.invalid_rows
    refused = 0
    with Progress(f"loading {table.name}", read) as progress:
        inserter.insert(backup.rows(table), progress)
        for origin, reason in inserter.insert_accepted(backup.invalid_rows(table), progress):
            status("invalid record rejected", "WARNING", record=origin, reason=reason)
            refused += 1
    where = backup.invalid_addresses(table.name) if refused else ""
    return Outcome(table.name, read, inserter.digest.rows, refused, where)
