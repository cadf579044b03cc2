"""Inserts rows of CSV files, reads them back, and finds those that the table refuses or changes.

In strict mode the server refuses most values that the column cannot hold. Some it changes without a
word: what decides is the value read back.
"""

from collections.abc import Iterator, Sequence

import pymysql

from hiring.avro.columns import ColumnChunk, from_rows, from_values
from hiring.avro.parsing import Values, split
from hiring.avro.schema import Table
from hiring.deadline import Deadline
from hiring.errors import RowRefused
from hiring.mysql.connection import Connection
from hiring.mysql.packets import read_rows
from hiring.mysql.server_errors import is_about_the_statement
from hiring.mysql.statements import quote, select
from restore import sql_text
from restore.csv_check import Row
from restore.digest import Digest, digest

CSV_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES"
ABOUT_A_ROW = (pymysql.err.DataError, pymysql.err.IntegrityError)
ABOUT_A_ROW_TOO = {1118, 1292, 1364, 1411, 1690, 3140, 3751, 3752, 3819, 3903, 4025}
"""Errors about a row that PyMySQL does not class as such.

Any other one, such as a full disk, is not the row's fault, and fails the import.
"""
PARTS = 8
"""With more, single bad rows take more statements to find; with fewer, many bad rows do."""


class CsvInserter:
    """Inserts into one table, inside `transaction.loading` under CSV_SQL_MODE.

    Args:
        connection: that holds the table's lock.
        table: with the columns to fill.
        deadline: when to give up.
    """

    def __init__(self, connection: Connection, table: Table, deadline: Deadline) -> None:
        self._connection = connection
        self._table = table
        self._deadline = deadline
        columns = ", ".join(quote(column.name) for column in table.columns)
        self._head = f"INSERT INTO {quote(table.name)} ({columns}) VALUES ".encode()
        ((self._longest,),) = select(connection, "SELECT @@SESSION.max_allowed_packet")

    def insert(self, rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
        """Inserts rows; yields each one that the table does not take as it is, with the reason.

        Rows that are not all taken are inserted again in PARTS parts.
        """
        reason = self._try(rows) if rows else None
        if reason is None:
            return
        if len(rows) == 1:
            yield rows[0], reason
            return
        size = -(-len(rows) // PARTS)
        for start in range(0, len(rows), size):
            yield from self.insert(rows[start : start + size])

    def _try(self, rows: Sequence[Row]) -> str | None:
        """Inserts rows if the table takes all of them; else returns a reason against one."""
        columns = self._table.columns
        sent = from_rows(
            columns, [[row.values[column.name].encode() for column in columns] for row in rows]
        )
        text, _ = sql_text.write(sql_text.INSERT, columns, sent)
        statement = self._head + text[:-1]
        if len(statement) >= self._longest:
            return f"the row is longer than the server's max_allowed_packet: {len(statement)} bytes"
        self._execute(b"SAVEPOINT tried")
        try:
            self._execute(statement)
        except pymysql.err.Error as error:
            number, message = error.args[0], str(error.args[-1])
            if isinstance(error, ABOUT_A_ROW) or number in ABOUT_A_ROW_TOO:
                return f"the database refuses the row: {message.removesuffix(' at row 1')}"
            if is_about_the_statement(error):
                raise RowRefused(f"table {self._table.name}: {message}") from error
            raise
        ids = ",".join(row.values["id"] for row in rows)
        select_them = f"{self._table.statement} WHERE {quote('id')} IN ({ids})"
        found, stored = Digest(), []
        for received in read_rows(self._connection, select_them, self._deadline):
            stored = split(received, len(columns))
            found += digest(columns, list(map(from_values, columns, stored)))
        if found == digest(columns, sent):
            return None
        self._execute(b"ROLLBACK TO SAVEPOINT tried")
        return self._difference(sent, stored)

    def _difference(self, sent: list[ColumnChunk], stored: list[Values]) -> str:
        """The first column in which a row differs from the stored one."""
        for column, one, values in zip(self._table.columns, sent, stored, strict=False):
            if digest([column], [one]) != digest([column], [from_values(column, values)]):
                start = values.starts[0]
                text = values.packets[start : start + values.lengths[0]].tobytes()
                found = text.decode(errors="replace")
                return f"{column.name} is stored as another value: {found!r}"
        return "id is stored as another number"

    def _execute(self, statement: bytes) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
