"""The chart of a report: the place of each bar, in percent of the chart's width."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pages.names import Label

BARS = 24
"""Number of departments in a chart: those that hired most."""
PANELS = 10
"""Number of years that a chart shows side by side: the last ones."""
PANELS_ON_A_PHONE = 5
"""Number of panels beyond which a phone has no room for numbers."""
PANEL_PART = 0.55
"""The part of a panel that its longest bar fills; its number needs the rest."""
DIGIT_PERCENT = 1.2
"""Width of a digit in percent of the chart's width on a wide screen; twice that on a phone."""


@dataclass(frozen=True)
class Department:
    """A department in the chart.

    Attributes:
        label: name of the department.
        hires: a number for each part of its bar, or for each panel.
        change: since the year before, as text, if there is one.
        quiet: whether its bar is grey.
        out: whether the filter hides it.
    """

    label: Label
    hires: list[int]
    change: str = ""
    quiet: bool = False
    out: bool = False


@dataclass(frozen=True)
class Segment:
    """A part of a bar.

    Attributes:
        kind: the CSS class for its colour.
        start: its left end, in percent of the chart's width.
        width: in percent of the chart's width.
        label: the number in it or, in a panel, after it; empty if there is no room.
        tight: whether only a wide screen has room for the label.
    """

    kind: str
    start: float
    width: float
    label: str
    tight: bool = False

    @property
    def middle(self) -> float:
        """The place of a label in it, in percent of the chart's width."""
        return round(self.start + self.width / 2, 3)

    @property
    def end(self) -> float:
        """Its right end, in percent of the chart's width."""
        return round(self.start + self.width, 3)


@dataclass(frozen=True)
class Bar:
    """A department and its bar, or its bars in several panels."""

    department: Department
    hired: int
    segments: list[Segment]

    @property
    def end(self) -> float:
        """Its right end, in percent of the chart's width; a hire in month 0 is in no quarter."""
        return self.segments[-1].end if self.segments else 0.0


@dataclass(frozen=True)
class Chart:
    """A bar for each department, most hires first.

    Attributes:
        bars: at most BARS.
        left_out: number of departments without a bar.
        key: the names of a bar's parts.
        panels: heading and left end of each panel, in percent; empty for one bar a department.
        mean: the mean of the departments, as text, and the place of its line, in percent.
        panels_left_out: number of years without a panel.
    """

    bars: list[Bar]
    left_out: int
    key: tuple[str, ...] = ()
    panels: tuple[tuple[str, float], ...] = ()
    mean: tuple[str, float] | None = None
    panels_left_out: int = 0


def stacked(
    departments: list[Department], kinds: tuple[str, ...], mean: Decimal | None = None
) -> Chart:
    """A chart with one bar for each department, in parts; the longest bar fills the chart.

    Args:
        departments: most hires first, with a number for each of `kinds`.
        kinds: names of a bar's parts.
        mean: the mean of the departments.
    """
    longest = sum(departments[0].hires) or 1
    bars = [
        Bar(department, sum(department.hires), _parts(department, kinds, longest))
        for department in departments[:BARS]
    ]
    line = None if mean is None else (f"{mean:,.1f}", _percent(mean, longest))
    key = kinds if len(kinds) > 1 else ()
    return Chart(bars, len(departments) - len(bars), key, mean=line)


def _parts(department: Department, kinds: tuple[str, ...], longest: int) -> list[Segment]:
    segments = []
    before = 0
    for kind, hired in zip(kinds, department.hires, strict=True):
        width = _percent(hired, longest)
        room = width / (len(f"{hired:,}") + 0.75) / DIGIT_PERCENT
        # The number of a bar with one part is after the bar.
        label = f"{hired:,}" if len(kinds) > 1 and room >= 1 else ""
        if hired:
            tight = bool(label) and room < 2
            kind = "rest" if department.quiet else kind.lower()
            segments.append(Segment(kind, _percent(before, longest), width, label, tight))
        before += hired
    return segments


def side_by_side(departments: list[Department], headings: Sequence[str]) -> Chart:
    """A chart with a panel for each heading, all on one scale, with a bar for each department.

    Args:
        departments: most hires first, with a number for each heading.
        headings: quarters or years, of which the last PANELS are shown.
    """
    shown = headings[-PANELS:]
    width = 100 / len(shown)
    quarters = not shown[0].isdecimal()
    longest = max(max(department.hires[-PANELS:]) for department in departments) or 1
    bars = [
        Bar(
            department,
            sum(department.hires),
            [
                Segment(
                    heading.lower() if quarters else "hired",
                    round(place * width, 3),
                    round(_percent(hired, longest) * width * PANEL_PART / 100, 3),
                    f"{hired:,}",
                    len(shown) > PANELS_ON_A_PHONE,
                )
                for place, (heading, hired) in enumerate(
                    zip(shown, department.hires[-PANELS:], strict=True)
                )
            ],
        )
        for department in departments[:BARS]
    ]
    panels = tuple((heading, round(place * width, 3)) for place, heading in enumerate(shown))
    left_out = len(departments) - len(bars)
    return Chart(bars, left_out, panels=panels, panels_left_out=len(headings) - len(shown))


def _percent(part: Decimal | int, whole: int) -> float:
    return round(100 * float(part) / whole, 3)
