"""Names and ids as people may see them: no control characters, and no wider than there is room."""

import wcwidth

import reports

# Control characters could move a terminal's cursor or break a line: their pictures cannot.
# https://www.unicode.org/charts/PDF/U2400.pdf
_PICTURES = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: "\u2421"}
    | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
)


def visible(value: object) -> str:
    """A name or an id as text without control characters; nothing for NULL."""
    shown = reports.plain(value)
    return "" if shown is None else str(shown).translate(_PICTURES)


def terminal_columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else wcwidth.width(text)


def cut(name: str, width: int) -> str:
    """A name cut to a width in columns of a terminal."""
    if terminal_columns(name) <= width:
        return name
    return wcwidth.clip(name, 0, width - 1).rstrip() + "…"
