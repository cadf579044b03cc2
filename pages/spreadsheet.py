"""A report for spreadsheets: CSV whose cells are never formulas."""

import csv
import io
from collections.abc import Sequence

import reports
from reports import ReportRow

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""Characters that begin a formula: https://owasp.org/www-community/attacks/CSV_Injection"""

BYTE_ORDER_MARK = "\ufeff"
"""Without it, Excel reads a file in the encoding of its own region instead of UTF-8."""


def as_csv(columns: Sequence[str], rows: list[ReportRow]) -> str:
    """Rows as CSV, RFC 4180, with a header line; safe to open in a spreadsheet."""
    output = io.StringIO()
    output.write(BYTE_ORDER_MARK)
    writer = csv.writer(output)
    writer.writerow(columns)
    writer.writerows([_harmless(value) for value in row[: len(columns)]] for row in rows)
    return output.getvalue()


def _harmless(value: object) -> int | str | None:
    """Puts an apostrophe before a name that a spreadsheet would run as a formula."""
    shown = reports.plain(value)
    return f"'{shown}" if isinstance(shown, str) and shown.startswith(FORMULA_STARTS) else shown
