"""A report for browsers: what `templates/report.html` is filled with."""

import functools
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

import reports
from hiring.pages.assets import TEMPLATES, asset
from hiring.pages.chart import draw
from hiring.pages.names import visible
from reports import Report, ReportRow

QUARTERS = ("Q1", "Q2", "Q3", "Q4")


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
        "style": Markup(asset("report.css")),  # noqa: S704 - files of our own
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
        "chart": draw([(group.name, group.hires[:-1]) for group in by_hires], QUARTERS),
        "script": Markup(asset("report.js")),  # noqa: S704
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
        "chart": draw([(name, [hired]) for _, name, hired in departments], ("hired",), mean),
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
