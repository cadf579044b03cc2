"""Writes invalid records as SQL: values that Avro cannot hold, as MySQL prints them."""

from collections.abc import Sequence

from hiring.avro.mapping import BYTES, RAW, STRING
from hiring.avro.schema import Column

PrintedRow = Sequence[bytes | None]
"""Values as MySQL prints them."""


def row(columns: Sequence[Column], printed: PrintedRow) -> bytes:
    """A row as SQL: `('1','0000-00-00',NULL)`."""
    literals = [_literal(column, value) for column, value in zip(columns, printed, strict=True)]
    return b"(" + b",".join(literals) + b")"


def _literal(column: Column, printed: bytes | None) -> bytes:
    if printed is None or (column.is_geometry and not printed):
        return b"NULL"  # MariaDB stores NULL as an empty geometry where it can't be NULL
    if column.type is STRING and printed.startswith(RAW):
        raw = printed.removeprefix(RAW)
        return raw if column.has_members and raw.isdigit() else b"_binary" + _quoted(raw)
    quoted = _quoted(printed)
    return b"_binary" + quoted if column.type is BYTES or not _is_text(printed) else quoted


def _quoted(content: bytes) -> bytes:
    # https://dev.mysql.com/doc/refman/8.4/en/string-literals.html: nothing else needs an escape.
    return b"'" + content.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"


def _is_text(printed: bytes) -> bool:
    try:
        printed.decode()
    except UnicodeDecodeError:
        return False
    return True
