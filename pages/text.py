"""A report for terminals: the grid that tabulate draws, no wider than a terminal.

tabulate itself takes several times as long: it looks for numbers and colours in every cell, and
asks for the width of each again and again.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import wcwidth

import reports
from pages.names import isolated, terminal_columns, visible
from reports import ReportRow

TERMINAL_COLUMNS = 80
NARROWEST_NAME = 12
"""The narrowest column of names, even if the grid is then too wide."""


def as_text(columns: Sequence[str], rows: Iterable[ReportRow]) -> Iterator[str]:
    """Yields the report as a grid; long names are wrapped to fit a terminal."""
    shown = list(rows)
    # Each name and number is printed, measured and padded once, however many rows show it.
    distinct = [{*cells} for cells in zip(*shown, strict=True)] or [set[object]() for _ in columns]
    texts = [{cell: _lines(cell) for cell in cells} for cells in distinct]
    widths = list(map(_width, columns, texts))
    names = [place for place, column in enumerate(columns) if column in reports.NAMES]
    room = TERMINAL_COLUMNS - 3 * len(columns) - 1 - sum(widths) + sum(widths[n] for n in names)
    # The narrowest comes first: the others get the room that it does not need.
    for count, place in enumerate(sorted(names, key=widths.__getitem__)):
        most = max(room // (len(names) - count), NARROWEST_NAME)
        room -= min(widths[place], most)
        if widths[place] > most:
            texts[place] = {cell: _lines(cell, most) for cell in distinct[place]}
            widths[place] = _width(columns[place], texts[place])
    is_left = [place in names or not shown for place in range(len(columns))]
    padded = [
        {cell: [_pad(line, width, left) for line in lines] for cell, lines in of.items()}
        for of, width, left in zip(texts, widths, is_left, strict=True)
    ]
    blanks = [" " * width for width in widths]
    rule = f"+-{'-+-'.join(blanks)}-+\n".replace(" ", "-")
    yield rule + _line(map(_pad, columns, widths, is_left)) + rule.replace("-", "=")
    if not shown:
        yield rule
    for row in shown:
        cells = [of[cell] for of, cell in zip(padded, row, strict=True)]
        for parts in itertools.zip_longest(*cells):
            yield _line([part or blank for part, blank in zip(parts, blanks, strict=True)])
        yield rule


def _width(column: str, texts: dict[object, list[str]]) -> int:
    """The width of a column; as with tabulate, its header has room for two more characters."""
    lines = itertools.chain.from_iterable(texts.values())
    return max(len(column) + 2, *map(terminal_columns, lines), 0)


def _lines(value: object, width: int | None = None) -> list[str]:
    """A value in lines of at most `width` columns of a terminal."""
    text = visible(value).strip()
    if width is None or terminal_columns(text) <= width:
        return [isolated(text)]
    return list(map(isolated, wcwidth.wrap(text, width)))


def _pad(text: str, width: int, left: bool) -> str:
    blank = " " * (width - terminal_columns(text))
    return text + blank if left else blank + text


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
