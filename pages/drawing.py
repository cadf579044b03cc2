"""The bars of the page: rectangles in percent of the place that they fill, honest from 0 up.

A rectangle of a pixel marks a number that is too small for its percentage to be seen. A bar's
`kind` is the CSS class of its colour.
"""

from collections.abc import Sequence

from markupsafe import Markup

GAP = 0.2  # of a column's place
SMALL_PERCENT = 5  # below this, a bar may be thinner than a pixel on a phone
PHONE_CHARACTERS, DESKTOP_CHARACTERS = 48, 110  # of all columns together, a blank beside each
YEARS_LABELLED = 8


def stacked(
    numbers: Sequence[int], kinds: Sequence[str], longest: int, mean: float | None = None
) -> Markup:
    """A bar in parts, one after the other, and a line at the mean; `longest` fills the width."""
    bars = []
    before = 0
    for kind, number in zip(kinds, numbers, strict=True):
        bars += [_bar(kind, before / longest, size) for size in _sizes(number, longest)]
        before += number
    # A small part lies above the larger one after it.
    line = _bar("mean", mean / longest, "2") if mean else ""
    return Markup("".join(bars[::-1]) + line)  # noqa: S704 - numbers and our own words


def columns(numbers: Sequence[int], kinds: Sequence[str], highest: int) -> Markup:
    """A column for each number, on one line; `highest` fills the whole height."""
    place = 1 / len(numbers)
    width = _percent(place * (1 - GAP))
    return Markup(  # noqa: S704 - numbers and our own words
        "".join(
            _bar(kind, place * (number + GAP / 2), width, height)
            for number, (kind, hired) in enumerate(zip(kinds, numbers, strict=True))
            for height in _sizes(hired, highest)
        )
    )


def labelled(
    numbers: Sequence[int], headings: Sequence[str], highest: int
) -> tuple[bool, list[tuple[float, float, str, str]]]:
    """Whether the numbers have room on a phone, and the labels: all have a number, or none has.

    A label is its middle and height in percent, a number and a heading, each empty without room.
    """
    texts = [f"{number:,}" for number in numbers]
    characters = len(texts) * (max(map(len, texts)) + 1)
    every = next(n for n in (1, 2, 5, 10) if len(headings) <= n * YEARS_LABELLED)
    return characters <= PHONE_CHARACTERS, [
        (
            100 * (place + 0.5) / len(numbers),
            100 * number / highest,
            text if characters <= DESKTOP_CHARACTERS else "",
            heading if every == 1 or int(heading) % every == 0 else "",
        )
        for place, (number, text, heading) in enumerate(zip(numbers, texts, headings, strict=True))
    ]


def _sizes(number: int, whole: int) -> list[str]:
    """The sizes to draw a number in: none for 0, and a pixel too for a small one."""
    if not number:
        return []
    pixel = ["1"] if 100 * number < SMALL_PERCENT * whole else []
    return [_percent(number / whole), *pixel]


def _bar(kind: str, x: float, width: str, height: str = "100%") -> str:
    return f'<rect class="{kind}" x="{_percent(x)}" width="{width}" height="{height}"/>'


def _percent(part: float) -> str:
    return f"{100 * part:.5g}%"
