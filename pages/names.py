"""Makes names and ids safe to show, whatever characters they contain."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import wcwidth
from markupsafe import Markup

import reports

# Control characters could move a terminal's cursor or break a line; their pictures cannot. Those
# that change the direction of text could make one name look like another.
# https://www.unicode.org/charts/PDF/U2400.pdf https://www.unicode.org/reports/tr9/
_PICTURES = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: "\u2421"}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
)
ISOLATE, END_OF_ISOLATE = "\u2068", "\u2069"

NAMELESS = "no name"


def visible(value: object) -> str:
    """A name or an id as text without control characters; empty for NULL."""
    if type(value) is int:
        return str(value)
    shown = reports.plain(value)
    text = "" if shown is None else str(shown)
    # Most names need no change, which shows in a tenth of the time.
    return text if text.isprintable() else text.translate(_PICTURES)


def isolated(text: str) -> str:
    """A visible name for plain text, isolated if its script could reorder the text after it."""
    if not text.isascii() and any(
        unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text
    ):
        return f"{ISOLATE}{text}{END_OF_ISOLATE}"
    return text


@dataclass(frozen=True)
class Label:
    """A name on the page; in HTML, an element that cannot reorder the text after it.

    Attributes:
        name: as shown; empty if there is none.
        note: distinguishes it from others of the same name.
    """

    name: str
    note: str = ""

    def __str__(self) -> str:
        return isolated(self.name or NAMELESS) + (f" ({isolated(self.note)})" if self.note else "")

    def __html__(self) -> str:
        name = Markup("<bdi>{}</bdi>") if self.name else Markup("<i>{}</i>")
        note = Markup(' <span class="note">(<bdi>{}</bdi>)</span>').format(self.note)
        return name.format(self.name or NAMELESS) + (note if self.note else "")


def labels(names: Mapping[object, object]) -> dict[object, Label]:
    """A label for each id; ids are shown if several have the same name."""
    shown = {identity: visible(name) for identity, name in names.items()}
    uses = Counter(shown.values())
    return {
        identity: Label(name, f"id {visible(identity)}" if uses[name] > 1 else "")
        for identity, name in shown.items()
    }


def plain_words(text: str) -> str:
    """A text as the filter compares it, without accents and in lower case."""
    letters = unicodedata.normalize("NFD", text)
    return "".join(each for each in letters if unicodedata.category(each)[0] != "M").lower()


def terminal_columns(text: str) -> int:
    """The width of a text in columns of a terminal."""
    return len(text) if text.isascii() else wcwidth.width(text)
