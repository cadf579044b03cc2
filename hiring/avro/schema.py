"""A table's columns, as the server describes them and as the Avro schema of its rows does."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from hiring.avro.mapping import DOUBLE, FLOAT, TypeMapping, read_type, type_mapping
from hiring.errors import Misconfigured
from hiring.mysql.connection import Connection
from hiring.mysql.statements import quote, select

CONVERTED = {"utf8mb4", "utf8mb3", "utf8", "utf16", "utf16le", "latin1", "binary"}
"""Character sets whose every text comes back from Unicode as the same bytes."""
UTF8MB3 = {"utf8mb3", "utf8"}
GEOMETRY = re.compile("geom|(multi)?(point|linestring|polygon)")
MEMBER = re.compile("'((?:[^']|'')*)'")
"""A member in the declaration of an ENUM or a SET."""

TOLD_OR_RAW = """
IF({column} IS NULL, NULL, COALESCE(
    IF({told}, CAST(CONVERT({column} USING utf8mb4) AS BINARY), NULL),
    CONCAT(x'FF', CAST({value} AS BINARY)),
    x'FF'
))
"""
"""A value as UTF-8 where its text tells it, else its own bytes or number after `mapping.RAW`.

A conversion beyond max_allowed_packet is NULL.
"""
COMES_BACK = """
CAST(CONVERT(CONVERT({column} USING utf16) USING {characters}) AS BINARY) = CAST({column} AS BINARY)
"""
"""Whether a text comes back from Unicode as the same bytes.

Through UTF-16, because MariaDB converts half a surrogate pair to UTF-8 and back.
"""


@dataclass(frozen=True)
class Column:
    """A column of a table; `character_set` is empty where its type has none."""

    name: str
    avro_name: str
    mysql_type: str
    type: TypeMapping
    nullable: bool
    generated: bool
    invisible: bool
    comment: str = ""
    character_set: str = ""
    auto_increment: bool = False

    @property
    def is_geometry(self) -> bool:
        """Whether the column holds geometry."""
        return bool(GEOMETRY.match(self.mysql_type))

    @property
    def has_members(self) -> bool:
        """Whether the column is an ENUM or a SET: its values are numbers, too."""
        return self.mysql_type.startswith(("enum(", "set("))

    @property
    def expression(self) -> str:
        """The expression to select so that the server sends all of the value."""
        column = quote(self.name)
        if self.type in (FLOAT, DOUBLE):
            # The server prints a FLOAT with six digits; as a DOUBLE it keeps all its bits.
            return f"CAST({column} AS DOUBLE)"
        value = f"CAST({column} AS UNSIGNED)" if self.has_members else column
        if not (told := self._told(column, value)):
            # Converted to utf8mb4, each byte that is no UTF-8 would become a question mark.
            return f"CONVERT({column} USING binary)" if self.character_set in UTF8MB3 else column
        return TOLD_OR_RAW.format(column=column, value=value, told=told).strip()

    @property
    def may_be_raw(self) -> bool:
        """Whether the server may send `mapping.RAW` before a value."""
        return bool(self._told("", ""))

    def _told(self, column: str, value: str) -> str:
        """The condition under which a value's text tells it; empty where it always does."""
        conditions = []
        if self.character_set and self.character_set not in CONVERTED:
            conditions.append(COMES_BACK.format(column=column, characters=self.character_set))
        members = MEMBER.findall(self.mysql_type) if self.has_members else []
        if "" in members:
            # As a number, an ENUM's error value is 0, and a SET has a bit for each member. An error
            # value prints like the empty member; a SET prints alike with it and without it.
            is_enum = self.mysql_type.startswith("enum")
            conditions.append(
                f"{value} <> 0" if is_enum else f"{value} & {1 << members.index('')} = 0"
            )
        return " AND ".join(conditions)

    @property
    def avro_field(self) -> dict[str, Any]:
        """The field of the Avro schema; `mysql...` attributes keep what Avro cannot express."""
        field: dict[str, Any] = {"name": self.avro_name, "type": self.type.avro}
        if self.nullable:
            field |= {"type": ["null", self.type.avro], "default": None}
        if self.comment:
            # BigQuery takes it for the column's description.
            field["doc"] = self.comment
        field |= {"mysqlName": self.name, "mysqlType": self.mysql_type}
        if self.generated:
            field["mysqlGenerated"] = True
        if self.invisible:
            field["mysqlInvisible"] = True
        return field


