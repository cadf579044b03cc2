"""The page of the departments: those above the mean, the others, and the year before."""

from decimal import Decimal
from typing import Any

from markupsafe import Markup

from pages import chart, table_rows
from pages.names import Label, labels, visible
from pages.query import ReportQuery
from pages.table_rows import Section, TableColumn, TableRow
from pages.words import count, nothing, since, vanished
from reports import ReportRow


def view(
    query: ReportQuery,
    rows: list[ReportRow],
    before: list[ReportRow],
    years: list[int] | None,
) -> dict[str, Any]:
    """The template's values for one year; the arguments are those of `quarterly.view`."""
    if not rows:
        hires = years is not None and query.first in years
        sentence = Markup("No hire of {} has a department that exists.").format(query.first)
        return {"summary": sentence if hires else nothing(query.first, years)}
    names = labels({row[0]: row[1] for row in rows})
    hired_before = {row[0]: row[2] for row in before}
    total = sum(row[2] for row in rows)
    # In whole numbers, like the report's own condition.
    above = [row for row in rows if row[2] * len(rows) > total]
    below = rows[len(above) :]
    mean = rows[0][3]

    def line(row: ReportRow) -> TableRow:
        identity, _, hired, _ = row
        distance = hired - Decimal(total) / len(rows)
        numbers: dict[str, float] = {
            "id": rows_by_id.index(identity),
            "hires": hired,
            "share": hired,
            "mean": hired,
        }
        texts = {
            "id": visible(identity),
            "share": f"{100 * hired / total:.1f}\u00a0%",
            "mean": table_rows.signed(float(distance), 1),
        }
        if before:
            change = table_rows.compare(hired, hired_before.get(identity, 0))
            numbers["change"] = change.hires
            texts["change"] = str(change)
        return TableRow(names[identity], numbers, texts)

    rows_by_id = sorted(names, key=lambda identity: (isinstance(identity, str), identity))
    by_name = sorted(rows, key=lambda row: visible(row[1]).casefold())
    mean_text = f"{mean:,.1f}"
    sections = [
        Section(
            table_rows.arrange([line(row) for row in by_name if row in part], query.sorted_by),
            heading=heading,
        )
        for part, heading in (
            (above, f"Above the mean of {mean_text}"),
            (below, f"The mean of {mean_text}, or below"),
        )
        if part
    ]
    departments = [
        chart.Department(
            names[row[0]],
            [row[2]],
            str(table_rows.compare(row[2], hired_before.get(row[0], 0))) if before else "",
            quiet=row in below,
        )
        for row in rows
    ]
    sum_line = TableRow(
        Label("Total"), {"hires": total}, {"id": "", "share": "100\u00a0%", "mean": ""}
    )
    columns = [
        TableColumn("id", "ID"),
        TableColumn("name", "Department"),
        TableColumn("hires", "Hired"),
        TableColumn("share", "Share"),
        TableColumn("mean", "From the mean"),
    ]
    if before:
        columns.append(TableColumn("change", f"vs {query.first - 1}"))
        sum_line.texts["change"] = table_rows.signed(total - sum(hired_before.values()))
    names_before = labels({row[0]: row[1] for row in before})
    gone = [(names_before[row[0]], row[2]) for row in before if row[0] not in names]
    return {
        "summary": _summary(above, len(rows), total, mean_text, query.first)
        + since(total, sum(hired_before.values()), query.first)
        + vanished(gone, query.first),
        "chart": chart.stacked(departments, ("hired",), mean),
        "columns": columns,
        "sections": sections,
        "total": sum_line,
    }


def _summary(above: list[ReportRow], hiring: int, total: int, mean: str, year: int) -> Markup:
    if not above:
        return Markup(
            "No department hired more than the mean of {} in {}."
            " So it is where one hires alone, or all hire the same number."
        ).format(mean, year)
    return Markup("{:,} of {} hired more than the mean of {} in {}; together {:,} of {}.").format(
        len(above),
        count(hiring, "department"),
        mean,
        year,
        sum(row[2] for row in above),
        count(total, "hire"),
    )
