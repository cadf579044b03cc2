"""Google's refusals: the rows of deploy/refusals.tsv, from which deploy.sh takes its patterns."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from control_plane.server import Refused


class Row(NamedTuple):
    """One message of Google's; the file says what the columns mean."""

    meanings: str
    name: str
    moment: str
    pattern: str
    text: str
    advice: str = ""


FILE = Path(__file__).parents[3] / "deploy/refusals.tsv"
ROWS = {
    row.name: row
    for line in FILE.read_text().splitlines()
    if not line.startswith("#")
    for row in [Row(*line.split("\t"))]
}


def text(name: str, **parts: str) -> str:
    """The text of a row with its parts filled in, and `x` for those that are not given."""
    return ROWS[name].text.format_map(defaultdict(lambda: "x", parts))


def refused(name: str, reason: str = "", **parts: str) -> Refused:
    """The error with which a row's request is answered."""
    status, _, word = ROWS[name].moment.partition(" ")
    return Refused(int(status), word, text(name, **parts), reason)


def not_found(what: str) -> Refused:
    return refused("not found", what=what)


def already_exists(what: str) -> Refused:
    return refused("exists", what=what)