def read_columns(schema: Any) -> tuple[Column, ...]:
    """The columns of a backup's Avro schema, without comments and character sets.

    Raises ValueError for a schema that no backup has: its rows might take no byte.
    """
    match schema:
        case {"type": "record", "name": str(), "fields": [_, *_] as fields}:
            return tuple(map(_column_of, fields))
    raise ValueError("its schema is not that of a table")


def _column_of(field: Any) -> Column:
    match field:
        case {"name": str(avro_name), "mysqlName": str(name), "mysqlType": str(kind), "type": avro}:
            nullable = isinstance(avro, list) and len(avro) == 2 and avro[0] == "null"
            return Column(
                name=name,
                avro_name=avro_name,
                mysql_type=kind,
                type=read_type(avro[1] if nullable else avro),
                nullable=nullable,
                generated=bool(field.get("mysqlGenerated")),
                invisible=bool(field.get("mysqlInvisible")),
            )
    raise ValueError("its schema is not that of a table")


@dataclass(frozen=True)
class Table:
    """A table as the server describes it."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]

    @property
    def statement(self) -> str:
        """The SELECT of all rows, with a value for each of `columns`."""
        expressions = ", ".join(column.expression for column in self.columns)
        return f"SELECT {expressions} FROM {quote(self.name)}"

    @property
    def without_generated(self) -> "Table":
        """The table with only the columns that a load fills; the server generates the others."""
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
SELECT column_name, column_type, is_nullable, extra, column_comment, character_set_name
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
        Misconfigured: a column's type has no Avro type, which the message names; the account may
            not read every column; or none takes a value, so that no load could insert a row.
        pymysql.err.Error: the account may not read the table.
    """
    rows = select(connection, COLUMNS, name)
    # information_schema hides columns that the account may not read, and `SELECT *` invisible ones.
    if select(connection, f"SHOW CREATE TABLE {quote(name)}")[0][1].count("\n  `") > len(rows):
        raise Misconfigured(f"DB_USER may not read every column of table {name}")
    columns = []
    for avro_name, row in zip(_avro_names([row[0] for row in rows]), rows, strict=True):
        column, declared, is_nullable, extra, comment, character_set = row
        kind = type_mapping(declared)
        if kind is None:
            raise Misconfigured(
                f"column {column} of table {name} has the type {declared}, which has no Avro type"
            )
        columns.append(
            Column(
                name=column,
                avro_name=avro_name,
                mysql_type=declared,
                type=kind,
                nullable=is_nullable == "YES",
                generated="VIRTUAL GENERATED" in extra or "STORED GENERATED" in extra,
                invisible="INVISIBLE" in extra,
                comment=comment,
                character_set=character_set or "",
                auto_increment="auto_increment" in extra,
            )
        )
    if all(column.generated for column in columns):
        raise Misconfigured(
            f"every column of table {name} is generated, so nothing can be restored"
        )
    primary_key = tuple(column for (column,) in select(connection, PRIMARY_KEY, name))
    return Table(name, tuple(columns), primary_key)


def columns_without_avro(connection: Connection, name: str) -> list[tuple[str, str]]:
    """The name and the MySQL type of each column that a backup cannot store."""
    rows = select(connection, COLUMNS, name)
    return [(column, kind) for column, kind, *_ in rows if type_mapping(kind) is None]


def _avro_names(names: list[str]) -> list[str]:
    """Avro names for column names: unchanged where Avro allows them, else mangled and unique.

    Names: https://avro.apache.org/docs/1.12.0/specification/#names
    """
    good = re.compile("[A-Za-z_][A-Za-z0-9_]*")
    taken = {name.lower() for name in names if good.fullmatch(name)}
    avro_names = []
    for name in names:
        if not good.fullmatch(name):
            name = base = re.sub("[^A-Za-z0-9_]|^(?=[0-9])", "_", name)
            number = 1
            while name.lower() in taken:
                number += 1
                name = f"{base}_{number}"
            taken.add(name.lower())
        avro_names.append(name)
    return avro_names
