"""Writes a table to an Avro file in the usual way, for comparison with a backup.

python -m bench.rivals SOCKET DATABASE FILE
"""

import sys
from pathlib import Path

import fastavro
import pymysql
from pymysql.cursors import DictCursor

from hiring.avro.schema import read_table


def main(socket: str, database: str, file: str) -> None:
    """Reads all `employees` into a list of dicts, and writes it with fastavro."""
    connection = pymysql.connect(
        unix_socket=socket, user="root", database=database, charset="utf8mb4"
    )
    schema = read_table(connection, "employees").avro_schema
    with connection.cursor(DictCursor) as cursor, Path(file).open("wb") as output:
        cursor.execute("SELECT * FROM employees")
        fastavro.writer(output, schema, cursor.fetchall(), codec="deflate")


if __name__ == "__main__":
    main(*sys.argv[1:])
