"""From MySQL to Avro: what a column's type becomes, and what a value becomes.

The one place that knows both sides. Values come as the server prints them in its text protocol and
leave as the primitive values of Avro's binary encoding; a value that has no counterpart there
(`0000-00-00`) raises `InvalidValue`, and its row becomes an invalid record.

MySQL's types: https://dev.mysql.com/doc/refman/8.4/en/data-types.html
Avro's types and logical types: https://avro.apache.org/docs/1.12.0/specification/
"""

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymysql.connections import Connection

import db
from errors import Misconfigured

Primitive = int | float | str | bytes
"""What fastavro writes without a conversion of its own."""


class InvalidValue(ValueError):
    """A value that MySQL can hold and Avro cannot; the message says why."""


# Values


def _decimal(printed: bytes) -> bytes:
    # The unscaled number in two's complement, big-endian; MySQL prints every digit of the scale.
    unscaled = int(printed.replace(b".", b""))
    return unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)


_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - the server's side has no zone either
_MICROSECOND = datetime.timedelta(microseconds=1)


def _date(printed: bytes) -> int:
    try:
        return datetime.date.fromisoformat(printed.decode()).toordinal() - _EPOCH_DAY
    except ValueError:
        raise InvalidValue(f"{printed.decode()} is not a date in Avro") from None


def _datetime(printed: bytes) -> int:
    try:
        return (datetime.datetime.fromisoformat(printed.decode()) - _EPOCH) // _MICROSECOND
    except ValueError:
        raise InvalidValue(f"{printed.decode()} is not a time in Avro") from None


def _text(printed: bytes) -> str:
    try:
        return printed.decode()
    except UnicodeDecodeError:
        raise InvalidValue("not valid UTF-8") from None


# Types


@dataclass(frozen=True)
class Kind:
    """What becomes of one kind of column.

    Attributes:
        avro: the Avro type of a value that is not NULL.
        convert: a value as MySQL prints it to the value that Avro encodes.
    """

    avro: str | dict[str, Any]
    convert: Callable[[bytes], Primitive]


INT = Kind("int", int)
LONG = Kind("long", int)
FLOAT = Kind("float", float)
DOUBLE = Kind("double", float)
STRING = Kind("string", _text)
BYTES = Kind("bytes", bytes)
DATE = Kind({"type": "int", "logicalType": "date"}, _date)
DATETIME = Kind({"type": "long", "logicalType": "local-timestamp-micros"}, _datetime)
TIMESTAMP = Kind({"type": "long", "logicalType": "timestamp-micros"}, _datetime)


def _decimal_kind(precision: int, scale: int) -> Kind:
    avro = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    return Kind(avro, _decimal)


KINDS = {
    **dict.fromkeys(["tinyint", "smallint", "mediumint", "int", "year"], INT),
    "bigint": LONG,
    "int unsigned": LONG,
    "bigint unsigned": _decimal_kind(20, 0),
    "float": FLOAT,
    "double": DOUBLE,
    "date": DATE,
    "datetime": DATETIME,
    "timestamp": TIMESTAMP,
    # TIME can be negative and go beyond 24 hours: it stays as MySQL prints it.
    **dict.fromkeys(["time", "char", "varchar", "enum", "set", "json"], STRING),
    **dict.fromkeys(["tinytext", "text", "mediumtext", "longtext"], STRING),
    **dict.fromkeys(["uuid", "inet4", "inet6"], STRING),
    **dict.fromkeys(["binary", "varbinary", "bit", "vector"], BYTES),
    **dict.fromkeys(["tinyblob", "blob", "mediumblob", "longblob"], BYTES),
    **dict.fromkeys(["geometry", "point", "linestring", "polygon"], BYTES),
    **dict.fromkeys(["multipoint", "multilinestring", "multipolygon"], BYTES),
    **dict.fromkeys(["geometrycollection", "geomcollection"], BYTES),
}
"""By MySQL's own name of the type; DECIMAL(p,s) has a kind for each p and s."""


