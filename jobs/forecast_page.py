"""Renders the forecast's page: past and coming months, and sums beside those of past years."""

from pathlib import Path
from typing import Any

import jinja2

from jobs.hire_history import YEAR, History, as_text
from pages.names import Label, labels
from pages.page import STYLE

TEMPLATE = Path(__file__).with_name("forecast.html")
YEARS_SHOWN = 3


def render(history: History, forecast: list[dict[str, Any]], errors: dict[str, Any]) -> str:
    """Renders the page.

    Args:
        history: with at least one department.
        forecast: a row for each department and coming month, in the order of the departments.
        errors: of the forecast in the past.
    """
    months = [as_text(month) for month in range(history.start, history.end)]
    names = labels(history.departments)
    years = sorted({month[:4] for month in months})[-YEARS_SHOWN:]
    departments = []
    for place, (key, hires) in enumerate(history.hires.items()):
        past = [(month, int(number)) for month, number in zip(months, hires, strict=True)]
        sums = [sum(number for month, number in past if month[:4] == year) for year in years]
        coming = [(row["month"], row["hires"]) for row in forecast[place * YEAR :][:YEAR]]
        total = sum(number for _, number in coming)
        departments.append((names[key], past[-YEARS_SHOWN * YEAR :], coming, [*sums, total]))
    departments.sort(key=lambda department: -department[3][-1])
    rows = [(label, sums) for label, _, _, sums in departments]
    totals = [sum(column) for column in zip(*(sums for _, sums in rows), strict=True)]
    gap = history.coming - history.end
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text())
    return template.render(
        style=STYLE,
        charts=departments,
        years=years,
        rows=[*rows, (Label("Total"), totals)],
        coming=[as_text(history.coming), as_text(history.coming + YEAR - 1)],
        last=months[-1],
        # The month of the backup itself is not over.
        gap=gap if gap > 1 else 0,
        band=errors["all"]["poisson"]["root_mean_squared_error"],
        better=errors["better"] == "poisson",
    )
