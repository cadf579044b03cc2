"""A table with a column of every supported type, and its extreme rows."""

import json
from typing import Any

from conftest import Database

from local.database import DatabaseServer

COLUMNS = {
    "tiny": "TINYINT",
    "tiny_unsigned": "TINYINT UNSIGNED",
    "flag": "TINYINT(1)",
    "small": "SMALLINT",
    "medium": "MEDIUMINT",
    "whole": "INT",
    "whole_unsigned": "INT UNSIGNED",
    "padded": "INT(8) UNSIGNED ZEROFILL",
    "big": "BIGINT",
    "big_unsigned": "BIGINT UNSIGNED",
    "year_": "YEAR",
    "money": "DECIMAL(12,2)",
    "widest": "DECIMAL(65,30)",
    "integral": "DECIMAL(20,0)",
    "float_": "FLOAT",
    "double_": "DOUBLE",
    "bits": "BIT(13)",
    "date_": "DATE",
    "datetime_": "DATETIME",
    "datetime_6": "DATETIME(6)",
    "timestamp_": "TIMESTAMP NULL",
    "timestamp_3": "TIMESTAMP(3) NULL",
    "time_": "TIME",
    "time_6": "TIME(6)",
    "char_": "CHAR(20)",
    "varchar_": "VARCHAR(200)",
    "latin": "VARCHAR(50) CHARACTER SET latin1",
    "tinytext_": "TINYTEXT",
    "text_": "TEXT",
    "mediumtext_": "MEDIUMTEXT",
    "longtext_": "LONGTEXT",
    "enum_": "ENUM('a', 'it''s', 'ü\\\\', '2')",
    "set_": "SET('x', 'y', 'ß')",
    "json_": "JSON",
    "binary_": "BINARY(5)",
    "varbinary_": "VARBINARY(300)",
    "tinyblob_": "TINYBLOB",
    "blob_": "BLOB",
    "mediumblob_": "MEDIUMBLOB",
    "longblob_": "LONGBLOB",
    "geometry_": "GEOMETRY",
    "point_": "POINT",
    "line_": "LINESTRING",
    "polygon_": "POLYGON",
    "points_": "MULTIPOINT",
    "collection_": "GEOMETRYCOLLECTION",
    "odd `name` é": "INT",
}
GENERATED = {
    "virtual_": "INT GENERATED ALWAYS AS (tiny + 1) VIRTUAL",
    "stored_": "VARCHAR(250) GENERATED ALWAYS AS (CONCAT(varchar_, '!')) STORED",
}
INVISIBLE = {"hidden": "INT INVISIBLE"}
VECTOR = {"vector_": "VECTOR(3)"}
MARIADB = {"uuid_": "UUID", "inet4_": "INET4", "inet6_": "INET6"}

