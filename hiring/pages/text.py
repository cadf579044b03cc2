"""A report for terminals: tabulate's grid, no wider than a terminal."""

from collections.abc import Sequence

import tabulate
import wcwidth

import reports
from hiring.pages.names import isolated, straight, terminal_columns, visible
from reports import ReportRow

TERMINAL_COLUMNS = 80
NARROWEST_NAME = 12
"""A column of names is never wrapped to less, even where the grid then is too wide."""


def as_text(columns: Sequence[str], rows: list[ReportRow]) -> str:
    """The report as tabulate's grid, no wider than a terminal: long names are wrapped."""
    shown = [[straight(visible(value)) for value in row[: len(columns)]] for row in rows]
    is_name = [column in reports.NAMES for column in columns]
    for place, width in _widths(columns, is_name, shown).items():
        for cells in shown:
            cells[place] = "\n".join(map(isolated, _lines(cells[place], width)))
    grid = tabulate.tabulate(
        shown,
        columns,
        "grid",
        # A job called 007 is a name, not a number.
        disable_numparse=True,
        colalign=["left" if name else "right" for name in is_name],
    )
    return grid + "\n"


def _widths(columns: Sequence[str], is_name: list[bool], shown: list[list[str]]) -> dict[int, int]:
    """The columns of names, by their place, and how wide they may be for the grid to fit."""
    # tabulate gives every header two columns more.
    headers = [f"{column}  " for column in columns]
    natural = [max(map(terminal_columns, cells)) for cells in zip(headers, *shown, strict=True)]
    borders = 3 * len(natural) + 1
    numbers = sum(width for width, name in zip(natural, is_name, strict=True) if not name)
    room = TERMINAL_COLUMNS - borders - numbers
    names = sorted((width, place) for place, width in enumerate(natural) if is_name[place])
    widths = {}
    # The narrowest first: what it does not need is the others'.
    for count, (width, place) in enumerate(names):
        widths[place] = min(width, max(room // (len(names) - count), NARROWEST_NAME))
        room -= widths[place]
    return widths


def _lines(text: str, width: int) -> list[str]:
    """A text in lines of so many columns of a terminal."""
    return [text] if terminal_columns(text) <= width else wcwidth.wrap(text, width)
