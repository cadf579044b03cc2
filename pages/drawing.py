"""The bars of the page: rectangles in percent of the place that they fill, honest from 0 up.

A rectangle of a pixel marks a number that is too small for its percentage to be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 0.2
"""The part of a column's place that is empty."""
SMALL_PERCENT = 5
"""Below this, a bar may be thinner than a pixel on a phone."""
LABEL_CHARACTERS = 48
"""Characters that the labels of all columns may have together on a phone."""
YEARS_LABELLED = 10


@dataclass(frozen=True)
class Bar:
    """A rectangle, as the attributes of SVG's `rect`; `kind` is the CSS class for its colour."""

    kind: str
    x: str
    width: str
    height: str = "100%"


@dataclass(frozen=True)
class ColumnLabel:
    """A column of the chart above the table.

    Attributes:
        middle: of its place, in percent of the chart's width.
        height: in percent of the highest column.
        number: its hires, as text; empty if there is no room for those of all columns.
        heading: its year or quarter; empty if there is no room.
    """

    middle: str
    height: float
    number: str
    heading: str


def stacked(numbers: Sequence[int], kinds: Sequence[str], longest: int) -> list[Bar]:
    """A bar in parts, one after the other; `longest` hires fill the whole width."""
    bars = []
    before = 0
    for kind, number in zip(kinds, numbers, strict=True):
        bars += [Bar(kind, _percent(before, longest), width) for width in _sizes(number, longest)]
        before += number
    # A small part lies above the larger one after it.
    return bars[::-1]


def columns(numbers: Sequence[int], kinds: Sequence[str], highest: int) -> list[Bar]:
    """A column for each number, on one line; `highest` hires fill the whole height."""
    place = 100 / len(numbers)
    width = f"{place * (1 - GAP):.3f}%"
    return [
        Bar(kind, f"{place * (number + GAP / 2):.3f}%", width, height)
        for number, (kind, hired) in enumerate(zip(kinds, numbers, strict=True))
        for height in _sizes(hired, highest)
    ]


def labelled(numbers: Sequence[int], headings: Sequence[str], highest: int) -> list[ColumnLabel]:
    """The labels of columns: all have a number, or none has."""
    texts = [f"{number:,}" for number in numbers]
    fit = len(texts) * max(map(len, texts)) <= LABEL_CHARACTERS
    every = next(n for n in (1, 2, 5, 10) if len(headings) <= n * YEARS_LABELLED)
    return [
        ColumnLabel(
            f"{100 * (place + 0.5) / len(numbers):.3f}%",
            round(100 * number / highest, 3),
            text if fit else "",
            heading if every == 1 or int(heading) % every == 0 else "",
        )
        for place, (number, text, heading) in enumerate(zip(numbers, texts, headings, strict=True))
    ]


def _sizes(number: int, whole: int) -> list[str]:
    """The sizes to draw a number in: none for 0, and a pixel too for a small one."""
    if not number:
        return []
    pixel = ["1"] if 100 * number < SMALL_PERCENT * whole else []
    return [_percent(number, whole), *pixel]


def _percent(part: float, whole: int) -> str:
    return f"{100 * part / whole:.3f}%"
