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
from hiring.mysql.connection import Connection
from hiring.mysql.packets import read_rows
from hiring.mysql.server_errors import is_about_the_statement
from hiring.mysql.statements import quote, select
from restore import sql_text
from restore.csv_check import Row
from restore.digest import Digest, digest

CSV_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES"


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

        Rows that are not all taken are inserted again in halves.
        """
        if not rows:
            return
        self._execute(b"SAVEPOINT tried")
        reason = self._try(rows)
        if reason is None:
            return
        self._execute(b"ROLLBACK TO SAVEPOINT tried")
        if len(rows) == 1:
            yield rows[0], reason
            return
        half = len(rows) // 2
        yield from self.insert(rows[:half])
        yield from self.insert(rows[half:])

    def _try(self, rows: Sequence[Row]) -> str | None:
        """Inserts rows and reads them back; returns a reason against one of them."""
        columns = self._table.columns
        sent = from_rows(
            columns, [[row.values[column.name].encode() for column in columns] for row in rows]
        )
        text, _ = sql_text.write(sql_text.INSERT, columns, sent)
        statement = self._head + text[:-1]
        if len(statement) >= self._longest:
            return f"the row is longer than the server's max_allowed_packet: {len(statement)} bytes"
        try:
            self._execute(statement)
        except pymysql.err.Error as error:
            if not is_about_the_statement(error):
                raise
            return f"the database refuses the row: {str(error.args[1]).removesuffix(' at row 1')}"
        ids = ",".join(row.values["id"] for row in rows)
        select_them = f"{self._table.statement} WHERE {quote('id')} IN ({ids})"
        found, stored = Digest(), []
        for received in read_rows(self._connection, select_them, self._deadline):
            stored = split(received, len(columns))
            found += digest(columns, list(map(from_values, columns, stored)))
        return None if found == digest(columns, sent) else self._difference(sent, stored)

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
