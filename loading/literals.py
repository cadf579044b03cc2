"""Avro values back to SQL: the literal of each value, and a fingerprint of each row."""

import datetime
import decimal
import json
from collections.abc import Callable, Sequence
from typing import Any

from hiring.export.mapping import DOUBLE, FLOAT
from hiring.export.table import Column


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
"""SQL for each Python type that fastavro reads from the types in `mapping`."""


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
    if isinstance(column.type.avro, dict):
        return READERS[column.type.avro["logicalType"]]
    return READERS[column.type.avro]


def _unreadable(printed: bytes) -> str | bytes:
    try:
        return printed.decode()
    except UnicodeDecodeError:
        return printed


def _json_key(text: str | None) -> object:
    """JSON as a MySQL JSON column sees it: without spaces, the order of members, and whether a
    number was DECIMAL or DOUBLE."""
    if text is None:
        return None
    try:
        return json.dumps(json.loads(text, parse_int=_json_number), sort_keys=True)
    except ValueError:
        return text


def _json_number(digits: str) -> int | float:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


def _float_key(value: float | None) -> object:
    return value and repr(value)  # MariaDB has no -0: it stores 0


def comparison_key(column: Column) -> Callable[[Any], object] | None:
    """The key by which values compare equal, for types with several notations of one value."""
    if column.mysql_type == "json":
        return _json_key
    return _float_key if column.type in (FLOAT, DOUBLE) else None


SqlRow = tuple[bytes, int]
"""A row as SQL, `(1,'Ana',NULL)`, and its fingerprint: equal values give equal numbers."""


class RowWriter:
    """Writes rows of a table as SQL.

    Args:
        columns: of the rows, in their order.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._readers = [_reader(column) for column in columns]
        self.comparison_keys = [
            (place, key)
            for place, column in enumerate(columns)
            if (key := comparison_key(column)) is not None
        ]

    def from_values(self, values: Sequence[Any]) -> SqlRow:
        """A row whose values fastavro has read."""
        literals = [LITERALS[type(value)](value) for value in values]
        sql = f"({','.join(literals)})".encode("utf-8", "surrogateescape")
        if not self.comparison_keys:
            return sql, hash(sql)
        compared: list[object] = [*literals]
        for place, key in self.comparison_keys:
            compared[place] = key(values[place])
        return sql, hash(tuple(compared))

    def from_printed(self, printed: Sequence[bytes | None]) -> SqlRow:
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
