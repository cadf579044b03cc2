"""From MySQL to Avro: what a column's type becomes, and what a value becomes.

The one place that knows both sides. Values come as the server prints them in its text protocol and
leave as the primitive values of Avro's binary encoding; a value that has no counterpart there
(`0000-00-00`) raises `InvalidValue`, and its row becomes an invalid record.

MySQL's types: https://dev.mysql.com/doc/refman/8.4/en/data-types.html
Avro's types and logical types: https://avro.apache.org/docs/1.12.0/specification/
"""

import dataclasses
import datetime
import decimal
import json
import re
from collections.abc import Callable, Sequence
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
    def without_generated(self) -> "Table":
        """The table with the columns alone that a load fills: the others the server generates."""
        columns = tuple(column for column in self.columns if not column.generated)
        return dataclasses.replace(self, columns=columns)

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
        pymysql.err.Error: the account may not read every column, which it then does not see either.
    """
    db.select(connection, f"SELECT * FROM {db.quote(name)} LIMIT 0")
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


OTHER_CHARACTERS = """
SELECT column_name, character_set_name
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = %s AND character_set_name NOT IN
    ('utf8mb4', 'utf8mb3', 'utf8', 'utf16', 'utf16le', 'utf32', 'ucs2', 'latin1', 'binary')
"""
"""Columns of characters that Unicode may not have, for which the server then sends a `?`."""


def check_characters(connection: Connection, name: str) -> None:
    """Checks that each text of a table comes through utf8mb4 as it is.

    Raises:
        Misconfigured: one does not; the message names table, column and character set.
    """
    for column, characters in db.select(connection, OTHER_CHARACTERS, name):
        text = db.quote(column)
        through = f"CONVERT(CONVERT({text} USING utf8mb4) USING {characters})"
        ((changed,),) = db.select(
            connection,
            f"SELECT COUNT(*) FROM {db.quote(name)}"
            f" WHERE CAST({through} AS BINARY) <> CAST({text} AS BINARY)",
        )
        if changed:
            raise Misconfigured(
                f"column {column} of table {name} holds characters of {characters} that Unicode"
                f" does not have, in {changed} rows; make it a binary column, or mend them"
            )


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


# Back to MySQL


def _text_literal(value: str) -> str:
    # https://dev.mysql.com/doc/refman/8.4/en/string-literals.html: nothing else needs an escape.
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _bytes_literal(value: bytes) -> str:
    return "_binary" + _text_literal(value.decode("utf-8", "surrogateescape"))


def _float_literal(value: float) -> str:
    # As a number without an exponent it would be a DECIMAL, and -0 would lose its sign.
    return f"'{value!r}'"


def _datetime_literal(value: datetime.datetime) -> str:
    return f"'{value.replace(tzinfo=None) if value.tzinfo else value}'"


LITERALS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "NULL",
    int: str,
    float: _float_literal,
    decimal.Decimal: lambda value: f"{value:f}",
    str: _text_literal,
    bytes: _bytes_literal,
    datetime.date: lambda value: f"'{value}'",
    datetime.datetime: _datetime_literal,
}
"""SQL for each Python type that fastavro reads from the types in `KINDS`."""


def _read_decimal(printed: bytes) -> decimal.Decimal:
    return decimal.Decimal(printed.decode())


def _read_date(printed: bytes) -> datetime.date:
    return datetime.date.fromisoformat(printed.decode())


def _read_datetime(printed: bytes) -> datetime.datetime:
    return datetime.datetime.fromisoformat(printed.decode())


READERS: dict[str, Callable[[bytes], Any]] = {
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "string": bytes.decode,
    "bytes": bytes,
    "decimal": _read_decimal,
    "date": _read_date,
    "local-timestamp-micros": _read_datetime,
    "timestamp-micros": _read_datetime,
}
"""By Avro type or logical type: a value as MySQL prints it to the one that fastavro reads."""


def _reader(column: Column) -> Callable[[bytes], Any]:
    if isinstance(column.kind.avro, dict):
        return READERS[column.kind.avro["logicalType"]]
    return READERS[column.kind.avro]


def _unreadable(printed: bytes) -> str | bytes:
    try:
        return printed.decode()
    except UnicodeDecodeError:
        return printed


def _json_meaning(text: str | None) -> object:
    """JSON as a MySQL JSON column understands it: spaces, the order of members, and whether a
    number was DECIMAL or DOUBLE are not part of it."""
    if text is None:
        return None
    try:
        return json.dumps(json.loads(text, parse_int=_json_number), sort_keys=True)
    except ValueError:
        return text


def _json_number(digits: str) -> int | float:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


def _float_meaning(value: float | None) -> object:
    return value and repr(value)  # MariaDB knows no -0: it is 0


def _meaning(column: Column) -> Callable[[Any], object] | None:
    """What of a value is compared, for columns whose server may write the same value otherwise."""
    if column.mysql_type == "json":
        return _json_meaning
    return _float_meaning if column.kind in (FLOAT, DOUBLE) else None


Row = tuple[bytes, int]
"""A row as SQL, `(1,'Ana',NULL)`, and its fingerprint: the same number for the same values."""


class RowWriter:
    """Writes rows of a table as SQL.

    Args:
        columns: of the rows, in their order.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._readers = [_reader(column) for column in columns]
        self._meanings = [
            (place, meaning)
            for place, column in enumerate(columns)
            if (meaning := _meaning(column)) is not None
        ]

    def from_values(self, values: Sequence[Any]) -> Row:
        """A row whose values fastavro has read."""
        literals = [LITERALS[type(value)](value) for value in values]
        sql = f"({','.join(literals)})".encode("utf-8", "surrogateescape")
        if not self._meanings:
            return sql, hash(sql)
        compared: list[object] = [*literals]
        for place, meaning in self._meanings:
            compared[place] = meaning(values[place])
        return sql, hash(tuple(compared))

    def from_printed(self, printed: Sequence[bytes | None]) -> Row:
        """A row as MySQL prints it, with values that have no counterpart in Avro too."""
        values: list[Any] = []
        for read, value in zip(self._readers, printed, strict=True):
            if value is None:
                values.append(None)
                continue
            try:
                values.append(read(value))
            except (ValueError, ArithmeticError):
                values.append(_unreadable(value))
        return self.from_values(values)
