"""Sentences of the page's summary."""

from markupsafe import Markup

from pages import table_rows
from pages.names import Label

GONE = 3
"""Number of departments that the summary names among those that hired the year before only."""


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 hire`, `2 hires`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def nothing(year: int, years: list[int] | None) -> Markup:
    """A sentence that says why a year's quarterly report is empty."""
    if years is not None and year in years:
        return Markup("No hire of {} has a department and a job that exist.").format(year)
    return Markup("Nobody was hired in {}.").format(year)


def since(hires: int, before: int, year: int) -> Markup:
    """A sentence that compares a year with the one before; empty if that had no hires."""
    if not before:
        return Markup("")
    if hires == before:
        return Markup(" As many as in {}.").format(year - 1)
    percent = table_rows.signed(100 * (hires - before) / before)
    words = "more" if hires > before else "fewer"
    return Markup(" {:,} {} than in {} ({}\u00a0%).").format(
        abs(hires - before), words, year - 1, percent
    )


def vanished(departments: list[tuple[Label, int]], year: int) -> Markup:
    """A sentence that names departments with hires in the year before only."""
    if not departments:
        return Markup("")
    largest = sorted(departments, key=lambda item: -item[1])
    named = [Markup("{} ({:,})").format(label, hires) for label, hires in largest[:GONE]]
    if len(largest) > GONE:
        named.append(Markup("{} more").format(len(largest) - GONE))
    listed = Markup(", ").join(named[:-1]) + (" and " if named[1:] else "") + named[-1]
    return Markup(" Hired in {} only: {}.").format(year - 1, listed)
