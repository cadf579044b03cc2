"""Runs another way from a table to an Avro file.

    python -m bench.rivals NAME SOCKET DATABASE FILE

`plain` takes a bucket instead of a file.
"""

import sys
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
import pymysql
from pymysql.cursors import DictCursor, SSCursor, SSDictCursor

from hiring.avro.schema import read_table


def connect(socket: str, database: str) -> "pymysql.Connection":
    return pymysql.connect(unix_socket=socket, user="root", database=database, charset="utf8mb4")


def usual(socket: str, database: str, file: str) -> None:
    """Reads all rows into a list of dicts, then writes them with fastavro."""
    connection = connect(socket, database)
    schema = read_table(connection, "employees").avro_schema
    with connection.cursor(DictCursor) as cursor, open(file, "wb") as output:  # noqa: PTH123
        cursor.execute("SELECT * FROM employees")
        fastavro.writer(output, schema, cursor.fetchall(), codec="deflate")


def streamed(socket: str, database: str, file: str) -> None:
    """Streams rows from the server through fastavro."""
    connection = connect(socket, database)
    schema = read_table(connection, "employees").avro_schema
    with connection.cursor(SSDictCursor) as cursor, open(file, "wb") as output:  # noqa: PTH123
        cursor.execute("SELECT * FROM employees")
        fastavro.writer(output, schema, cursor, codec="deflate")


def plain(socket: str, database: str, bucket: str) -> None:
    """Streams rows into Cloud Storage, converting each value with this project's rules."""
    from google.cloud import storage

    connection = connect(socket, database)
    table = read_table(connection, "employees")
    connection.use_unicode, connection.decoders = False, {}

    def records() -> Iterator[dict[str, Any]]:
        with connection.cursor(SSCursor) as cursor:
            cursor.execute(table.statement)
            while (row := cursor.fetchone()) is not None:
                yield {
                    column.avro_name: None if value is None else column.type.convert(value)
                    for column, value in zip(table.columns, row, strict=True)
                }

    blob = storage.Client().bucket(bucket).blob("plain.avro")
    with blob.open("wb", chunk_size=8 * 1024 * 1024, ignore_flush=True) as output:
        fastavro.writer(output, table.avro_schema, records(), codec="deflate")


def connectorx(socket: str, database: str, file: str) -> None:
    """Reads all rows with connectorx into polars, which writes the Avro file."""
    import connectorx as cx

    # polars cannot write unsigned numbers.
    signed = ", ".join(f"CAST({name} AS SIGNED) AS {name}" for name in ("id", "department_id"))
    where = urllib.parse.quote(socket, safe="")
    frame = cx.read_sql(
        f"mysql://root@localhost/{database}?socket={where}",
        f"SELECT {signed}, CAST(job_id AS SIGNED) AS job_id, name, datetime FROM employees",
        return_type="polars",
    )
    frame.write_avro(file, compression="deflate")


RIVALS: dict[str, Callable[[str, str, str], None]] = {
    rival.__name__: rival for rival in (usual, streamed, plain, connectorx)
}

if __name__ == "__main__":
    RIVALS[sys.argv[1]](*sys.argv[2:])
