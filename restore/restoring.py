"""Restores a backup: check, create missing tables, insert, compare, commit."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

from hiring.avro.columns import ColumnChunk
from hiring.avro.schema import Column, Table, read_table
from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.mysql.connection import is_mariadb
from hiring.mysql.statements import execute
from hiring.progress import Progress, status
from hiring.settings import Settings
from restore import comparison, constraints, transaction
from restore.backup_source import Backup
from restore.plan import Outcome, RestorePlan, next_id
from restore.row_inserter import OriginalRow, RowInserter, blocks_of, insert_invalid_rows
from restore.table_creation import statement_of, tables_created

RESTORE_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
"""Accepts all that the tables could ever hold; what decides is the row that is read back."""


def check(settings: Settings, plan: RestorePlan, deadline: Deadline) -> list[Outcome]:
    """What the restore would do if no invalid record comes back; errors are those of `restore`."""
    _check(settings, plan, deadline)
    return [_outcome(plan.backup, name) for name in plan.tables]


def _outcome(backup: Backup, table: str, invalid: int | None = None) -> Outcome:
    """What becomes of a table's rows; by default all its invalid records are left out."""
    stored = backup.manifest.tables[table]
    read = stored.rows + stored.invalid_rows
    invalid = stored.invalid_rows if invalid is None else invalid
    where = " ".join(backup.address + each.name for each in stored.invalid_objects if invalid)
    return Outcome(table, read, read - invalid, invalid, where)


def restore(
    settings: Settings,
    plan: RestorePlan,
    deadline: Deadline,
    committing: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Fills the tables from a backup, all or nothing; calls `committing` before the commit.

    Raises:
        BundleError: nothing was loaded; the message says why.
        Unfinished: all rows are loaded but a next id is not set, or it is unknown whether they are.
    """
    fields = _check(settings, plan, deadline)
    with (
        tables_created(settings, deadline, plan),
        transaction.loading(settings, deadline, RESTORE_SQL_MODE, plan) as connection,
    ):
        if is_mariadb(connection):
            # MySQL needs no such variable: it never adds a CHECK constraint that a row breaks.
            execute(connection, "SET SESSION check_constraint_checks = 0")
        tables = [_fit(read_table(connection, name), fields.get(name, ())) for name in plan.tables]
        outcomes = [_fill(RowInserter(connection, table), plan.backup) for table in tables]
        constraints.check(connection, plan.statements, plan.tables)
        next_ids = {
            table: next_id(statement)
            for table, statement in plan.statements.items()
            if table in plan.tables and "AUTO_INCREMENT" in statement
        }
        transaction.commit(connection, next_ids, committing)
    return outcomes


def _check(
    settings: Settings, plan: RestorePlan, deadline: Deadline
) -> dict[str, tuple[Column, ...]]:
    """Checks the backup, then the tables; returns the columns of the backup's tables."""
    with Progress("checking", plan.backup.manifest.all_rows(plan.tables)) as progress:
        fields = plan.backup.check(progress, plan.tables)
    there = {table.name: table for table in transaction.check_tables(settings, deadline, plan)}
    for name in plan.tables:
        if name in there:
            _fit(there[name], fields.get(name, ()))
        else:
            statement_of(plan, name)
    return fields


def _fit(table: Table, fields: tuple[Column, ...]) -> Table:
    """The table with the columns that the backup fills, then the generated ones that it has."""
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


def _fill(inserter: RowInserter, backup: Backup) -> Outcome:
    """Inserts all rows of a table, and those of its invalid records that come back as they were."""
    table = inserter.table
    stored = backup.manifest.tables[table.name]
    changed: dict[str, str] = {}
    rejected: dict[str, str] = {}

    def invalid() -> Iterator[OriginalRow]:
        return (row for row in backup.invalid_rows(table) if row[0] not in rejected)

    def inserted() -> Iterator[list[ColumnChunk]]:
        return itertools.chain(backup.rows(table), blocks_of(table.columns, invalid()))

    with Progress(f"loading {table.name}", stored.rows + stored.invalid_rows) as progress:
        inserter.insert(backup.rows(table), progress)
    valid = inserter.digests
    execute(inserter.connection, "SAVEPOINT valid_rows")
    while True:
        # Without the changed ones, the server may accept rows that it refused beside them.
        rejected = dict(changed)
        rejected |= insert_invalid_rows(inserter, invalid(), progress)
        found = comparison.stored_digests(inserter)
        if (found[0] == inserter.digests[0]).all():
            break
        more = comparison.changed_rows(inserter, invalid)
        if not more:
            raise comparison.refusal(inserter, found, inserted)
        changed |= more
        execute(inserter.connection, "ROLLBACK TO SAVEPOINT valid_rows")
        inserter.digests = valid
    comparison.warn_of_generated(inserter, found, inserted)
    for origin, reason in rejected.items():
        status("invalid record rejected", "WARNING", record=origin, reason=reason)
    return _outcome(backup, table.name, len(rejected))