LOW = {
    "tiny": "-128",
    "tiny_unsigned": "0",
    "flag": "2",
    "small": "-32768",
    "medium": "-8388608",
    "whole": "-2147483648",
    "whole_unsigned": "0",
    "padded": "7",
    "big": "-9223372036854775808",
    "big_unsigned": "0",
    "year_": "0",
    "money": "-9999999999.99",
    "widest": "-" + "9" * 35 + "." + "9" * 30,
    "integral": "0",
    "float_": "-3.4028234663852886e38",
    "double_": "-1.7976931348623157e308",
    "bits": "b'0'",
    "date_": "'0001-01-01'",
    "datetime_": "'0001-01-01 00:00:00'",
    "datetime_6": "'1000-01-01 00:00:00.000001'",
    "timestamp_": "'1970-01-01 00:00:01'",
    "timestamp_3": "'1970-01-01 00:00:01.001'",
    "time_": "'-838:59:59'",
    "time_6": "'-00:00:00.000001'",
    "char_": "''",
    "varchar_": "''",
    "latin": "'é'",
    "tinytext_": "''",
    "text_": "'\\0\\Z\\n\\r\\\\ \\' \" %s {} ~'",
    "mediumtext_": "'\\\\'",
    "longtext_": "''''",
    "enum_": "'ü\\\\'",
    "set_": "''",
    "json_": '\'{"b": [1, -1.5e-7, null, true], "a": "ü\\\'\\\\\\\\ "}\'',
    "binary_": "x'0001ff5c27'",
    "varbinary_": "x'27275c00c328f0'",
    "tinyblob_": "''",
    "blob_": "x'ff'",
    "mediumblob_": "x'00'",
    "longblob_": "x'5c'",
    "geometry_": "ST_GeomFromText('POINT(-1.5 2.25)')",
    "point_": "ST_GeomFromText('POINT(39 92)')",
    "line_": "ST_GeomFromText('LINESTRING(0 0, 1e300 -0.1)')",
    "polygon_": "ST_GeomFromText('POLYGON((0 0, 0 1, 1 1, 0 0))')",
    "points_": "ST_GeomFromText('MULTIPOINT(1 2, 3 4)')",
    "collection_": "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1))')",
    "odd `name` é": "1",
    # [1, -0.1, 1e18] as bytes: each server has another function for vectors as text. MariaDB
    # refuses a vector whose length does not fit into a FLOAT.
    "vector_": "x'0000803fcdccccbd6b0b5e5d'",
    "hidden": "5",
    "uuid_": "'123e4567-e89b-12d3-a456-426655440000'",
    "inet4_": "'127.0.0.1'",
    "inet6_": "'::1'",
}
HIGH = LOW | {
    "tiny": "127",
    "tiny_unsigned": "255",
    "flag": "1",
    "small": "32767",
    "medium": "8388607",
    "whole": "2147483647",
    "whole_unsigned": "4294967295",
    "padded": "99999999",
    "big": "9223372036854775807",
    "big_unsigned": "18446744073709551615",
    "year_": "2155",
    "money": "0.01",
    "widest": "0." + "0" * 29 + "1",
    "integral": "99999999999999999999",
    "float_": "16777217",
    "double_": "2.2250738585072014e-308",
    "bits": "b'1111111111111'",
    "date_": "'9999-12-31'",
    "datetime_": "'9999-12-31 23:59:59'",
    "datetime_6": "'9999-12-31 23:59:59.999999'",
    "timestamp_": "'2038-01-19 03:14:07'",
    "timestamp_3": "'2021-03-28 02:30:00.999'",
    "time_": "'838:59:59'",
    "time_6": "'23:59:59.999999'",
    "char_": "'佐藤 🦄'",
    "varchar_": "CONCAT(REPEAT('🦄', 100), ' ')",
    "latin": "'ÿ€'",
    "tinytext_": "REPEAT('x', 255)",
    "text_": "REPEAT('ab', 20000)",
    "mediumtext_": "REPEAT('é', 100000)",
    "enum_": "'2'",
    "set_": "'x,ß'",
    "json_": "'[]'",
    "binary_": "x'ffffffffff'",
    "varbinary_": "REPEAT(x'00', 300)",
    "blob_": "REPEAT(x'ff00', 30000)",
    "mediumblob_": "REPEAT(x'c328', 100000)",
    "longblob_": "REPEAT(x'27', 2000000)",
    "inet6_": "'2001:db8::ff00:42:8329'",
}
SMALL = {
    "float_": "1.17549435e-38",
    "double_": "0.1",
    "integral": "-1",
    "widest": "0",
    "time_": "'00:00:00'",
    "json_": "'\"just text\"'",
}


def columns_of(server: DatabaseServer) -> dict[str, str]:
    """The definitions of a column of each type that the server has."""
    version = tuple(map(int, server.version.split(".")))
    has_vector = not server.is_mariadb or version >= (11, 7)
    return (
        COLUMNS
        | GENERATED
        | INVISIBLE
        | (VECTOR if has_vector else {})
        | (MARIADB if server.is_mariadb else {})
    )


def create(database: Database, *, columns: dict[str, str] | None = None) -> None:
    """Creates `employees` with these columns, by default one of each type that the server has."""
    if columns is None:
        columns = columns_of(database.server)
    definitions = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
    database.execute("DROP TABLE IF EXISTS employees")
    # The reports in a backup read datetime, department_id and job_id.
    database.execute(
        "CREATE TABLE employees (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(255),"
        f" datetime DATETIME, department_id INT UNSIGNED, job_id INT UNSIGNED, {definitions},"
        " FOREIGN KEY (department_id) REFERENCES departments (id)) DEFAULT CHARSET utf8mb4"
    )


def fill(database: Database) -> None:
    """Inserts rows of low, high and small values and of NULLs into `employees`."""
    names = {name for (name,) in database.execute(COLUMN_NAMES)}
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
        for row in (LOW, HIGH, SMALL):
            values = {name: value for name, value in row.items() if name in names}
            columns = ", ".join(quote(name) for name in values)
            cursor.execute(
                f"INSERT INTO employees ({columns}) VALUES ({', '.join(values.values())})"
            )
            assert not cursor.warning_count, connection.show_warnings()
        cursor.execute("INSERT INTO employees (id) VALUES (0), (-5)")
        cursor.execute("INSERT INTO employees (double_, float_) VALUES (-0e0, -0e0)")


COLUMN_NAMES = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'employees'
"""


def quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def compact_json(name: str, value: Any) -> Any:
    """A value, or its normalised form for the JSON column."""
    return json.loads(value) if name == "json_" and value is not None else value
