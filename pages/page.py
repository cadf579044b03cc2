"""Renders the page of a report and of an error; the policy of both allows nothing else."""

import base64
import datetime
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import jinja2
from markupsafe import Markup

import reports
from pages import words
from pages.found import Found
from pages.names import visible
from pages.query import ReportQuery
from pages.view import PageTable

TEMPLATES = Path(__file__).parent / "templates"
READ_AT = b"<time></time>"
"""The place of the time at which the rows were read; no name can look like it."""


def render(found: Found, host: str = "", database: str = "") -> Iterator[str]:
    """Yields the page of a report in pieces, without the time at which its rows were read.

    Args:
        found: what to show.
        host: that the request was sent to.
        database: the name of the database.
    """
    query = found.query
    single = [query.first] if query.last is None else []
    years = found.years or []
    return (
        _environment()
        .get_template("report.html")
        .generate(
            query=query,
            found=found,
            table=PageTable(found) if found.departments else None,
            summary=words.summary(found) if found.departments else words.nothing(found),
            title=_title(query),
            years=sorted({*years, *single}),
            every_year=_every_year(years),
            other=_link_to_other(query, host),
            database=database,
            grouped="{:,}".format,
        )
    )


def dated(page: bytes, read_at: datetime.datetime) -> bytes:
    """The page with the time at which its rows were read."""
    time = f'<time datetime="{read_at:%Y-%m-%dT%H:%M:%SZ}">{read_at:%Y-%m-%d %H:%M:%S} UTC</time>'
    return page.replace(READ_AT, time.encode(), 1)


def render_error(status: int, code: str, message: str, back: str) -> str:
    """The page of an error, with the message that a program gets as JSON.

    Args:
        status: of HTTP.
        code: of the error.
        message: for people.
        back: the query to link to; empty for none.
    """
    template = _environment().get_template("error.html")
    return template.render(status=status, code=code, message=message, back=back)


@functools.cache
def style() -> Markup:
    """The style of every page."""
    return Markup((TEMPLATES / "report.css").read_text("utf-8"))  # noqa: S704 - a file of our own


@functools.cache
def content_security_policy() -> str:
    """A policy that allows the page's own style by its hash and its own form, and nothing else.

    No script runs. A hash is the same in each answer; a nonce would change the page's ETag:
    https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, auto_reload=False
    )
    environment.globals["style"] = style()
    environment.filters["visible"] = visible
    return environment


def _title(query: ReportQuery) -> str:
    if not query.by_quarter:
        return "Hires per department and their mean"
    return query.report.title if query.last is None else "Hires per department and job in each year"


def _every_year(years: list[int]) -> tuple[int, int] | None:
    """The longest range of the last years that a report can have; None for a single year."""
    shown = [year for year in years if year > years[-1] - reports.MOST_YEARS]
    return (shown[0], shown[-1]) if len(shown) > 1 else None


def _link_to_other(query: ReportQuery, host: str) -> tuple[str, str]:
    """Title and address of the other report, for the same years.

    Cloud Run gives each function its own host, which begins with the function's name and is
    otherwise the same within a project; elsewhere the functions share one host.
    """
    other = reports.REPORTS[query.by_quarter]
    link = ReportQuery(other, query.first, query.last).link()
    title = "departments and their mean" if query.by_quarter else "hires per quarter"
    if host.startswith(f"{query.report.name}-") and host.endswith(".run.app"):
        host = host.replace(query.report.name, other.name, 1)
        return title, f"https://{host}/{link}"
    return title, f"{other.name}{link}"
