"""The chart of a report: where each bar goes, in percent of the chart's width."""

from dataclasses import dataclass
from typing import Any

from hiring.pages.names import cut

BARS = 24
"""A chart shows as many departments, those that hired most."""
LABEL_COLUMNS = 28
"""How wide a name in the chart may be, in columns of a terminal; a longer one is cut."""
DIGIT_PERCENT = 1.2
"""What a digit in a bar takes of the chart's width on a wide screen; twice that on a phone."""


@dataclass(frozen=True)
class Segment:
    """A part of a bar: one quarter's hires, or all of them.

    Attributes:
        kind: the class that gives it its colour.
        start: where it begins, in percent of the chart's width.
        width: in percent of the chart's width.
        label: the number in it, where there is room for one.
        tight: whether there is room on a wide screen only.
    """

    kind: str
    start: float
    width: float
    label: str
    tight: bool = False

    @property
    def middle(self) -> float:
        """Where its label goes, in percent of the chart's width."""
        return round(self.start + self.width / 2, 3)


@dataclass(frozen=True)
class Bar:
    """A department's bar in the chart; `label` is its name, cut where it is long."""

    name: str
    label: str
    hired: int
    segments: list[Segment]

    @property
    def end(self) -> float:
        """Where it ends, in percent of the chart's width."""
        return round(sum(segment.width for segment in self.segments), 3)


@dataclass(frozen=True)
class Chart:
    """A bar for each department, most hires first.

    Attributes:
        bars: no more than BARS.
        left_out: how many departments have no bar.
        mean: the mean of the departments, as text, and where its line stands, in percent.
    """

    bars: list[Bar]
    left_out: int
    mean: tuple[str, float] | None = None


def draw(
    departments: list[tuple[str, list[int]]], kinds: tuple[str, ...], mean: Any = None
) -> Chart:
    """Places the bars: the longest is as long as the chart is wide.

    Args:
        departments: name and hires, most hires first, with a number for each of `kinds`.
        kinds: what the parts of a bar are.
        mean: the mean of the departments.
    """
    longest = sum(departments[0][1])
    bars = [
        Bar(name, cut(name, LABEL_COLUMNS), sum(hires), _segments(hires, kinds, longest))
        for name, hires in departments[:BARS]
    ]
    line = None if mean is None else (f"{mean:,.1f}", percent(mean, longest))
    return Chart(bars, len(departments) - len(bars), line)


def _segments(hires: list[int], kinds: tuple[str, ...], longest: int) -> list[Segment]:
    segments = []
    before = 0
    for kind, hired in zip(kinds, hires, strict=True):
        width = percent(hired, longest)
        room = width / (len(f"{hired:,}") + 0.75) / DIGIT_PERCENT
        # A bar of one part has its number at its end.
        label = f"{hired:,}" if len(kinds) > 1 and room >= 1 else ""
        if hired:
            tight = bool(label) and room < 2
            segments.append(Segment(kind.lower(), percent(before, longest), width, label, tight))
        before += hired
    return segments


def percent(part: Any, whole: int) -> float:
    return round(100 * float(part) / whole, 3)
