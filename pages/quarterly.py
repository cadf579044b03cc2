"""The page of the quarterly report: departments, their jobs, and the year before."""

from collections import Counter
from typing import Any

from markupsafe import Markup

from pages import chart, table_rows
from pages.names import NAMELESS, Label, labels, plain_words
from pages.query import QUARTERS, ReportQuery
from pages.table_rows import Change, Section, TableColumn, TableRow
from pages.words import count, nothing, since, vanished
from reports import ReportRow

NUMBERS = (*map(str.lower, QUARTERS), "hires")


def view(
    query: ReportQuery,
    rows: list[ReportRow],
    before: list[ReportRow],
    years: list[int] | None,
) -> dict[str, Any]:
    """The template's values for one year.

    Args:
        query: the request's.
        rows: of the year, as `reports.run` returns them.
        before: of the year before.
        years: the years with hires; None if they are not known.
    """
    if not rows:
        return {"summary": nothing(query.first, years)}
    names = labels({row[6]: row[0] for row in rows})
    hired_before: Counter[object] = Counter()
    for row in before:
        hired_before[row[6]] += sum(row[2:6])
    lines: dict[object, list[TableRow]] = {identity: [] for identity in names}
    jobs: dict[object, dict[object, object]] = {identity: {} for identity in names}
    for row in rows:
        jobs[row[6]][row[7]] = row[1]
    job_labels = {identity: labels(of) for identity, of in jobs.items()}
    for row in rows:
        numbers = dict(zip(NUMBERS, [*row[2:6], sum(row[2:6])], strict=True))
        lines[row[6]].append(TableRow(job_labels[row[6]][row[7]], numbers))

    changes: dict[object, Change] = {}
    if hired_before:
        changes = {
            identity: table_rows.compare(_hires(lines[identity]), hired_before[identity])
            for identity in names
        }
    sections = [
        section(names[identity], of, query.filter, NUMBERS, changes.get(identity))
        for identity, of in lines.items()
    ]
    largest = sorted(names, key=lambda identity: -_hires(lines[identity]))
    departments = [
        chart.Department(
            names[identity],
            [int(table_rows.add_up(lines[identity], NUMBERS)[quarter]) for quarter in NUMBERS[:4]],
            change=str(changes.get(identity, "")),
            out=not any(
                each.shown for each in filtered(names[identity], lines[identity], query.filter)
            ),
        )
        for identity in largest
    ]
    draw = chart.side_by_side if query.chart == "quarters" else chart.stacked
    everything = table_rows.add_up([line for of in lines.values() for line in of], NUMBERS)
    total_before = sum(hired_before.values())
    names_before = labels({row[6]: row[0] for row in before})
    gone = [
        (names_before[each], hired) for each, hired in hired_before.items() if each not in names
    ]
    columns = [
        TableColumn("name", "Job"),
        *(TableColumn(quarter.lower(), quarter) for quarter in QUARTERS),
        TableColumn("hires", "Year"),
    ]
    if hired_before:
        columns.append(TableColumn("change", f"vs {query.first - 1}"))
    return {
        "summary": _summary(departments, everything)
        + since(int(everything["hires"]), total_before, query.first)
        + vanished(gone, query.first),
        "chart": draw(departments, QUARTERS),
        "columns": columns,
        "sections": arrange_sections(sections, query),
        "total": total(sections, NUMBERS, total_before),
    }


def _hires(lines: list[TableRow]) -> int:
    return int(sum(line.numbers["hires"] for line in lines))


def filtered(label: Label, lines: list[TableRow], wanted: str) -> list[TableRow]:
    """A department's lines, marked with whether the filter shows them."""
    words = plain_words(wanted.strip())
    if words in plain_words(label.name or NAMELESS):
        return lines
    return [
        TableRow(line.label, line.numbers, shown=words in plain_words(line.label.name or NAMELESS))
        for line in lines
    ]


def section(
    label: Label,
    lines: list[TableRow],
    wanted: str,
    columns: tuple[str, ...],
    change: Change | None = None,
) -> Section:
    """A department with its jobs; its sums are those of the jobs that the filter shows."""
    found = filtered(label, lines, wanted)
    shown = [line for line in found if line.shown]
    numbers = table_rows.add_up(shown, columns)
    texts = {}
    if change is not None:
        numbers["change"] = change.hires
        # The change is known for the whole department only.
        texts["change"] = str(change) if len(shown) == len(found) else ""
    return Section(
        found, TableRow(label, numbers, texts, shown=bool(shown), change=str(change or ""))
    )


def arrange_sections(sections: list[Section], query: ReportQuery) -> list[Section]:
    """Departments, and the jobs of each, in the requested order."""
    by_head = {id(each.head): each for each in sections}
    heads = table_rows.arrange([each.head for each in sections if each.head], query.sorted_by)
    return [
        Section(table_rows.arrange(by_head[id(head)].lines, query.sorted_by), head)
        for head in heads
    ]


def total(sections: list[Section], columns: tuple[str, ...], before: int) -> TableRow:
    """The sums of the lines that the filter shows, with the change if it shows all lines."""
    lines = [line for each in sections for line in each.lines]
    shown = [line for line in lines if line.shown]
    everything = len(shown) == len(lines)
    numbers = table_rows.add_up(shown, columns)
    texts = {}
    change = (
        table_rows.signed(table_rows.add_up(lines, columns)["hires"] - before) if before else ""
    )
    if before:
        texts["change"] = change if everything else ""
    label = Label("Total" if everything else "Total of these")
    return TableRow(label, numbers, texts, change=change)


def _summary(departments: list[chart.Department], hires: dict[str, float]) -> Markup:
    most = departments[0]
    where = Markup("in {}").format(most.label)
    if len(departments) > 1:
        where = Markup("in {:,} departments; {} hired most ({:,})").format(
            len(departments), most.label, sum(most.hires)
        )
    quarters = {quarter: int(hires[quarter.lower()]) for quarter in QUARTERS}
    busiest = max(quarters.values())
    names = [quarter for quarter, hired in quarters.items() if hired == busiest]
    noun, each = ("quarter", "") if len(names) == 1 else ("quarters", " each")
    return Markup("{} {}. Busiest {}: {}, with {:,}{}.").format(
        count(int(hires["hires"]), "hire"), where, noun, " and ".join(names), busiest, each
    )
