"""Compares the rows that a table holds with the rows that were inserted.

The digest of all inserted rows is compared with the digest of all stored rows, which are read as a
backup reads them; see `digest`. The server's warnings are not enough: it cuts off fractions of a
second and pads binary values without a warning.
"""

from hiring.avro.columns import from_values
from hiring.avro.encoding import keep_freed_memory
from hiring.avro.parsing import split
from hiring.avro.schema import Table
from hiring.deadline import Deadline
from hiring.errors import RowRefused
from hiring.mysql.connection import Connection
from hiring.mysql.packets import read_rows
from hiring.progress import Progress
from restore.digest import Digest, digest


def compare(
    connection: Connection, table: Table, inserted: Digest, warning: str | None, deadline: Deadline
) -> None:
    """Compares the rows of a table.

    Args:
        connection: that inserted them.
        table: with the columns that were filled.
        inserted: the digest of the rows that were inserted.
        warning: the server's, for the message.
        deadline: when to give up.

    Raises:
        RowRefused: the server changed or skipped a row.
    """
    keep_freed_memory()
    columns, found = table.columns, Digest()
    with Progress(f"comparing {table.name}", inserted.rows) as progress:
        for rows in read_rows(connection, table.statement, deadline):
            values = zip(columns, split(rows, len(columns)), strict=True)
            part = digest(columns, [from_values(column, each) for column, each in values])
            found += part
            progress(part.rows)
    if found != inserted:
        raise RowRefused(
            f"table {table.name} does not hold the rows that were inserted:"
            f" {inserted.rows} were inserted, {found.rows} are there; the database"
            f" {f'warns: {warning}' if warning else 'gave no warning'}"
        )
