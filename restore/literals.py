"""Writes invalid records as SQL: values that Avro cannot hold, as MySQL prints them."""

from collections.abc import Sequence

from hiring.avro.mapping import BYTES
from hiring.avro.schema import Column

PrintedRow = Sequence[bytes | None]
"""Values as MySQL prints them."""


def row(columns: Sequence[Column], printed: PrintedRow) -> bytes:
    """A row as SQL: `('1','0000-00-00',NULL)`."""
    literals = [_literal(column, value) for column, value in zip(columns, printed, strict=True)]
    return b"(" + b",".join(literals) + b")"


def _literal(column: Column, printed: bytes | None) -> bytes:
    if printed is None:
        return b"NULL"
    # https://dev.mysql.com/doc/refman/8.4/en/string-literals.html: nothing else needs an escape.
    quoted = b"'" + printed.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"
    return b"_binary" + quoted if column.type is BYTES or not _is_text(printed) else quoted


def _is_text(printed: bytes) -> bool:
    try:
        printed.decode()
    except UnicodeDecodeError:
        return False
    return True
