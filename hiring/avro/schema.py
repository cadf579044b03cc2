"""A table as the server describes it: its columns, and the Avro schema of its rows."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from hiring.avro.mapping import DOUBLE, FLOAT, TypeMapping, type_mapping
from hiring.errors import Misconfigured
from hiring.mysql.connection import Connection
from hiring.mysql.statements import quote, select


@dataclass(frozen=True)
class Column:
    """A column as the server describes it, and its Avro name and type."""

    name: str
    avro_name: str
    mysql_type: str
    type: TypeMapping
    nullable: bool
    generated: bool
    invisible: bool
    comment: str = ""

    @property
    def expression(self) -> str:
        """The expression to select so that the server prints every bit of the value."""
        if self.type in (FLOAT, DOUBLE):
            # The server prints a FLOAT with six digits; as a DOUBLE it keeps all its bits.
            return f"CAST({quote(self.name)} AS DOUBLE)"
        return quote(self.name)

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
SELECT column_name, data_type, column_type, is_nullable, numeric_precision, numeric_scale, extra,
    column_comment
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
        Misconfigured: a column's type has no Avro type; the message names table, column and type.
        pymysql.err.Error: the account may not read every column.
    """
    # information_schema hides columns that the account may not read; this SELECT fails instead.
    select(connection, f"SELECT * FROM {quote(name)} LIMIT 0")
    rows = select(connection, COLUMNS, name)
    avro_names = _avro_names([row[0] for row in rows])
    columns = []
    for row, avro_name in zip(rows, avro_names, strict=True):
        column_name, data_type, column_type, is_nullable, precision, scale, extra, comment = row
        columns.append(
            Column(
                name=column_name,
                avro_name=avro_name,
                mysql_type=column_type,
                type=_type_of(name, column_name, data_type, column_type, precision, scale),
                nullable=is_nullable == "YES",
                generated="VIRTUAL GENERATED" in extra or "STORED GENERATED" in extra,
                invisible="INVISIBLE" in extra,
                comment=comment,
            )
        )
    primary_key = tuple(column for (column,) in select(connection, PRIMARY_KEY, name))
    return Table(name, tuple(columns), primary_key)


def columns_without_avro(connection: Connection, name: str) -> list[tuple[str, str]]:
    """The name and the MySQL type of each column that a backup cannot store."""
    return [
        (column, column_type)
        for column, data_type, column_type, _, precision, scale, *_ in select(
            connection, COLUMNS, name
        )
        if type_mapping(data_type, column_type, precision, scale) is None
    ]


def _type_of(
    table: str,
    column: str,
    data_type: str,
    column_type: str,
    precision: int | None,
    scale: int | None,
) -> TypeMapping:
    found = type_mapping(data_type, column_type, precision, scale)
    if found is None:
        raise Misconfigured(
            f"column {column} of table {table} has the type {column_type}, which has no Avro type"
        )
    return found


OTHER_CHARACTERS = """
SELECT column_name, character_set_name
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = %s AND character_set_name NOT IN
    ('utf8mb4', 'utf8mb3', 'utf8', 'utf16', 'utf16le', 'utf32', 'ucs2', 'latin1', 'binary')
"""
"""Columns whose character set may hold characters without a Unicode counterpart: the server sends a
`?` for each."""


def check_characters(connection: Connection, name: str) -> None:
    """Checks that converting a table's texts to utf8mb4 changes none of them.

    Raises:
        Misconfigured: a text would change; the message names table, column and character set.
    """
    for column, characters in select(connection, OTHER_CHARACTERS, name):
        text = quote(column)
        through = f"CONVERT(CONVERT({text} USING utf8mb4) USING {characters})"
        binary = f"COLLATE {characters}_bin"
        ((changed,),) = select(
            connection,
            # A conversion beyond max_allowed_packet is NULL, which <> would not count.
            f"SELECT COUNT(*) FROM {quote(name)}"
            f" WHERE NOT ({through} {binary} <=> {text} {binary})",
        )
        if changed:
            raise Misconfigured(
                f"column {column} of table {name} holds characters of {characters} that Unicode"
                f" does not have, in {changed} rows; make it a binary column, or replace them"
            )


WITH_AN_EMPTY_MEMBER = """
SELECT column_name, column_type
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = %s AND data_type = %s
  AND column_type REGEXP "[(,]''[,)]"
"""
"""ENUM or SET columns with an empty member.

An ENUM's prints like its error value (index 0), as ''; a SET prints alike with it and without it.
"""


def check_enums(connection: Connection, name: str) -> None:
    """Checks that no ENUM holds an error value that reads like its empty member.

    Raises:
        Misconfigured: one does; the message names table and column.
    """
    for column, _ in select(connection, WITH_AN_EMPTY_MEMBER, name, "enum"):
        ((errors,),) = select(
            connection,
            f"SELECT COUNT(*) FROM {quote(name)} WHERE {quote(column)} + 0 = 0",
        )
        if errors:
            raise Misconfigured(
                f"column {column} of table {name} holds the ENUM error value in {errors} rows,"
                " which reads like its member ''; replace it"
            )


def check_sets(connection: Connection, name: str) -> None:
    """Checks that no SET holds an empty member, which reads as if it were not there.

    Raises:
        Misconfigured: one does; the message names table and column.
    """
    for column, column_type in select(connection, WITH_AN_EMPTY_MEMBER, name, "set"):
        # No member holds a comma. As a number, a SET has a bit for each member.
        members = column_type.removeprefix("set(").removesuffix(")").split(",")
        bit = 1 << members.index("''")
        ((rows,),) = select(
            connection, f"SELECT COUNT(*) FROM {quote(name)} WHERE {quote(column)} & {bit}"
        )
        if rows:
            raise Misconfigured(
                f"column {column} of table {name} holds the SET member '' in {rows} rows, which"
                " read as if they did not; replace it"
            )


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
