"""The rows of the page's table: sums, changes, order and filter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pages.names import Label

MINUS = "\u2212"


@dataclass(frozen=True)
class Change:
    """The difference in hires from the year before; `new` if there were none."""

    hires: int
    new: bool = False

    def __str__(self) -> str:
        return "new" if self.new else signed(self.hires)


def signed(number: float, places: int = 0) -> str:
    """A number with its sign, and a minus as wide as a plus."""
    text = f"{number:+,.{places}f}"
    return "0" if not float(text.replace(",", "")) else text.replace("-", MINUS)


def compare(hires: int, before: int) -> Change:
    """The change of a department since a year in which it hired `before`."""
    return Change(hires - before, new=not before)


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        label: of the department or the job.
        numbers: by the order's name for the column, such as `q1` or `hires`.
        texts: texts to show instead of a column's number.
        above_mean: the columns whose number is above their mean.
        shown: whether the filter shows it.
        change: since the year before, as text, independent of the filter.
    """

    label: Label
    numbers: dict[str, float]
    texts: dict[str, str] = field(default_factory=dict)
    above_mean: frozenset[str] = frozenset()
    shown: bool = True
    change: str = ""


@dataclass(frozen=True)
class Section:
    """Rows that belong together.

    Attributes:
        lines: the rows, jobs or departments.
        head: the department of the jobs, if the rows are jobs.
        heading: text above the rows, if there is any.
    """

    lines: list[TableRow]
    head: TableRow | None = None
    heading: str = ""

    @property
    def shown(self) -> bool:
        """Whether the filter shows any of its rows."""
        return any(line.shown for line in self.lines)


def arrange(lines: Iterable[TableRow], order: tuple[str, bool]) -> list[TableRow]:
    """Lines sorted by a column; they are given in the order of names, which equal ones keep."""
    column, descending = order
    if column == "name":
        return list(lines)[:: -1 if descending else 1]
    return sorted(lines, key=lambda line: line.numbers.get(column, 0), reverse=descending)


def add_up(lines: Iterable[TableRow], columns: Sequence[str]) -> dict[str, float]:
    """The sum of each column."""
    lines = list(lines)
    return {column: sum(line.numbers[column] for line in lines) for column in columns}


@dataclass(frozen=True)
class TableColumn:
    """A column of the table: its name in the parameter `order`, and its heading."""

    key: str
    heading: str
