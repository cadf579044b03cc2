"""A report for spreadsheets: CSV that holds no formula, wherever a spreadsheet splits it."""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import reports
from reports import ReportRow

SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
FORMULA = re.compile(
    "^(?=[=+\\-@\t\r\n\0＝＋－＠])"  # of a cell of this file
    '|(?<=[;\t\r\n])(?="*[=+\\-@\0＝＋－＠])'  # of one in a spreadsheet that splits there
)
"""The place before a character that begins a formula.

The characters: https://owasp.org/www-community/attacks/CSV_Injection. A spreadsheet whose country
separates lists by `;` splits lines at it, and one can be told to split at tabs. Quotes count there
only where they begin a cell, so those around a cell of this file do not hide its `;`, nor a line
break.
"""

BYTE_ORDER_MARK = "\ufeff"
"""Without it, Excel reads a file in the encoding of its own region instead of UTF-8."""


def as_csv(columns: Sequence[str], rows: Iterable[ReportRow]) -> Iterator[str]:
    """Yields rows as CSV, RFC 4180, with a header line; safe to open in a spreadsheet."""
    output = io.StringIO()
    writer = csv.writer(output)
    yield BYTE_ORDER_MARK
    for row in itertools.chain([columns], rows):
        writer.writerow([_harmless(value) for value in row])
        yield output.getvalue()
        output.seek(0)
        output.truncate()


def _harmless(value: object) -> int | str | None:
    """Puts an apostrophe before whatever in a name a spreadsheet would run as a formula."""
    if type(value) is int:
        return value
    shown = reports.plain(value)
    if not isinstance(shown, str):
        return shown
    # Most names hold nothing of the kind, which shows in a tenth of the time.
    is_plain = shown.isprintable() and ";" not in shown and not shown.startswith(SIGNS)
    return shown if is_plain else FORMULA.sub("'", shown)
