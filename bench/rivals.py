"""Writes a table to an Avro file in the usual ways, for comparison with a backup.

python -m bench.rivals NAME SOCKET DATABASE FILE
"""

import sys

import fastavro
import pymysql
from pymysql.cursors import DictCursor, SSDictCursor

from hiring.avro.schema import read_table

CURSORS = {"usual": DictCursor, "streamed": SSDictCursor}
"""`usual` fetches all rows into a list of dicts, `streamed` passes them one by one."""


def main(rival: str, socket: str, database: str, file: str) -> None:
    """Reads `employees` with the rival's cursor, and writes it with fastavro."""
    connection = pymysql.connect(
        unix_socket=socket, user="root", database=database, charset="utf8mb4"
    )
    schema = read_table(connection, "employees").avro_schema
    with connection.cursor(CURSORS[rival]) as cursor, open(file, "wb") as output:  # noqa: PTH123
        cursor.execute("SELECT * FROM employees")
        rows = cursor if rival == "streamed" else cursor.fetchall()
        fastavro.writer(output, schema, rows, codec="deflate")


if __name__ == "__main__":
    main(*sys.argv[1:])
