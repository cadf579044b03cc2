"""A report for terminals: the grid that tabulate draws, no wider than a terminal.

tabulate itself takes several times as long: it looks for numbers and colours in every cell, and
asks for the width of each again and again.
"""

from collections.abc import Iterable, Iterator, Sequence

import wcwidth

import reports
from pages.names import isolated, terminal_columns, visible
from reports import ReportRow

TERMINAL_COLUMNS = 80
NARROWEST_NAME = 12
"""The narrowest column of names, even if the grid is then too wide."""


def as_text(columns: Sequence[str], rows: Iterable[ReportRow]) -> Iterator[str]:
    """Yields the report as a grid; long names are wrapped to fit a terminal.

    Raises:
        TooManyRows: the names are longer than an answer may be.
    """
    is_name = [column in reports.NAMES for column in columns]
    shown = list(_shown(len(columns), rows))
    is_left = [name or not shown for name in is_name]
    most = _most(columns, is_name, shown)
    # Each name and number is measured and padded once, however many rows show it.
    cells, widths = [], []
    for place, column in enumerate(columns):
        lines = {text: _lines(text, most.get(place)) for text in {row[place] for row in shown}}
        # As tabulate does: a header has room for two more columns.
        width = max(
            [len(column) + 2, *(terminal_columns(each) for of in lines.values() for each in of)]
        )
        pad = _pad_right if is_left[place] else _pad_left
        cells.append({text: [pad(each, width) for each in of] for text, of in lines.items()})
        widths.append(width)
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    yield rule
    headers = zip(columns, widths, is_left, strict=True)
    yield _line(_pad_right(*each[:2]) if each[2] else _pad_left(*each[:2]) for each in headers)
    yield rule.replace("-", "=")
    if not shown:
        yield rule
    for row in shown:
        of_row = [of[text] for of, text in zip(cells, row, strict=True)]
        for place in range(max(map(len, of_row))):
            yield _line(
                lines[place] if place < len(lines) else " " * width
                for lines, width in zip(of_row, widths, strict=True)
            )
        yield rule


def _shown(columns: int, rows: Iterable[ReportRow]) -> Iterator[list[str]]:
    characters = 0
    for row in rows:
        shown = [visible(value).strip() for value in row[:columns]]
        characters += sum(map(len, shown))
        if characters > reports.ANSWER_BYTES:
            raise reports.too_many()
        yield shown


def _most(columns: Sequence[str], is_name: list[bool], shown: list[list[str]]) -> dict[int, int]:
    """The maximum width of each column of names, by its place, for the grid to fit."""
    headers = [f"{column}  " for column in columns]
    natural = [
        max(map(terminal_columns, set(cells))) for cells in zip(headers, *shown, strict=True)
    ]
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


def _lines(text: str, width: int | None) -> list[str]:
    """A text in lines of at most `width` columns of a terminal."""
    if width is None or terminal_columns(text) <= width:
        return [isolated(text)]
    return list(map(isolated, wcwidth.wrap(text, width)))


def _pad_right(text: str, width: int) -> str:
    return text + " " * (width - terminal_columns(text))


def _pad_left(text: str, width: int) -> str:
    return text.rjust(width)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
