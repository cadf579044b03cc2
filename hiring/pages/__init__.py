"""What a report looks like: a grid for terminals, CSV for spreadsheets, a page for browsers.

JSON is not here: it shows the rows as they are, see `reports.as_json`. Of the page, this is what
`templates/report.html` is filled with: words, sums, and where in the chart each bar goes. Nothing
here knows Flask or SQL.
"""

import base64
import csv
import functools
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import tabulate
import wcwidth
from markupsafe import Markup

import reports
from reports import Report, ReportRow

TERMINAL_COLUMNS = 80
NARROWEST_NAME = 12
"""A column of names is never wrapped to less, even where the grid then is too wide."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula: https://owasp.org/www-community/attacks/CSV_Injection"""

QUARTERS = ("Q1", "Q2", "Q3", "Q4")
BARS = 24
"""A chart shows as many departments, those that hired most."""
LABEL_COLUMNS = 28
"""How wide a name in the chart may be, in columns of a terminal; a longer one is cut."""
DIGIT_PERCENT = 1.2
"""What a digit in a bar takes of the chart's width on a wide screen; twice that on a phone."""

TEMPLATES = Path(__file__).parent / "templates"

# Control characters could move a terminal's cursor or break a line: their pictures cannot.
# https://www.unicode.org/charts/PDF/U2400.pdf
_PICTURES = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: "\u2421"}
    | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
)


def visible(value: object) -> str:
    """A name or an id as text without control characters; nothing for NULL."""
    shown = reports.plain(value)
    return "" if shown is None else str(shown).translate(_PICTURES)


# Text


def as_text(report: Report, rows: list[ReportRow]) -> str:
    """The report as tabulate's grid, no wider than a terminal: long names are wrapped."""
    shown = [[visible(value) for value in row[: len(report.columns)]] for row in rows]
    is_name = [column in reports.NAMES for column in report.columns]
    for place, width in _widths(report, is_name, shown).items():
        for cells in shown:
            cells[place] = "\n".join(_lines(cells[place], width))
    grid = tabulate.tabulate(
        shown,
        report.columns,
        "grid",
        # A job called 007 is a name, not a number.
        disable_numparse=True,
        colalign=["left" if name else "right" for name in is_name],
    )
    return grid + "\n"


