"""The table and the chart of the page: columns, rows and their bars, all on one scale."""

from typing import Any

from markupsafe import Markup

from pages import drawing
from pages.found import PAGE_ROWS, Found, Hires
from pages.names import visible

MINUS = "\u2212"


def signed(number: float, places: int = 0) -> str:
    """A number with its sign, and a minus as wide as a plus."""
    text = f"{number:+,.{places}f}"
    return "0" if not float(text.replace(",", "")) else text.replace("-", MINUS)


class PageTable:
    """What the template asks for: a row is the `Hires` of a department or a job, or the total.

    Attributes:
        columns: the headings, by the column's name in `order`.
        kinds: the CSS class of each bar's colour.
        longest: hires that the bar of a row has room for; `highest` those of the chart's columns.
        mean: of the year, where the page compares with it; `means` those of several years, as text.
        departments: in the requested order, at most PAGE_ROWS; `sections` in parts.
        cut: number of departments and jobs beyond PAGE_ROWS.
        above: the departments above it; `busiest`: the years or quarters with most hires.
    """

    def __init__(self, found: Found) -> None:
        query = self.query = found.query
        self.found = found
        left_out = {*map(str, query.all_years)} - {*found.drawn}
        if not found.total.get("before"):
            left_out.add("change")
        self.columns = {key: text for key, text in query.headings.items() if key not in left_out}
        self.kinds = found.drawn if "q1" in found.drawn else ["hired"] * len(found.drawn)
        size = max if query.in_columns else sum
        self.longest = max(*(size(self.drawn(each)) for each in found.departments), 1)
        self.total = Hires("", "", 0, found.total, "Total of these" if query.filter else "Total")
        self.highest = max(self.drawn(self.total))
        highest = [column for column in found.drawn if found.total[column] == self.highest]
        self.busiest = [query.headings[column] for column in highest]
        self.departments = self.arranged(found.departments)
        groups = found.departments, *(each.opened for each in self.departments)
        self.cut = sum(max(len(rows) - PAGE_ROWS, 0) for rows in groups)
        self.sections = [("", self.departments)]
        self.mean = found.mean("hires") if "hires" in found.sums else None
        self.above = [each for each in found.departments if found.is_above(each, "hires")]
        if self.mean is not None:
            parts: dict[str, list[Hires]] = {"above": [], "below": []}
            for each in self.departments:
                parts["above" if found.is_above(each, "hires") else "below"].append(each)
            self.sections = [(part, rows) for part, rows in parts.items() if rows]
        hiring = [] if self.mean else [year for year, sums in found.sums.items() if sums[1]]
        self.means = {year: f"{found.mean(year):,.1f}" for year in hiring}

    def drawn(self, row: Hires) -> list[int]:
        """The numbers that a row's bars stand for."""
        return [row.numbers[column] for column in self.found.drawn]

    def cell(self, row: Hires, column: str) -> tuple[str, str]:
        """The CSS class and the text of a cell."""
        if column in ("id", "share", "mean", "change"):
            return column, self._text(row, column)
        number = row.numbers[column]
        kind = "" if number else "zero"
        if column in self.means and row is not self.total and self.found.is_above(row, column):
            kind = "above"
        return kind, f"{number:,}"

    def _text(self, row: Hires, column: str) -> str:
        hired, is_total = row.numbers["hires"], row is self.total
        if column == "id":
            return visible(row.identity)
        if column == "share":
            every = self.found.sums["hires"][0]
            return f"{100 * hired / every:.{0 if hired == every else 1}f}\u00a0%"
        if column == "mean":
            return "" if is_total else signed(float(hired - (self.mean or 0)), 1)
        if not is_total and not row.jobs:
            return ""
        return signed(row.numbers["change"]) if row.numbers["before"] else "new"

    def bars(self, row: Hires) -> Markup:
        """The bars beside a name, made when its row is rendered: all at once need much memory."""
        numbers = self.drawn(row)
        if self.query.in_columns:
            return drawing.columns(numbers, self.kinds, self.longest)
        if self.mean is None:
            return drawing.stacked(numbers, self.kinds, self.longest)
        kinds = self.kinds if self.found.is_above(row, "hires") else ["rest"]
        return drawing.stacked(numbers, kinds, self.longest, float(self.mean))

    def chart(self) -> tuple[Markup, bool, list[tuple[float, float, str, str]]]:
        """The columns above the table, which are the sums of all rows, and `drawing.labelled`."""
        numbers = self.drawn(self.total)
        headings = [self.query.headings[column] for column in self.found.drawn]
        return (
            drawing.columns(numbers, self.kinds, self.highest or 1),
            *drawing.labelled(numbers, headings, self.highest or 1),
        )

    def arranged(self, rows: list[Hires]) -> list[Hires]:
        """In the requested order, the first PAGE_ROWS of them; equal ones keep that of names."""
        column, descending = self.query.sorted_by
        if column == "name":
            return rows[:: -1 if descending else 1][:PAGE_ROWS]

        def key(row: Hires) -> Any:
            if column == "id":  # PyMySQL leaves a day such as 0000-00-00 a text
                return isinstance(row.identity, str), row.identity
            return row.numbers.get(column, row.numbers["hires"])

        return sorted(rows, key=key, reverse=descending)[:PAGE_ROWS]
