"""A report for terminals: the grid that tabulate draws, no wider than a terminal.

tabulate itself takes several times as long: it looks for numbers and colours in every cell, and
asks for the width of each again and again.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

import wcwidth

import reports
from pages.names import isolated, terminal_columns, visible
from reports import ReportRow

TERMINAL_COLUMNS = 80
NARROWEST_NAME = 12
"""The narrowest column of names, even if the grid is then too wide."""
CELLS_AT_HAND = 2_000
"""Number of drawn cells of a column to draw again without wrapping them anew."""


def as_text(columns: Sequence[str], rows: Iterable[ReportRow]) -> Iterator[str]:
    """Yields the report as a grid; long names are wrapped to fit a terminal."""
    shown = list(rows)
    # Each name and number is measured once, however many rows show it.
    distinct = [{*cells} for cells in zip(*shown, strict=True)] or [set[object]() for _ in columns]
    widths = list(map(_width, columns, distinct))
    names = [place for place, column in enumerate(columns) if column in reports.NAMES]
    room = TERMINAL_COLUMNS - 3 * len(columns) - 1 - sum(widths) + sum(widths[n] for n in names)
    # The narrowest comes first: the others get the room that it does not need.
    for count, place in enumerate(sorted(names, key=widths.__getitem__)):
        widths[place] = min(widths[place], max(room // (len(names) - count), NARROWEST_NAME))
        room -= widths[place]
    is_left = [place in names or not shown for place in range(len(columns))]
    blanks = [" " * width for width in widths]
    rule = f"+-{'-+-'.join(blanks)}-+\n".replace(" ", "-")
    yield rule + _line(map(_pad, columns, widths, is_left)) + rule.replace("-", "=")
    if not shown:
        yield rule
    drawing = map(functools.partial, itertools.repeat(_cell), widths, is_left)
    draw = list(map(functools.lru_cache(CELLS_AT_HAND), drawing))
    for row in shown:
        cells = [drawn(cell) for drawn, cell in zip(draw, row, strict=True)]
        for parts in itertools.zip_longest(*cells):
            yield _line([part or blank for part, blank in zip(parts, blanks, strict=True)])
        yield rule


def _width(column: str, cells: Iterable[object]) -> int:
    """The width of a column; as with tabulate, its header has room for two more characters."""
    return max(len(column) + 2, *(terminal_columns(visible(cell).strip()) for cell in cells), 0)


def _cell(width: int, left: bool, value: object) -> list[str]:
    """The lines of a cell, each of so many columns of a terminal."""
    text = visible(value).strip()
    lines = [text] if terminal_columns(text) <= width else _wrapped(text, width)
    return [_pad(isolated(line), width, left) for line in lines]


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Yields lines, broken at blanks and within words that are longer than a line.

    `wcwidth.wrap` measures the rest of a long word again for each line of it.
    """
    line, used = "", 0
    for cluster in wcwidth.iter_graphemes(text):
        columns = terminal_columns(cluster)
        while line and used + columns > width:
            head, _, tail = line.rpartition(" ")
            if cluster == " " or not head:
                head, tail = line, ""
            yield head
            line, used = tail, terminal_columns(tail)
        if line or cluster != " ":
            line, used = line + cluster, used + columns
    yield line


def _pad(text: str, width: int, left: bool) -> str:
    blank = " " * (width - terminal_columns(text))
    return text + blank if left else blank + text


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