def _widths(report: Report, is_name: list[bool], shown: list[list[str]]) -> dict[int, int]:
    """The columns of names, by their place, and how wide they may be for the grid to fit."""
    # tabulate gives every header two columns more.
    headers = [f"{column}  " for column in report.columns]
    natural = [max(map(_columns, cells)) for cells in zip(headers, *shown, strict=True)]
    borders = 3 * len(natural) + 1
    numbers = sum(width for width, name in zip(natural, is_name, strict=True) if not name)
    room = TERMINAL_COLUMNS - borders - numbers
    names = sorted((width, place) for place, width in enumerate(natural) if is_name[place])
    widths = {}
    # The narrowest first: what it does not need is the others'.
    for count, (width, place) in enumerate(names):
        widths[place] = min(width, max(room // (len(names) - count), NARROWEST_NAME))
        room -= widths[place]
    return widths


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else wcwidth.width(text)


def _lines(text: str, columns: int) -> list[str]:
    """A text in lines of so many columns of a terminal."""
    return [text] if _columns(text) <= columns else wcwidth.wrap(text, columns)


# CSV


def as_csv(report: Report, rows: list[ReportRow]) -> str:
    """The report as CSV, RFC 4180, with a header line; safe to open in a spreadsheet."""
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(report.columns)
    writer.writerows([_harmless(value) for value in row[: len(report.columns)]] for row in rows)
    return output.getvalue()


def _harmless(value: object) -> int | str | None:
    """A name that a spreadsheet would run as a formula gets an apostrophe, numbers stay numbers."""
    shown = reports.plain(value)
    return f"'{shown}" if isinstance(shown, str) and shown.startswith(FORMULA_STARTS) else shown


# The page


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


@dataclass(frozen=True)
class Group:
    """One department's part of the quarterly table.

    Attributes:
        name: the department's.
        jobs: for each job its name, and its hires in each quarter and the year.
        hires: the department's in each quarter and the year.
    """

    name: str
    jobs: list[tuple[str, list[int]]]
    hires: list[int]


def render(report: Report, year: int, rows: list[ReportRow], years: list[int] | None) -> str:
    """The page of a report; the arguments are those of `view`."""
    return _environment().get_template("report.html").render(view(report, year, rows, years))


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)


def view(
    report: Report, year: int, rows: list[ReportRow], years: list[int] | None
) -> dict[str, Any]:
    """What `templates/report.html` shows.

    Args:
        report: which.
        year: the year that the rows are of.
        rows: as `reports.run` returns them.
        years: the years with hires to link to, None where they are not known.
    """
    fill = _quarterly if report is reports.QUARTERLY_HIRED else _by_department
    return {
        "report": report,
        "year": year,
        "years": sorted({*(years or []), year}),
        "grouped": "{:,}".format,
        "style": Markup(_asset("report.css")),  # noqa: S704 - files of our own
        **fill(year, rows, years),
    }


def _quarterly(year: int, rows: list[ReportRow], years: list[int] | None) -> dict[str, Any]:
    groups = _groups(rows)
    if not groups:
        return {"groups": [], "summary": _nothing(year, years)}
    hires = _sums([group.hires for group in groups])
    by_hires = sorted(groups, key=lambda group: -group.hires[-1])
    return {
        "groups": groups,
        "hires": hires,
        "summary": _quarterly_summary(by_hires, hires),
        "chart": _chart([(group.name, group.hires[:-1]) for group in by_hires], QUARTERS),
        "script": Markup(_asset("report.js")),  # noqa: S704
    }


def _groups(rows: list[ReportRow]) -> list[Group]:
    """The rows by department; departments of one name are told apart by their ids."""
    jobs: dict[tuple[object, str], list[tuple[str, list[int]]]] = {}
    for department, job, *quarters, department_id in rows:
        group = jobs.setdefault((department_id, visible(department)), [])
        group.append((visible(job), [*quarters, sum(quarters)]))
    return [
        Group(name, group, _sums([hires for _, hires in group]))
        for (_, name), group in jobs.items()
    ]


def _sums(rows: list[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]


def _quarterly_summary(by_hires: list[Group], hires: list[int]) -> str:
    *quarters, year = hires
    most = by_hires[0]
    where = f"in {most.name}"
    if len(by_hires) > 1:
        where = f"in {len(by_hires):,} departments; {most.name} hired most ({most.hires[-1]:,})"
    busiest = max(quarters)
    names = [name for name, hired in zip(QUARTERS, quarters, strict=True) if hired == busiest]
    quarter, each = ("quarter", "") if len(names) == 1 else ("quarters", " each")
    return (
        f"{_count(year, 'hire')} {where}."
        f" Busiest {quarter}: {' and '.join(names)}, with {busiest:,}{each}."
    )


def _by_department(year: int, rows: list[ReportRow], years: list[int] | None) -> dict[str, Any]:
    if not rows:
        return {"departments": [], "summary": _nothing_above_mean(year, years)}
    departments = [(visible(id_), visible(name), hired) for id_, name, hired, _ in rows]
    mean = rows[0][-1]
    above = _count(len(rows), "department")
    _, most, hired = departments[0]
    return {
        "departments": departments,
        "hires": [sum(hired for _, _, hired in departments)],
        "summary": f"{above} hired more than the mean of {mean:,.1f} in {year}."
        f" {most} hired most: {hired:,}.",
        "chart": _chart([(name, [hired]) for _, name, hired in departments], ("hired",), mean),
    }


def _nothing(year: int, years: list[int] | None) -> str:
    if years is not None and year in years:
        return f"No hire of {year} has a department and a job that exist."
    return f"Nobody was hired in {year}."


def _nothing_above_mean(year: int, years: list[int] | None) -> str:
    if years is not None and year not in years:
        return _nothing(year, years)
    return (
        f"No department hired more than the mean in {year}."
        " So it is where one hires alone, or all hire the same number."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _chart(
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
        Bar(name, _cut(name), sum(hires), _segments(hires, kinds, longest))
        for name, hires in departments[:BARS]
    ]
    line = None if mean is None else (f"{mean:,.1f}", _percent(mean, longest))
    return Chart(bars, len(departments) - len(bars), line)


def _segments(hires: list[int], kinds: tuple[str, ...], longest: int) -> list[Segment]:
    segments = []
    before = 0
    for kind, hired in zip(kinds, hires, strict=True):
        width = _percent(hired, longest)
        room = width / (len(f"{hired:,}") + 0.75) / DIGIT_PERCENT
        # A bar of one part has its number at its end.
        label = f"{hired:,}" if len(kinds) > 1 and room >= 1 else ""
        if hired:
            tight = bool(label) and room < 2
            segments.append(Segment(kind.lower(), _percent(before, longest), width, label, tight))
        before += hired
    return segments


def _percent(part: Any, whole: int) -> float:
    return round(100 * float(part) / whole, 3)


def _cut(name: str) -> str:
    """A name no wider than LABEL_COLUMNS."""
    if _columns(name) <= LABEL_COLUMNS:
        return name
    return wcwidth.clip(name, 0, LABEL_COLUMNS - 1).rstrip() + "…"


# What the page carries: its style and its script, and the policy that lets nothing else in


@functools.cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@functools.cache
def content_security_policy() -> str:
    """The page's own style and script, by their hashes, and nothing else from anywhere.

    Hashes stay the same from answer to answer, where nonces would change the page's ETag:
    https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    style, script = (_hash(_asset(name)) for name in ("report.css", "report.js"))
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
