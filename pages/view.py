"""The values of the page's template: summary, columns, rows and their bars."""

from dataclasses import dataclass, field
from typing import Any

from pages import drawing, words
from pages.drawing import Bar
from pages.found import PAGE_ROWS, Found, YearlyHires
from pages.names import Label, labels, visible
from pages.query import QUARTERS, ReportQuery

QUARTER_KEYS = tuple(map(str.lower, QUARTERS))


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        label: of the department or the job.
        numbers: by the order's name for the column, such as `q1` or `hires`.
        texts: texts to show instead of a column's number.
        above: the columns whose number is above their mean.
        identity: of a department that can be opened, as in the parameter `open`.
        jobs: of an open department, None for one that is folded.
    """

    label: Label
    numbers: dict[str, int]
    texts: dict[str, str] = field(default_factory=dict)
    above: frozenset[str] = frozenset()
    identity: str = ""
    jobs: list["TableRow"] | None = None


@dataclass(frozen=True)
class TableColumn:
    """A column of the table: its name in the parameter `order`, and its heading."""

    key: str
    heading: str


def view(query: ReportQuery, found: Found) -> dict[str, Any]:
    """The template's values for what was found."""
    if not found.departments:
        return {"summary": words.nothing(query, found)}
    names = labels({each.identity: each.name for each in found.departments})
    lines = _Lines(query, found)
    departments = [
        TableRow(
            names[each.identity],
            lines.numbers(each),
            lines.texts(each),
            lines.above(each),
            visible(each.identity) if query.by_quarter else "",
            lines.jobs(each),
        )
        for each in lines.arranged(found.departments)
    ]
    total = lines.total
    return {
        "summary": words.summary(query, found, names, total.numbers),
        "columns": lines.columns,
        "sections": lines.sections(departments),
        "total": total,
        "bars": lines.bars,
        "chart": lines.chart(total) if query.in_columns else None,
        "highest": max(lines.drawn(total.numbers), default=0),
        "longest": lines.longest,
        "headings": lines.headings,
        "kinds": lines.kinds,
        "mean": lines.mean,
        "means": lines.means,
        "cut": len(found.departments) - len(departments),
        "hidden_jobs": found.hidden_jobs,
    }