@dataclass(frozen=True)
class Column:
    """A column as the server describes it, and what becomes of it in Avro."""

    name: str
    avro_name: str
    mysql_type: str
    kind: Kind
    nullable: bool
    generated: bool
    invisible: bool

    @property
    def expression(self) -> str:
        """What to select so that every bit of the value is printed."""
        if self.kind in (FLOAT, DOUBLE):
            # A FLOAT alone is printed with six digits: as a DOUBLE it keeps all its bits.
            return f"CAST({db.quote(self.name)} AS DOUBLE)"
        return db.quote(self.name)

    @property
    def avro_field(self) -> dict[str, Any]:
        """The field of the Avro schema; what Avro has no word for stands in `mysql` attributes."""
        field: dict[str, Any] = {"name": self.avro_name, "type": self.kind.avro}
        if self.nullable:
            field |= {"type": ["null", self.kind.avro], "default": None}
        field |= {"mysqlName": self.name, "mysqlType": self.mysql_type}
        if self.generated:
            field["mysqlGenerated"] = True
        if self.invisible:
            field["mysqlInvisible"] = True
        return field


@dataclass(frozen=True)
class Table:
    """A table as the server describes it."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]

    @property
    def statement(self) -> str:
        """Selects all rows, a value for each of `columns`."""
        expressions = ", ".join(column.expression for column in self.columns)
        return f"SELECT {expressions} FROM {db.quote(self.name)}"

    @property
    def avro_schema(self) -> dict[str, Any]:
        """The schema of a row."""
        return {
            "type": "record",
            "name": self.name,
            "fields": [column.avro_field for column in self.columns],
        }


COLUMNS = """
SELECT column_name, data_type, column_type, is_nullable, numeric_precision, numeric_scale, extra
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = %s
ORDER BY ordinal_position
"""

PRIMARY_KEY = """
SELECT column_name
FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = %s AND index_name = 'PRIMARY'
ORDER BY seq_in_index
"""


def read_table(connection: Connection, name: str) -> Table:
    """Reads a table's columns from the server, invisible and generated ones too.

    Raises:
        Misconfigured: a column has a type without a counterpart; the message names all three.
    """
    rows = db.select(connection, COLUMNS, name)
    avro_names = _avro_names([row[0] for row in rows])
    columns = []
    for row, avro_name in zip(rows, avro_names, strict=True):
        column_name, data_type, column_type, is_nullable, precision, scale, extra = row
        columns.append(
            Column(
                name=column_name,
                avro_name=avro_name,
                mysql_type=column_type,
                kind=_kind(name, column_name, data_type, column_type, precision, scale),
                nullable=is_nullable == "YES",
                generated="VIRTUAL GENERATED" in extra or "STORED GENERATED" in extra,
                invisible="INVISIBLE" in extra,
            )
        )
    primary_key = tuple(column for (column,) in db.select(connection, PRIMARY_KEY, name))
    return Table(name, tuple(columns), primary_key)


def _kind(
    table: str,
    column: str,
    data_type: str,
    column_type: str,
    precision: int | None,
    scale: int | None,
) -> Kind:
    if data_type == "decimal" and precision is not None and scale is not None:
        return _decimal_kind(precision, scale)
    unsigned = data_type in ("int", "bigint") and "unsigned" in column_type
    kind = KINDS.get(f"{data_type} unsigned" if unsigned else data_type)
    if kind is None:
        raise Misconfigured(
            f"column {column} of table {table} has the type {column_type}, which has no Avro type"
        )
    return kind


def _avro_names(names: list[str]) -> list[str]:
    """Avro names for column names: unchanged where Avro allows them, else mangled and unique.

    Names: https://avro.apache.org/docs/1.12.0/specification/#names
    """
    good = re.compile("[A-Za-z_][A-Za-z0-9_]*")
    taken = {name.lower() for name in names if good.fullmatch(name)}
    avro_names = []
    for name in names:
        if good.fullmatch(name):
            avro_names.append(name)
            continue
        base = re.sub("[^A-Za-z0-9_]", "_", name)
        base = base if good.fullmatch(base) else f"_{base}"
        candidates = [base, *(f"{base}_{number}" for number in range(2, len(names) + 2))]
        avro_name = next(candidate for candidate in candidates if candidate.lower() not in taken)
        taken.add(avro_name.lower())
        avro_names.append(avro_name)
    return avro_names
