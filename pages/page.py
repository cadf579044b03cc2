"""Renders the page of a report and the page of an error."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

import reports
from hiring.mysql.connection import Connection
from pages import by_department, quarterly, several_years
from pages.assets import TEMPLATES, asset
from pages.query import ReportQuery
from reports import ReportRow


@dataclass(frozen=True)
class Found:
    """The rows that the page shows.

    Attributes:
        rows: of the requested years, including those that the report leaves out.
        before: of the year before a single year.
        years: years with hires to link to; None if they are not known.
    """

    rows: list[ReportRow]
    before: list[ReportRow]
    years: list[int] | None


def read(connection: Connection, query: ReportQuery) -> Found:
    """Reads the rows of the report and of the year before, and the years with hires."""
    rows = list(reports.run(connection, query.report, query.first, query.last, every_row=True))
    before = []
    if query.last is None and query.first > reports.FIRST_YEAR:
        before = list(reports.run(connection, query.report, query.first - 1, every_row=True))
    return Found(rows, before, reports.years_with_hires(connection, query.first))


def render(query: ReportQuery, found: Found, host: str = "") -> Iterator[str]:
    """Yields the page of a report in pieces.

    Args:
        query: the request's.
        found: the rows to show.
        host: that the request was sent to.
    """
    return _environment().get_template("report.html").generate(view(query, found, host))


def render_error(status: int, code: str, message: str) -> str:
    """The page of an error, with the message that a program gets as JSON."""
    template = _environment().get_template("error.html")
    return template.render(status=status, code=code, message=message, style=_style())


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)


def _style() -> Markup:
    return Markup(asset("report.css"))  # noqa: S704 - a file of our own


def view(query: ReportQuery, found: Found, host: str = "") -> dict[str, Any]:
    """The values for `templates/report.html`; the arguments are those of `render`."""
    if query.last is not None:
        filled = several_years.view(query, found.rows)
    else:
        fill = quarterly.view if query.report is reports.QUARTERLY_HIRED else by_department.view
        filled = fill(query, found.rows, found.before, found.years)
    years = sorted({*(found.years or []), *([] if query.last else [query.first])})
    has_jobs = query.report is reports.QUARTERLY_HIRED
    return {
        "query": query,
        "report": query.report,
        "title": _title(query),
        "years": years,
        "every_year": (years[-reports.MOST_YEARS :][0], years[-1]) if len(years) > 1 else None,
        "other": _link_to_other(query, host),
        "has_jobs": has_jobs,
        "grouped": "{:,}".format,
        "style": _style(),
        "script": Markup(asset("report.js")),  # noqa: S704
        **filled,
    }


def _title(query: ReportQuery) -> str:
    if query.report is reports.QUARTERLY_HIRED and query.last is not None:
        return "Hires per department and job in each year"
    if query.report is reports.HIRING_BY_DEPARTMENT:
        return "Hires per department and their mean"
    return query.report.title


def _link_to_other(query: ReportQuery, host: str) -> tuple[str, str]:
    """Title and address of the other report, for the same years.

    Cloud Run gives each function its own host, which begins with the function's name and is
    otherwise the same within a project; elsewhere the functions share one host.
    """
    pair = (reports.QUARTERLY_HIRED, reports.HIRING_BY_DEPARTMENT)
    other = pair[1] if query.report is pair[0] else pair[0]
    link = ReportQuery(other, query.first, query.last).link()
    titles = {pair[0].name: "hires per quarter", pair[1].name: "departments and their mean"}
    if host.startswith(f"{query.report.name}-") and host.endswith(".run.app"):
        host = host.replace(query.report.name, other.name, 1)
        return titles[other.name], f"https://{host}/{link}"
    return titles[other.name], f"{other.name}{link}"
