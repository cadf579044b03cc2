"""The fields of a backup's Avro schema, each with its MySQL column and its type."""

import json
from dataclasses import dataclass
from typing import Any

PRIMITIVE_TYPES = ("int", "long", "float", "double", "string", "bytes")
LOGICAL_TYPES = (
    ("int", "date"),
    ("long", "local-timestamp-micros"),
    ("long", "timestamp-micros"),
    ("bytes", "decimal"),
)


@dataclass(frozen=True)
class AvroType:
    """The type of a column.

    Attributes:
        value: the type of a value that is not NULL: T of `["null", T]`.
        nullable: whether the column may hold NULL.
    """

    value: str | dict[str, Any]
    nullable: bool

    @property
    def primitive(self) -> str:
        """The type without its logical type."""
        return self.value if isinstance(self.value, str) else str(self.value["type"])

    @property
    def logical(self) -> str | None:
        """The logical type, if there is one."""
        return None if isinstance(self.value, str) else str(self.value["logicalType"])


@dataclass(frozen=True)
class Field:
    """A field of the schema; `column` and `mysql_type` are those of its MySQL column."""

    name: str
    column: str
    mysql_type: str
    generated: bool
    type: AvroType


def read_fields(schema: Any) -> tuple[Field, ...]:
    """The fields of a table's schema.

    Raises:
        ValueError: no backup has such a schema; a row of another might take no byte.
    """
    try:
        fields = tuple(
            Field(
                name=field["name"],
                column=field["mysqlName"],
                mysql_type=field["mysqlType"],
                generated=bool(field.get("mysqlGenerated")),
                type=read_type(field["type"]),
            )
            for field in schema["fields"]
        )
        names = [schema["name"], *(field.name for field in fields)]
        names += [text for field in fields for text in (field.column, field.mysql_type)]
        is_table = schema["type"] == "record" and all(isinstance(name, str) for name in names)
    except (AttributeError, KeyError, TypeError):
        is_table = False
    if not is_table or not fields:
        raise ValueError("its schema is not that of a table")
    return fields


def read_type(avro: Any) -> AvroType:
    """The type of a column.

    Raises:
        ValueError: no column of a backup has this type.
    """
    nullable = isinstance(avro, list) and len(avro) == 2 and avro[0] == "null"
    value = avro[1] if nullable else avro
    known = value in PRIMITIVE_TYPES
    if isinstance(value, dict):
        known = (value.get("type"), value.get("logicalType")) in LOGICAL_TYPES
    if not known:
        raise ValueError(f"the type {json.dumps(avro)} is not that of a column")
    return AvroType(value, nullable)