class _Lines:
    """The rows of one page: their numbers, texts and bars, all on one scale."""

    def __init__(self, query: ReportQuery, found: Found) -> None:
        self.query, self.found = query, found
        self.compared = bool(found.before)
        self.years = found.shown_years(query)
        if query.last is not None:
            self.headings = tuple(map(str, self.years))
            self.kinds = ("hired",) * len(self.headings)
        else:
            self.headings = QUARTERS if query.by_quarter else ("hired",)
            self.kinds = QUARTER_KEYS if query.by_quarter else ("hired",)
        drawn = [self.drawn(self.numbers(each)) for each in found.departments]
        self.longest = max(max(map(max if query.in_columns else sum, drawn)), 1)
        self.total = self._total()
        self.mean: tuple[str, float] | None = None
        if query.last is None and not query.by_quarter:
            mean = found.mean(query.first)
            self.mean = f"{mean:,.1f}", round(100 * float(mean) / self.longest, 3)

    @property
    def columns(self) -> list[TableColumn]:
        hired = TableColumn("hires", "Hired")
        if self.query.last is not None:
            years = [TableColumn(year, year) for year in self.headings]
            return [TableColumn("name", "Department"), hired, *years]
        change = [TableColumn("change", f"vs {self.query.first - 1}")] if self.compared else []
        if self.query.by_quarter:
            quarters = [TableColumn(quarter.lower(), quarter) for quarter in QUARTERS]
            return [TableColumn("name", "Department"), *quarters, hired, *change]
        share = TableColumn("share", "Share"), TableColumn("mean", "From the mean")
        name = TableColumn("name", "Department")
        return [TableColumn("id", "ID"), name, hired, *share, *change]

    def numbers(self, hires: YearlyHires) -> dict[str, int]:
        """A number for each column, to show and to sort by."""
        if self.query.last is not None:
            years = {str(year): hires.of(year) for year in self.years}
            return {**years, "hires": sum(years.values())}
        hired = hires.of(self.query.first)
        numbers = {"hires": hired, "change": hired - hires.of(self.query.first - 1)}
        if self.query.by_quarter:
            quarters = hires.years.get(self.query.first, (0,) * 4)
            return {**dict(zip(QUARTER_KEYS, quarters, strict=True)), **numbers}
        return {**numbers, "share": hired, "mean": hired}

    def texts(self, hires: YearlyHires) -> dict[str, str]:
        """The columns that show a text instead of their number."""
        if self.query.last is not None:
            return {}
        hired, before = hires.of(self.query.first), hires.of(self.query.first - 1)
        texts = {"change": words.signed(hired - before) if before else "new"}
        if not self.query.by_quarter:
            texts["id"] = visible(hires.identity)
            texts["share"] = f"{100 * hired / self.found.sums[self.query.first][0]:.1f}\u00a0%"
            texts["mean"] = words.signed(float(hired - self.found.mean(self.query.first)), 1)
        return texts

    def above(self, hires: YearlyHires) -> frozenset[str]:
        """The years in which a department hired more than the mean."""
        return frozenset(str(year) for year in self.years if self.found.is_above(hires, year))

    @property
    def means(self) -> dict[str, str]:
        """The mean of each of several years, as text."""
        if self.query.last is None:
            return {}
        return {
            str(year): f"{self.found.mean(year):,.1f}" if departments else ""
            for year, (_, departments) in self.found.sums.items()
        }

    def drawn(self, numbers: dict[str, int]) -> list[int]:
        """The numbers that a row's bars stand for."""
        if self.query.by_quarter or self.query.last is not None:
            return [numbers[heading.lower()] for heading in self.headings]
        return [numbers["hires"]]

    def bars(self, row: TableRow) -> list[Bar]:
        """The bars beside a name, made when its row is rendered: all at once need much memory."""
        numbers = self.drawn(row.numbers)
        if self.query.in_columns:
            return drawing.columns(numbers, self.kinds, self.longest)
        above = self.query.by_quarter or str(self.query.first) in row.above
        drawn = drawing.stacked(numbers, self.kinds if above else ("rest",), self.longest)
        return [*drawn, Bar("mean", f"{self.mean[1]}%", "2")] if self.mean else drawn

    def chart(self, total: TableRow) -> tuple[list[Bar], list[drawing.ColumnLabel]]:
        """The columns above the table: the sums of all departments."""
        numbers = self.drawn(total.numbers)
        highest = max(*numbers, 1)
        return (
            drawing.columns(numbers, self.kinds, highest),
            drawing.labelled(numbers, self.headings, highest),
        )

    def jobs(self, department: YearlyHires) -> list[TableRow] | None:
        """The rows of an open department's jobs."""
        jobs = self.found.jobs.get(department.identity)
        if jobs is None:
            return None
        names = labels({job.identity: job.name for job in jobs})
        return [
            TableRow(names[job.identity], self.numbers(job), {"change": ""})
            for job in self.arranged(jobs)
        ]

    def arranged(self, hires: list[YearlyHires]) -> list[YearlyHires]:
        """In the requested order, the first PAGE_ROWS of them; equal ones keep that of names."""
        column, descending = self.query.sorted_by
        if column == "name":
            ordered = hires[:: -1 if descending else 1]
        elif column == "id":
            ordered = sorted(hires, key=_identity, reverse=descending)
        else:
            ordered = sorted(
                hires, key=lambda each: self.numbers(each).get(column, 0), reverse=descending
            )
        return ordered[:PAGE_ROWS]

    def sections(self, rows: list[TableRow]) -> list[tuple[str, list[TableRow]]]:
        """The rows in parts, each with its heading if there are any."""
        if self.mean is None:
            return [("", rows)]
        year = str(self.query.first)
        parts = {
            f"Above the mean of {self.mean[0]}": [row for row in rows if year in row.above],
            f"The mean of {self.mean[0]}, or below": [row for row in rows if year not in row.above],
        }
        return [(heading, part) for heading, part in parts.items() if part]

    def _total(self) -> TableRow:
        every = [self.numbers(each) for each in self.found.departments]
        numbers = {column: sum(each[column] for each in every) for column in every[0]}
        texts = {"id": "", "mean": ""}
        if self.query.last is None:
            before = sum(each.of(self.query.first - 1) for each in self.found.before)
            numbers["change"] = numbers["hires"] - before
            texts["change"] = words.signed(numbers["change"])
            if not self.query.by_quarter:
                share = 100 * numbers["hires"] / self.found.sums[self.query.first][0]
                texts["share"] = f"{share:.0f}\u00a0%"
        return TableRow(Label("Total of these" if self.query.filtered else "Total"), numbers, texts)


def _identity(hires: YearlyHires) -> Any:
    return hires.identity
