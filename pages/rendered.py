"""A report's answer in its format, within the limits of one; the last small ones are kept.

Rendering takes as long as reading. Each request still reads its rows: they are the key.
"""

import hashlib
import io
import itertools
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import reports
from hiring.mysql.connection import Connection
from pages import page
from pages.found import read
from pages.query import CSV, HTML, JSON, NDJSON, TEXT, ReportQuery
from pages.spreadsheet import as_csv
from pages.text import as_text

SHOW: dict[str, Callable[..., Iterator[str]]] = {
    TEXT: as_text,
    HTML: page.render,
    JSON: reports.as_json,
    NDJSON: reports.as_ndjson,
    CSV: as_csv,
}
KEPT_ROWS = 1_000
"""Number of rows up to which an answer is kept: those of a longer one are never all in memory."""
KEPT_NAMES = 1_000_000
"""Memory that the names of these rows may take."""
KEPT_BYTES = 4_000_000
"""Maximum size of all kept answers together."""


class KeptAnswers:
    """Answers by what they show, the one used last at the end; for any number of threads."""

    def __init__(self) -> None:
        self._answers: dict[bytes, bytes] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, shown: object, render: Callable[[], bytes]) -> bytes:
        """The answer that shows this; rendered only if it is not kept.

        Args:
            shown: all that the answer depends on. It is compared as pickled, which tells `1` from
                `True` and `1.0` from `1.00`, although these are equal.
        """
        key = hashlib.sha256(pickle.dumps(shown)).digest()
        with self._lock:
            answer = self._answers.pop(key, None)
            self._bytes -= len(answer or b"")
        if answer is None:
            answer = render()
        if len(answer) > KEPT_BYTES:
            return answer
        with self._lock:
            # Another thread may have rendered the same meanwhile.
            self._bytes += len(answer) - len(self._answers.pop(key, b""))
            self._answers[key] = answer
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._answers.pop(next(iter(self._answers))))
        return answer


_kept = KeptAnswers()


def rendered(
    connection: Connection, query: ReportQuery, media_type: str, host: str, database: str
) -> bytes:
    """Reads what a query asks for and renders it, in UTF-8; a page's time is left out.

    Args:
        host, database: as of `page.render`.

    Raises:
        TooManyRows: the answer has too many rows or bytes.
        BadParameter: as of `found.read`.
        TimedOut: the connection's deadline has passed.
    """
    shown: tuple[Any, ...]
    if media_type == HTML:
        found = read(connection, query)
        shown, is_small = (found, host, database), found.rows <= KEPT_ROWS
    else:
        most = reports.TEXT_ROWS if media_type == TEXT else reports.ANSWER_ROWS
        rows = reports.run(connection, query.report, query.first, query.last, most=most)
        rows = reports.held(rows) if media_type == TEXT else rows
        first: list[reports.ReportRow] = []
        names, is_small = 0, True
        while is_small and (row := next(rows, None)):
            first.append(row)
            names += reports.names_bytes(row)
            is_small = len(first) <= KEPT_ROWS and names <= KEPT_NAMES
        shown = query.columns, first if is_small else itertools.chain(first, rows)

    def render() -> bytes:
        content = io.BytesIO()
        for piece in SHOW[media_type](*shown):
            connection.deadline.remaining()
            if content.write(piece.encode()) and content.tell() > reports.ANSWER_BYTES:
                raise reports.too_many()
        return content.getvalue()

    return _kept.get((media_type, shown), render) if is_small else render()
