"""Sentences of the page's summary."""

from collections.abc import Sequence

from markupsafe import Markup

from pages.found import Found

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


def nothing(found: Found) -> Markup:
    """A sentence that says why the page shows no department."""
    query = found.query
    if found.empty:
        return Markup("The database has no hires: its table employees is empty.")
    if query.filter:
        return Markup("Nothing in {} contains “<bdi>{}</bdi>”.").format(query.period, query.filter)
    if {*query.all_years} & {*(found.years or [])}:
        needed = (
            "a department and a job that exist" if query.by_quarter else "a department that exists"
        )
        return Markup("No hire of {} has {}.").format(query.period, needed)
    if query.last is None:
        return Markup("Nobody was hired in {}.").format(query.first)
    return Markup("Nobody was hired between {} and {}.").format(query.first, query.last)


def summary(found: Found) -> Markup:
    """The sentences above the table: what its rows add up to."""
    query = found.query
    text = _hires(found) if query.by_quarter or query.last else _above(found)
    if query.filter:
        text = Markup("Only what contains “<bdi>{}</bdi>”: ").format(query.filter) + text
    if query.last is not None:
        return text + _outside(found)
    if found.total["before"]:
        text += _since(found.total, query.first - 1)
    return text + _vanished(found)


def _hires(found: Found) -> Markup:
    most = max(found.departments, key=lambda each: each.numbers["hires"])
    where = Markup("in {}").format(most.label)
    if len(found.departments) > 1:
        where = Markup("in {:,} departments; {} hired most ({:,})").format(
            len(found.departments), most.label, most.numbers["hires"]
        )
    busiest = max(found.total[column] for column in found.drawn)
    headings = found.query.headings
    when = [headings[column] for column in found.drawn if found.total[column] == busiest]
    noun, each = ("", "") if len(when) == 1 else ("s", " each")
    return Markup("{} {}. Busiest {}{}: {}, with {:,}{}.").format(
        count(found.total["hires"], "hire"),
        where,
        "quarter" if found.query.last is None else "year",
        noun,
        _listed(when),
        busiest,
        each,
    )


def _above(found: Found) -> Markup:
    year, mean = found.query.first, f"{found.mean('hires'):,.1f}"
    above = [each.numbers["hires"] for each in found.departments if found.is_above(each, "hires")]
    if not above:
        return Markup("No department hired more than the mean of {} in {}.").format(mean, year)
    return Markup("{:,} of {} hired more than the mean of {} in {}; together {:,} of {}.").format(
        len(above),
        count(len(found.departments), "department"),
        mean,
        year,
        sum(above),
        count(found.total["hires"], "hire"),
    )


def _since(total: dict[str, int], year: int) -> Markup:
    """A sentence that compares with the year before."""
    change = total["change"]
    if not change:
        return Markup(" As many as in {}.").format(year)
    percent = signed(100 * change / total["before"])
    more = "more" if change > 0 else "fewer"
    return Markup(" {:,} {} than in {} ({}\u00a0%).").format(abs(change), more, year, percent)


def _vanished(found: Found) -> Markup:
    """A sentence that names departments with hires in the year before only."""
    if not found.gone:
        return Markup("")
    largest = sorted(found.gone, key=lambda each: -each.numbers["before"])
    names = [Markup("{} ({:,})").format(each.label, each.numbers["before"]) for each in largest]
    return Markup(" Hired in {} only: {}.").format(found.query.first - 1, _listed(names))


def _outside(found: Found) -> Markup:
    """A sentence on the requested years that the page leaves out."""
    outside = []
    if int(found.drawn[0]) > found.query.first:
        outside.append(f"before {found.drawn[0]}")
    if int(found.drawn[-1]) < found.query.all_years[-1]:
        outside.append(f"after {found.drawn[-1]}")
    return Markup(" None {}.").format(" and ".join(outside)) if outside else Markup("")


def _listed(items: Sequence[str]) -> Markup:
    """A list in words, of the first NAMED."""
    named = list(items[:NAMED])
    if len(items) > NAMED:
        named.append(f"{len(items) - NAMED} more")
    return Markup(", ").join(named[:-1]) + (" and " if named[1:] else "") + named[-1]
