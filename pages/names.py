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
WIDE_LETTERS, NARROW_LETTERS = "mwMW@%&", "ijltfrI.,:;'|!()[]- "


def visible(value: object) -> str:
    """A name or an id as text without control characters; empty for NULL."""
    if type(value) is int:
        return str(value)
    shown = reports.plain(value)
    return "" if shown is None else str(shown).translate(_PICTURES)


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

    @property
    def short(self) -> str:
        """The label, cut to the width beside a bar."""
        name = self.name or NAMELESS
        note = f" ({self.note})" if self.note else ""
        return isolated(_cut(name, LABEL_EMS - _width(note)) + note)


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


LABEL_EMS = 16.0
"""Width of the label beside a bar, in ems of its font. The browser clips a wider label."""


def _width(text: str) -> float:
    return sum(_letter_width(letter) for letter in wcwidth.iter_graphemes(text))


def _letter_width(letter: str) -> float:
    """The approximate width of a letter in a font for screens, in ems."""
    if not letter.isascii() and wcwidth.width(letter) != 1:
        return 1.0 if wcwidth.width(letter) else 0.0
    if letter in WIDE_LETTERS:
        return 0.95
    if letter in NARROW_LETTERS:
        return 0.4
    return 0.75 if letter.isupper() else 0.62


def _cut(name: str, width: float) -> str:
    """A name, cut to a width in ems."""
    if _width(name) <= width:
        return name
    kept = ""
    for letter in wcwidth.iter_graphemes(name):
        width -= _letter_width(letter)
        if width < 1:
            break
        kept += letter
    return kept.rstrip() + "…"


def terminal_columns(text: str) -> int:
    """The width of a text in columns of a terminal."""
    return len(text) if text.isascii() else wcwidth.width(text)
