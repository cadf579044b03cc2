"""A report for spreadsheets: CSV whose cells are never formulas."""

import csv
import io

import reports
from reports import Report, ReportRow

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula: https://owasp.org/www-community/attacks/CSV_Injection"""


def as_csv(report: Report, rows: list[ReportRow]) -> str:
    """The report as CSV, RFC 4180, with a header line; safe to open in a spreadsheet."""
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(report.columns)
    writer.writerows([_harmless(value) for value in row[: len(report.columns)]] for row in rows)
    return output.getvalue()


def _harmless(value: object) -> int | str | None:
    """A name that a spreadsheet would run as a formula gets an apostrophe, numbers stay numbers."""
    shown = reports.plain(value)
    return f"'{shown}" if isinstance(shown, str) and shown.startswith(FORMULA_STARTS) else shown
