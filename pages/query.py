"""A report's request: its parameters and formats, and the links to other requests."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

import reports
from hiring.errors import BadParameter
from hiring.request import Parameters
from reports import Report

TEXT, HTML, JSON, CSV = "text/plain", "text/html", "application/json", "text/csv"
NDJSON = "application/x-ndjson"
FORMATS = {"text": TEXT, "html": HTML, "json": JSON, "ndjson": NDJSON, "csv": CSV}
"""The media type of each format, by its name in a request."""

QUARTERS = {"q1": "Q1", "q2": "Q2", "q3": "Q3", "q4": "Q4"}
FILTER_CHARACTERS = 200
MOST_OPEN = 500
"""Maximum number of departments to open by name: each link of the page repeats them."""


@dataclass(frozen=True)
class ReportQuery:
    """A request for a report on one year, or on several: then `last` is the last of them.

    From `chart` on, the attributes are parameters of the page: see docs/reports.md.
    """

    report: Report
    first: int
    last: int | None = None
    chart: str = "stacked"
    order: str = "-hires"
    filter: str = ""
    jobs: str = "folded"
    open: tuple[str, ...] = ()

    @property
    def years(self) -> str:
        """The year or the range, as in a request."""
        return str(self.first) if self.last is None else f"{self.first}-{self.last}"

    @property
    def period(self) -> str:
        """The year or the range, for people."""
        return self.years.replace("-", "–")

    @property
    def all_years(self) -> range:
        """The requested years."""
        return range(self.first, (self.last or self.first) + 1)

    @property
    def by_quarter(self) -> bool:
        """Whether this is the report with quarters and jobs."""
        return self.report is reports.QUARTERLY_HIRED

    @property
    def in_columns(self) -> bool:
        """Whether the page draws a small column for each quarter or year."""
        return self.last is not None or (self.by_quarter and self.chart == "quarters")

    @property
    def columns(self) -> tuple[str, ...]:
        """The report's columns; for several years, the year comes first."""
        return self.report.columns if self.last is None else ("year", *self.report.columns)

    @property
    def headings(self) -> dict[str, str]:
        """The headings of the page's table, by the column's name in `order`."""
        if self.last is not None:
            years = list(map(str, self.all_years))
            return {"name": "Department", "hires": "Hired", **dict(zip(years, years, strict=True))}
        change = {"change": f"vs {self.first - 1}"}
        if self.by_quarter:
            return {"name": "Department", **QUARTERS, "hires": "Hired", **change}
        distance = {"share": "Share", "mean": "From the mean"}
        return {"id": "ID", "name": "Department", "hires": "Hired", **distance, **change}

    @property
    def sorted_by(self) -> tuple[str, bool]:
        """The column to sort by, and whether its largest value comes first."""
        return self.order.removeprefix("-"), self.order.startswith("-")

    def with_(self, **changes: Any) -> "ReportQuery":
        """This query with other attributes, without its order if that does not exist there."""
        other = dataclasses.replace(self, **changes)
        fits = other.sorted_by[0] in other.headings
        return other if fits else dataclasses.replace(other, order="-hires")

    def sorted_otherwise(self, column: str) -> "ReportQuery":
        """This query, sorted by a column, largest numbers first; in reverse if it is so already."""
        current, descending = self.sorted_by
        falling = not descending if column == current else column not in ("name", "id")
        return self.with_(order=f"-{column}" if falling else column)

    def toggled(self, department: str) -> "ReportQuery":
        """This query with a department opened, or folded if it is open."""
        if self.jobs == "shown":
            return self.with_(jobs="folded", open=(department,))
        rest = tuple(each for each in self.open if each != department)
        return self.with_(open=rest if rest != self.open else (*rest, department)[-MOST_OPEN:])

    def parameters(self, format_: str) -> dict[str, str]:
        """The parameters of an address that asks for this, without those that have no effect."""
        asked = {"year": self.years, "format": format_}
        for name in PAGE_PARAMETERS if format_ == "html" else ():
            value = getattr(self, name)
            if value != getattr(ReportQuery, name):  # its default
                asked[name] = ",".join(map(quote, value)) if name == "open" else value
        return asked

    def link(self, format_: str = "html") -> str:
        """The query string: a deployed function sees the path `/`, whatever its address is."""
        return f"?{urlencode(self.parameters(format_), safe=',')}"


def read_query(report: Report, asked: Mapping[str, Any], media_type: str) -> ReportQuery:
    """The query of a request, from its converted parameters.

    Raises:
        BadParameter: the parameters do not fit each other, the report or the format.
    """
    first, last = asked.get("year", (reports.DEFAULT_YEAR, None))
    for_page = {name: value for name, value in asked.items() if name in PAGE_PARAMETERS}
    if for_page and media_type != HTML:
        raise BadParameter(f"{next(iter(for_page))} is for the page alone, format=html")
    query = ReportQuery(report, first, last, **for_page)
    if query.sorted_by[0] not in query.headings:
        orders = ", ".join(query.headings)
        raise BadParameter(f"order takes one of {orders}; - in front puts the largest first")
    return query


# Parameters: each function converts the value of one parameter


def _years(value: str) -> tuple[int, int | None]:
    if found := re.fullmatch(r"([0-9]{4})(?:-([0-9]{4}))?", value):
        first, last = int(found[1]), int(found[2] or found[1])
        in_range = reports.FIRST_YEAR <= first <= last <= reports.LAST_YEAR
        if in_range and last - first < reports.MOST_YEARS:
            return first, last if found[2] else None
    raise BadParameter(
        f"year takes four digits, {reports.FIRST_YEAR} to {reports.LAST_YEAR}, or a range of at"
        f" most {reports.MOST_YEARS} years; for example year=2021 or year=2019-2021"
    )


def _filter(value: str) -> str:
    if len(value) <= FILTER_CHARACTERS:
        return value.strip()
    raise BadParameter(f"filter takes at most {FILTER_CHARACTERS} characters")


def _open(value: str) -> tuple[str, ...]:
    # An id that is text may hold a comma: the page's links quote it.
    opened = tuple(dict.fromkeys(unquote(each) for each in value.split(",") if each))
    if len(opened) <= MOST_OPEN:
        return opened
    raise BadParameter(f"open takes at most {MOST_OPEN} ids; jobs=shown opens all departments")


PAGE_PARAMETERS: Parameters = {
    "chart": {"stacked": "stacked", "quarters": "quarters"},
    "order": lambda value: value or ReportQuery.order,
    "filter": _filter,
    "jobs": {"shown": "shown", "folded": "folded"},
    "open": _open,
}
"""The parameters that only the page accepts."""

REPORT_PARAMETERS: Parameters = {"year": _years, "format": FORMATS, **PAGE_PARAMETERS}
