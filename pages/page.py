"""Renders the page of a report and of an error; the policy of both allows nothing else."""

import base64
import datetime
import hashlib
from collections.abc import Iterator
from pathlib import Path

import jinja2
from markupsafe import Markup

import reports
from pages.found import Found
from pages.names import visible
from pages.query import ReportQuery
from pages.view import PageTable, signed

TEMPLATES = Path(__file__).parent / "templates"
STYLE = Markup((TEMPLATES / "report.css").read_text("utf-8"))  # noqa: S704 - a file of our own
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:;"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Allows the page's own style by its hash and its own form, and nothing else: no script runs.

A hash is the same in each answer; a nonce would change the page's ETag:
https://www.w3.org/TR/CSP3/#grammardef-hash-source
"""
READ_AT = b"<time></time>"  # no name can look like it
PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, auto_reload=False
)
PAGES.globals |= {"style": STYLE, "visible": visible, "signed": signed, "grouped": "{:,}".format}


def render(found: Found, host: str = "", database: str = "") -> Iterator[str]:
    """Yields the page of a report in pieces; `host` is the one that the request was sent to.

    The time at which its rows were read is left out: see `dated`.
    """
    query, years = found.query, found.years or []
    single = [query.first] if query.last is None else []
    periods: dict[tuple[int, int | None], str] = {
        (year, None): str(year) for year in sorted({*years, *single})
    }
    if query.last:
        periods[query.first, query.last] = query.period
    # The longest range of the last years that a report can have.
    recent = [year for year in years if year > years[-1] - reports.MOST_YEARS]
    if recent[1:]:
        periods[recent[0], recent[-1]] = f"{recent[0]}–{recent[-1]} side by side"
    return PAGES.get_template("report.html").generate(
        query=query,
        found=found,
        table=PageTable(found) if found.departments else None,
        periods=periods,
        other=_link_to_other(query, host),
        database=database,
    )


def dated(page: bytes, read_at: datetime.datetime) -> bytes:
    """The page with the time at which its rows were read."""
    time = f'<time datetime="{read_at:%Y-%m-%dT%H:%M:%SZ}">{read_at:%Y-%m-%d %H:%M:%S} UTC</time>'
    return page.replace(READ_AT, time.encode(), 1)


def render_error(status: int, code: str, message: str, back: str) -> str:
    """The page of an error, with a link to the query `back`, unless that is empty."""
    template = PAGES.get_template("error.html")
    return template.render(status=status, code=code, message=message, back=back)


def _link_to_other(query: ReportQuery, host: str) -> str:
    """The address of the other report, for the same years.

    Cloud Run gives each function its own host, which begins with the function's name and is
    otherwise the same within a project; elsewhere the functions share one host.
    """
    other = reports.REPORTS[query.by_quarter]
    link = ReportQuery(other, query.first, query.last).link()
    if host.startswith(f"{query.report.name}-") and host.endswith(".run.app"):
        return f"https://{host.replace(query.report.name, other.name, 1)}/{link}"
    return f"{other.name}{link}"
