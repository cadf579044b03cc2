"""Sentences of the page's summary."""

from collections.abc import Sequence

from markupsafe import Markup

from pages.found import Found, YearlyHires
from pages.names import Label, labels
from pages.query import QUARTERS, ReportQuery

NAMED = 3
"""Number of departments or years that a list names."""
MINUS = "\u2212"


def signed(number: float, places: int = 0) -> str:
    """A number with its sign, and a minus as wide as a plus."""
    text = f"{number:+,.{places}f}"
    return "0" if not float(text.replace(",", "")) else text.replace("-", MINUS)


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 hire`, `2 hires`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def nothing(query: ReportQuery, found: Found) -> Markup:
    """A sentence that says why the page shows no department."""
    if found.empty:
        return Markup("The database has no hires: its table employees is empty.")
    if query.filtered:
        return Markup("Nothing in {} contains “<bdi>{}</bdi>”.").format(query.period, query.filter)
    if {*query.all_years} & {*(found.years or [])}:
        needed = (
            "a department and a job that exist" if query.by_quarter else "a department that exists"
        )
        return Markup("No hire of {} has {}.").format(query.period, needed)
    if query.last is None:
        return Markup("Nobody was hired in {}.").format(query.first)
    return Markup("Nobody was hired between {} and {}.").format(query.first, query.last)


def summary(
    query: ReportQuery, found: Found, names: dict[object, Label], numbers: dict[str, int]
) -> Markup:
    """The sentences above the table: what its rows add up to.

    Args:
        query: the request's.
        found: what the page shows.
        names: of its departments, by id.
        numbers: the sum of each column.
    """
    only = Markup("Only what contains “<bdi>{}</bdi>”: ").format(query.filter)
    filtered = only if query.filtered else Markup("")
    if query.last is not None:
        years = found.shown_years(query)
        text = _hires(query, found, names, numbers, list(map(str, years)))
        return filtered + text + _outside(query, years)
    compared = _since(numbers["hires"], numbers["change"], query.first - 1) if found.before else ""
    if query.by_quarter:
        text = _hires(query, found, names, numbers, list(QUARTERS))
    else:
        text = _above(query, found, numbers["hires"])
    return filtered + text + compared + _vanished(query, found)


def _hires(
    query: ReportQuery,
    found: Found,
    names: dict[object, Label],
    numbers: dict[str, int],
    headings: list[str],
) -> Markup:
    by_hires = {each.identity: sum(map(each.of, query.all_years)) for each in found.departments}
    most = max(by_hires, key=lambda identity: by_hires[identity])
    where = Markup("in {}").format(names[most])
    if len(names) > 1:
        where = Markup("in {:,} departments; {} hired most ({:,})").format(
            len(names), names[most], by_hires[most]
        )
    busiest = max(numbers[heading.lower()] for heading in headings)
    when = [heading for heading in headings if numbers[heading.lower()] == busiest]
    noun, each = ("", "") if len(when) == 1 else ("s", " each")
    return Markup("{} {}. Busiest {}{}: {}, with {:,}{}.").format(
        count(numbers["hires"], "hire"),
        where,
        "quarter" if query.last is None else "year",
        noun,
        _listed(when),
        busiest,
        each,
    )


def _above(query: ReportQuery, found: Found, hires: int) -> Markup:
    year = query.first
    mean = f"{found.mean(year):,.1f}"
    above = [each.of(year) for each in found.departments if found.is_above(each, year)]
    if not above:
        return Markup("No department hired more than the mean of {} in {}.").format(mean, year)
    return Markup("{:,} of {} hired more than the mean of {} in {}; together {:,} of {}.").format(
        len(above),
        count(len(found.departments), "department"),
        mean,
        year,
        sum(above),
        count(hires, "hire"),
    )


def _since(hires: int, change: int, before: int) -> Markup:
    """A sentence that compares a year with the one before."""
    if not change:
        return Markup(" As many as in {}.").format(before)
    percent = signed(100 * change / (hires - change))
    words = "more" if change > 0 else "fewer"
    return Markup(" {:,} {} than in {} ({}\u00a0%).").format(abs(change), words, before, percent)


def _vanished(query: ReportQuery, found: Found) -> Markup:
    """A sentence that names departments with hires in the year before only."""
    before = query.first - 1
    gone = [each for each in found.before if not each.of(query.first)]
    if not gone:
        return Markup("")
    names = labels({each.identity: each.name for each in found.before})
    largest = sorted(gone, key=lambda each: -each.of(before))

    def named(each: YearlyHires) -> Markup:
        return Markup("{} ({:,})").format(names[each.identity], each.of(before))

    return Markup(" Hired in {} only: {}.").format(before, _listed(list(map(named, largest))))


def _outside(query: ReportQuery, years: range) -> Markup:
    """A sentence on the requested years that the page leaves out."""
    outside = []
    if years[0] > query.all_years[0]:
        outside.append(f"before {years[0]}")
    if years[-1] < query.all_years[-1]:
        outside.append(f"after {years[-1]}")
    return Markup(" None {}.").format(" and ".join(outside)) if outside else Markup("")


def _listed(items: Sequence[str]) -> Markup:
    """A list in words, of the first NAMED."""
    named = list(items[:NAMED])
    if len(items) > NAMED:
        named.append(f"{len(items) - NAMED} more")
    return Markup(", ").join(named[:-1]) + (" and " if named[1:] else "") + named[-1]
