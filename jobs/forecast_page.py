"""Renders the forecast's page: past and coming months, and sums beside those of past years."""

from dataclasses import dataclass
from pathlib import Path

import jinja2

from pages.names import Label
from pages.page import STYLE

TEMPLATE = Path(__file__).with_name("forecast.html")
MONTHS_SHOWN = 36
YEARS_SHOWN = 3


@dataclass(frozen=True)
class ForecastDepartment:
    """A department's past and forecast hires by month."""

    label: Label
    past: dict[str, int]
    coming: dict[str, float]


@dataclass(frozen=True)
class Month:
    """A column of a department's chart, in percent of its width and height."""

    name: str
    hires: float
    kind: str
    x: float
    height: float
    low: float
    high: float


def render(departments: list[ForecastDepartment], band: float, better: bool) -> str:
    """Renders the page.

    Args:
        departments: at least one, all with the same months.
        band: the error of a month's forecast in the past, in hires.
        better: whether that error was smaller than that of last year's months.
    """
    past, coming = list(departments[0].past), list(departments[0].coming)
    years = sorted({month[:4] for month in past})[-YEARS_SHOWN:]
    shown = past[-MONTHS_SHOWN:]
    largest = sorted(departments, key=lambda department: -sum(department.coming.values()))
    sums = [
        (
            department.label,
            [sum(n for month, n in department.past.items() if month[:4] == year) for year in years],
            sum(department.coming.values()),
        )
        for department in largest
    ]
    total = (
        Label("Total"),
        [sum(column) for column in zip(*(row[1] for row in sums), strict=True)],
        sum(row[2] for row in sums),
    )
    first = int(coming[0][:4]) * 12 + int(coming[0][5:])
    gap = first - int(past[-1][:4]) * 12 - int(past[-1][5:]) - 1
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text())
    return template.render(
        style=STYLE,
        charts=[(department.label, _months(department, shown, band)) for department in largest],
        years=years,
        rows=[*sums, total],
        coming=coming,
        past=past,
        # The month of the backup itself is not over.
        gap=gap if gap > 1 else 0,
        band=band,
        better=better,
    )


def _months(department: ForecastDepartment, shown: list[str], band: float) -> list[Month]:
    months: list[tuple[str, str, float, float]] = [
        ("past", name, department.past[name], 0) for name in shown
    ]
    months += [("coming", name, hires, band) for name, hires in department.coming.items()]
    top = max(1, *(hires + beside for _, _, hires, beside in months))
    return [
        Month(
            name,
            hires,
            kind,
            100 * place / len(months),
            100 * hires / top,
            100 * max(hires - beside, 0) / top,
            100 * (hires + beside) / top if beside else 0,
        )
        for place, (kind, name, hires, beside) in enumerate(months)
    ]
