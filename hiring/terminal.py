"""Texts for people: made fit for a terminal or a shell, counted, in tables, and questions.

Names come from buckets and databases, which others may write to. A control character in one could
hide or forge lines on a terminal, or end a comment that a shell reads.
"""

import datetime
import shlex
import sys
from collections.abc import Iterable, Sequence

import tabulate
import wcwidth


def printable(text: str) -> str:
    """A text as one line of visible characters; others become escapes such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def fitted(text: str, columns: int) -> str:
    """A printable text, cut to a number of columns; some letters of East Asia take two."""
    text = printable(text)
    return text if wcwidth.width(text) <= columns else wcwidth.clip(text, 0, columns - 3) + "..."


def for_shell(words: Iterable[str]) -> str:
    """Words as one line of bash, which reads each of them as it is."""
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # https://www.gnu.org/software/bash/manual/html_node/ANSI_002dC-Quoting.html
    return "$'" + "".join(f"\\x{byte:02x}" for byte in word.encode(errors="surrogateescape")) + "'"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def age_in_words(age: datetime.timedelta) -> str:
    """An age as people say it: `5 minutes`, `26 hours`, `12 days`."""
    seconds = age.total_seconds()
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return counted(round(seconds), "second")


def table_lines(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> list[str]:
    """A table as lines; a column that holds a number is aligned to the right."""
    cells = [
        [f"{each:,}" if isinstance(each, int) else printable(str(each or "")) for each in row]
        for row in rows
    ]
    right = {place for row in rows for place, each in enumerate(row) if isinstance(each, int)}
    alignment = ["right" if place in right else "left" for place in range(len(headers))]
    return tabulate.tabulate(
        cells, headers, disable_numparse=True, colalign=alignment if rows else None
    ).splitlines()


def confirm(question: str) -> None:
    """Asks before something is lost, if a person can answer on a terminal.

    Raises:
        KeyboardInterrupt: the answer is not yes.
    """
    if not sys.stdin.isatty():
        return
    sys.stderr.write(f"{printable(question)} Type yes to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise KeyboardInterrupt("not confirmed")
