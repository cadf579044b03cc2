"""The page of either report on several years, side by side."""

from collections import defaultdict
from typing import Any

from markupsafe import Markup

import reports
from pages import chart, quarterly, table_rows
from pages.names import Label, labels, visible
from pages.query import ReportQuery
from pages.table_rows import Section, TableColumn, TableRow
from pages.words import count
from reports import ReportRow


def view(query: ReportQuery, rows: list[ReportRow]) -> dict[str, Any]:
    """The template's values for several years, with a column for each.

    Args:
        query: the request's.
        rows: as `reports.run` returns them, each with its year in front.
    """
    if not rows:
        words = f"between {query.all_years[0]} and {query.all_years[-1]}"
        return {"summary": Markup("Nobody was hired {}.").format(words)}
    years = tuple(map(str, query.all_years))
    numbers = (*years, "hires")
    if query.report is reports.QUARTERLY_HIRED:
        sections = _departments_with_jobs(query, rows, numbers)
        lines = [each.head for each in sections if each.head]
        found = table_rows.arrange(_unfiltered(rows, numbers), ("hires", True))
        first = "Job"
    else:
        lines = _departments(rows, numbers)
        sections = [Section(table_rows.arrange(lines, query.sorted_by))]
        found = table_rows.arrange(lines, ("hires", True))
        first = "Department"
    departments = [
        chart.Department(line.label, [int(line.numbers[year]) for year in years]) for line in found
    ]
    everything = table_rows.add_up(found, numbers)
    total = quarterly.total(sections, numbers, 0)
    most = departments[0]
    result = {
        "summary": Markup("{} in {}, {}; {} hired most ({:,}). Busiest year: {}.").format(
            count(int(everything["hires"]), "hire"),
            count(len(found), "department"),
            query.period,
            most.label,
            sum(most.hires),
            max(years, key=lambda year: everything[year]),
        ),
        "chart": chart.side_by_side(departments, years),
        "columns": [
            TableColumn("name", first),
            *(TableColumn(year, year) for year in years),
            TableColumn("hires", "All"),
        ],
        "sections": sections,
        "total": total,
    }
    if query.report is reports.HIRING_BY_DEPARTMENT:
        result["means"] = {str(row[0]): f"{row[4]:,.1f}" for row in rows}
    return result


def _departments_with_jobs(
    query: ReportQuery, rows: list[ReportRow], columns: tuple[str, ...]
) -> list[Section]:
    lines, names = _job_lines(rows, columns)
    sections = [
        quarterly.section(names[identity], of, query.filter, columns)
        for identity, of in lines.items()
    ]
    return quarterly.arrange_sections(sections, query)


def _unfiltered(rows: list[ReportRow], columns: tuple[str, ...]) -> list[TableRow]:
    lines, names = _job_lines(rows, columns)
    return [
        TableRow(names[identity], table_rows.add_up(of, columns)) for identity, of in lines.items()
    ]


def _job_lines(
    rows: list[ReportRow], columns: tuple[str, ...]
) -> tuple[dict[Any, list[TableRow]], dict[object, Label]]:
    """The jobs of each department and the departments' labels, both in the order of names."""
    ordered = sorted(rows, key=lambda row: (visible(row[1]).casefold(), visible(row[2]).casefold()))
    names = labels({row[7]: row[1] for row in ordered})
    jobs: dict[object, dict[object, object]] = defaultdict(dict)
    hires: dict[tuple[object, object], dict[str, float]] = defaultdict(
        lambda: dict.fromkeys(columns, 0)
    )
    for year, _, job, *quarters, department_id, job_id in ordered:
        jobs[department_id][job_id] = job
        hires[department_id, job_id][str(year)] += sum(quarters)
        hires[department_id, job_id]["hires"] += sum(quarters)
    lines = {}
    for identity in names:
        job_names = labels(jobs[identity])
        lines[identity] = [TableRow(job_names[job], hires[identity, job]) for job in jobs[identity]]
    return lines, names


def _departments(rows: list[ReportRow], columns: tuple[str, ...]) -> list[TableRow]:
    ordered = sorted(rows, key=lambda row: visible(row[2]).casefold())
    names = labels({row[1]: row[2] for row in ordered})
    numbers: dict[object, dict[str, float]] = {
        identity: dict.fromkeys(columns, 0) for identity in names
    }
    above: dict[object, set[str]] = defaultdict(set)
    totals: dict[int, list[int]] = defaultdict(list)
    for year, _, _, hired, _ in rows:
        totals[year].append(hired)
    for year, identity, _, hired, _ in rows:
        numbers[identity][str(year)] = hired
        numbers[identity]["hires"] += hired
        if hired * len(totals[year]) > sum(totals[year]):
            above[identity].add(str(year))
    return [
        TableRow(label, numbers[identity], above_mean=frozenset(above[identity]))
        for identity, label in names.items()
    ]
