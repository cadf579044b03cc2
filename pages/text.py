"""A report for terminals: tabulate's grid, no wider than a terminal."""

from collections.abc import Sequence

import tabulate
import wcwidth

import reports
from pages.names import isolated, terminal_columns, visible
from reports import ReportRow

TERMINAL_COLUMNS = 80
NARROWEST_NAME = 12
"""The narrowest column of names, even if the grid is then too wide."""


def as_text(columns: Sequence[str], rows: list[ReportRow]) -> str:
    """The report as tabulate's grid; long names are wrapped to fit a terminal."""
    shown = [[visible(value) for value in row[: len(columns)]] for row in rows]
    is_name = [column in reports.NAMES for column in columns]
    for place, width in _widths(columns, is_name, shown).items():
        for cells in shown:
            cells[place] = "\n".join(map(isolated, _lines(cells[place], width)))
    grid = tabulate.tabulate(
        shown,
        columns,
        "grid",
        # A job called 007 must not become a number.
        disable_numparse=True,
        colalign=["left" if name else "right" for name in is_name],
    )
    return grid + "\n"


def _widths(columns: Sequence[str], is_name: list[bool], shown: list[list[str]]) -> dict[int, int]:
    """The maximum width of each column of names, by its place, for the grid to fit."""
    # tabulate makes every header two columns wider.
    headers = [f"{column}  " for column in columns]
    natural = [max(map(terminal_columns, cells)) for cells in zip(headers, *shown, strict=True)]
    borders = 3 * len(natural) + 1
    numbers = sum(width for width, name in zip(natural, is_name, strict=True) if not name)
    room = TERMINAL_COLUMNS - borders - numbers
    names = sorted((width, place) for place, width in enumerate(natural) if is_name[place])
    widths = {}
    # The narrowest comes first: the others get the room that it does not need.
    for count, (width, place) in enumerate(names):
        widths[place] = min(width, max(room // (len(names) - count), NARROWEST_NAME))
        room -= widths[place]
    return widths


def _lines(text: str, width: int) -> list[str]:
    """A text in lines of at most `width` columns of a terminal."""
    return [text] if terminal_columns(text) <= width else wcwidth.wrap(text, width)
