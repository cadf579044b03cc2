"""Inserts rows of CSV files, reads them back, and finds those that the table refuses or changes.

In strict mode the server refuses most values that a column cannot hold. Some it changes without a
word: what decides is the row that is read back.
"""

from collections.abc import Iterator, Sequence

import pymysql

from hiring.avro.columns import from_rows
from hiring.errors import RowRefused
from hiring.mysql.server_errors import error_number
from hiring.mysql.statements import execute, quote
from restore import comparison, sql_text
from restore.csv_check import Row
from restore.digest import Digest, digest
from restore.row_inserter import RowInserter

CSV_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES"
ABOUT_A_ROW = (pymysql.err.DataError, pymysql.err.IntegrityError)
ABOUT_A_ROW_TOO = {None, 1118, 1292, 1364, 1411, 1690, 3140, 3751, 3752, 3819, 3903, 4025}
"""Errors about a row that PyMySQL does not class as such; None is a row too long to be sent.

Any other one, such as a failing disk, is not the row's fault, and fails the import.
"""
PARTS = 8
"""With more, single bad rows take more statements to find; with fewer, many bad rows do."""


def insert_rows(inserter: RowInserter, rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Inserts rows; yields each one that the table does not take as it is, with the reason.

    Rows that are not all taken are inserted again in PARTS parts.

    Args:
        inserter: of the table, inside `transaction.loading` under CSV_SQL_MODE.
        rows: with different ids.

    Raises:
        RowRefused: the server refuses the rows for another reason than their values.
    """
    reason = _try(inserter, rows) if rows else None
    if reason is None:
        return
    if len(rows) == 1:
        yield rows[0], reason
        return
    size = -(-len(rows) // PARTS)
    for start in range(0, len(rows), size):
        yield from insert_rows(inserter, rows[start : start + size])


def _try(inserter: RowInserter, rows: Sequence[Row]) -> str | None:
    """Inserts rows if the table takes all of them; else returns a reason against one."""
    columns = inserter.filled
    sent = from_rows(
        columns, [[row.values[column.name].encode() for column in columns] for row in rows]
    )
    text, _ = sql_text.write(sql_text.INSERT, columns, sent)
    execute(inserter.connection, "SAVEPOINT tried")
    try:
        inserter.insert_statement(inserter.head + text[:-1])
    except RowRefused as refusal:
        error = refusal.__cause__
        if not isinstance(error, ABOUT_A_ROW) and error_number(error) not in ABOUT_A_ROW_TOO:
            raise
        message = str(error.args[-1] if error else refusal)
        return f"the database refuses the row: {message.removesuffix(' at row 1')}"
    found = Digest()
    ids = ",".join(row.values["id"] for row in rows)
    for chunks in comparison.stored_blocks(inserter, f" WHERE {quote('id')} IN ({ids})"):
        found += digest(columns, chunks)
    if found == digest(columns, sent):
        return None
    difference = comparison.difference(inserter, sent) if len(rows) == 1 else "one of many"
    execute(inserter.connection, "ROLLBACK TO SAVEPOINT tried")
    return f"the table changes the row: {difference}"
