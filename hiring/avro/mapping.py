"""MySQL types to Avro types, and MySQL values to Avro values: the only place with these rules.

Values come as the server prints them and leave as the primitive values of Avro's binary encoding.
A value that has no counterpart there (`0000-00-00`) raises `InvalidValue`, and its row becomes an
invalid record.

MySQL's types: https://dev.mysql.com/doc/refman/8.4/en/data-types.html
Avro's types and logical types: https://avro.apache.org/docs/1.12.0/specification/
"""

import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

RAW = b"\xff"
"""Precedes a value that its text does not tell, as `Column.expression` selects it.

No UTF-8 has this byte. The value follows: a text's own bytes, or the number of an ENUM or a SET.
"""


class InvalidValue(ValueError):
    """MySQL can hold this value and Avro cannot; the message says why."""


class LostValue(InvalidValue):
    """No restore brings this value back either."""


def _decimal(printed: bytes) -> bytes:
    # The unscaled number in two's complement, big-endian; MySQL prints every digit of the scale.
    unscaled = int(printed.replace(b".", b""))
    return unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)


_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - MySQL's DATETIME has no zone either
_MICROSECOND = datetime.timedelta(microseconds=1)


def _date(printed: bytes) -> int:
    try:
        return (datetime.date.fromisoformat(printed.decode()) - _EPOCH.date()).days
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
        if printed == RAW:
            raise LostValue("too long for the server to convert") from None
        if printed.startswith(RAW):
            raise InvalidValue("its text does not tell its value") from None
        raise LostValue("not valid UTF-8") from None


FLOATS = {"float": "<f4", "double": "<f8"}
"""NumPy's types of Avro's floats."""


@dataclass(frozen=True)
class TypeMapping:
    """The Avro side of a MySQL type.

    Attributes:
        avro: the Avro type of a value that is not NULL.
        convert: turns a value as MySQL prints it into the value that Avro encodes.
    """

    avro: str | dict[str, Any]
    convert: Callable[[bytes], Any]

    @property
    def primitive(self) -> str:
        """The Avro type without its logical type."""
        return self.avro if isinstance(self.avro, str) else str(self.avro["type"])

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker of Spark gets its own process's mapping: types are compared by identity."""
        return read_type, (self.avro,)


INT = TypeMapping("int", int)
LONG = TypeMapping("long", int)
FLOAT = TypeMapping("float", float)
DOUBLE = TypeMapping("double", float)
STRING = TypeMapping("string", _text)
BYTES = TypeMapping("bytes", bytes)
DATE = TypeMapping({"type": "int", "logicalType": "date"}, _date)
DATETIME = TypeMapping({"type": "long", "logicalType": "local-timestamp-micros"}, _datetime)
TIMESTAMP = TypeMapping({"type": "long", "logicalType": "timestamp-micros"}, _datetime)


def decimal(precision: int, scale: int) -> TypeMapping:
    """The mapping of DECIMAL(precision, scale)."""
    avro = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    return TypeMapping(avro, _decimal)


TYPE_MAPPINGS = {
    **dict.fromkeys(["tinyint", "smallint", "mediumint", "int", "year"], INT),
    "bigint": LONG,
    "int unsigned": LONG,
    "bigint unsigned": decimal(20, 0),
    "float": FLOAT,
    "double": DOUBLE,
    "date": DATE,
    "datetime": DATETIME,
    "timestamp": TIMESTAMP,
    # TIME can be negative or longer than 24 hours, so it stays as MySQL prints it.
    **dict.fromkeys(["time", "char", "varchar", "enum", "set", "json"], STRING),
    **dict.fromkeys(["tinytext", "text", "mediumtext", "longtext"], STRING),
    **dict.fromkeys(["uuid", "inet4", "inet6"], STRING),
    **dict.fromkeys(["binary", "varbinary", "bit", "vector"], BYTES),
    **dict.fromkeys(["tinyblob", "blob", "mediumblob", "longblob"], BYTES),
    **dict.fromkeys(["geometry", "point", "linestring", "polygon"], BYTES),
    **dict.fromkeys(["multipoint", "multilinestring", "multipolygon"], BYTES),
    **dict.fromkeys(["geometrycollection", "geomcollection"], BYTES),
}
"""The mapping of each type, by MySQL's name; DECIMAL(p,s) has a mapping for each p and s."""


def type_mapping(declared: str) -> TypeMapping | None:
    """The mapping of a type such as `int unsigned`; None where it has no Avro type."""
    if found := re.match(r"decimal\((\d+),(\d+)\)", declared):
        return decimal(int(found[1]), int(found[2]))
    name = re.split(r"[( ]", declared)[0]
    unsigned = name in ("int", "bigint") and "unsigned" in declared
    return TYPE_MAPPINGS.get(f"{name} unsigned" if unsigned else name)


def read_type(avro: Any) -> TypeMapping:
    """The mapping to an Avro type; raises ValueError if no column of a backup has it."""
    match avro:
        case {"type": "bytes", "logicalType": "decimal", "precision": int(), "scale": int()}:
            return decimal(avro["precision"], avro["scale"])
    for kind in TYPE_MAPPINGS.values():
        if kind.avro == avro:
            return kind
    raise ValueError(f"the type {json.dumps(avro)} is not that of a column")
