"""Fills one table from a backup: its rows, its invalid records, and the comparison of both."""

import itertools
from collections.abc import Iterator

from hiring.avro.columns import ColumnChunk
from hiring.mysql.statements import execute
from hiring.progress import Progress, status
from restore import comparison
from restore.backup_source import Backup
from restore.invalid_rows import OriginalRow, blocks_of, changed_rows, insert_invalid_rows
from restore.plan import Outcome
from restore.row_inserter import RowInserter


def fill_table(inserter: RowInserter, backup: Backup) -> Outcome:
    """Inserts all rows of a table, and those of its invalid records that come back as they were.

    Raises:
        RowRefused: the server refuses or changes a row.
    """
    table = inserter.table
    stored = backup.manifest.tables[table.name]
    read = stored.rows + stored.invalid_rows
    changed: dict[str, str] = {}
    rejected: dict[str, str] = {}

    def invalid() -> Iterator[OriginalRow]:
        return (row for row in backup.invalid_rows(table) if row[0] not in rejected)

    def inserted() -> Iterator[list[ColumnChunk]]:
        return itertools.chain(backup.rows(table), blocks_of(table.columns, invalid()))

    with Progress(f"loading {table.name}", read) as progress:
        inserter.insert(backup.rows(table), progress)
        valid = inserter.digests
        execute(inserter.connection, "SAVEPOINT valid_rows")
        rejected |= insert_invalid_rows(inserter, invalid(), progress)
    while (found := comparison.stored_digests(inserter))[:1] != inserter.digests[:1]:
        more = changed_rows(inserter, invalid)
        if not more:
            raise comparison.refusal(inserter, found, inserted)
        execute(inserter.connection, "ROLLBACK TO SAVEPOINT valid_rows")
        inserter.digests = valid
        # Without these, the server may accept rows that it refused beside them.
        changed |= more
        rejected = dict(changed)
        rejected |= insert_invalid_rows(inserter, invalid(), progress)
    comparison.warn_of_generated(inserter, found, inserted)
    for origin, reason in rejected.items():
        status("invalid record rejected", "WARNING", record=origin, reason=reason)
    where = backup.invalid_addresses(table.name) if rejected else ""
    return Outcome(table.name, read, inserter.rows, len(rejected), where)
