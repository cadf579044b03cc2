"""A report for spreadsheets: CSV whose cells are never formulas."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence

import reports
from reports import ReportRow

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""Characters that begin a formula: https://owasp.org/www-community/attacks/CSV_Injection"""

BYTE_ORDER_MARK = "\ufeff"
"""Without it, Excel reads a file in the encoding of its own region instead of UTF-8."""


def as_csv(columns: Sequence[str], rows: Iterable[ReportRow]) -> Iterator[str]:
    """Yields rows as CSV, RFC 4180, with a header line; safe to open in a spreadsheet."""
    output = io.StringIO()
    writer = csv.writer(output)
    yield BYTE_ORDER_MARK
    for row in itertools.chain([columns], rows):
        writer.writerow([_harmless(value) for value in row[: len(columns)]])
        yield output.getvalue()
        output.seek(0)
        output.truncate()


def _harmless(value: object) -> int | str | None:
    """Puts an apostrophe before a name that a spreadsheet would run as a formula."""
    if type(value) is int:
        return value
    shown = reports.plain(value)
    return f"'{shown}" if isinstance(shown, str) and shown.startswith(FORMULA_STARTS) else shown
