"""Evaluates filters of Cloud Logging, as far as this project's alert uses them.

The language: https://cloud.google.com/logging/docs/view/logging-query-language. Here a filter is
made of `path="text"`, `path=~"pattern"`, `path:*`, `severity>=LEVEL`, NOT, AND, OR and parentheses.
As in Cloud Logging, OR binds more closely than AND, and `=` compares without regard to case.
"""

import re
from collections.abc import Callable
from typing import Any

Entry = dict[str, Any]
Test = Callable[[Entry], bool]

SEVERITIES = (
    "DEFAULT",
    "DEBUG",
    "INFO",
    "NOTICE",
    "WARNING",
    "ERROR",
    "CRITICAL",
    "ALERT",
    "EMERGENCY",
)
ROOTS = {"resource", "severity", "jsonPayload", "logName", "labels", "httpRequest"}
TOKEN = re.compile(
    r'\s*(?:(\(|\))|(AND|OR|NOT)\b|([\w.]+)\s*(=~|=|>=|:)\s*(?:"([^"\\]*)"|(\w+|\*)))'
)


class Malformed(ValueError):
    """The text is not a filter of this kind."""


def compile_filter(text: str) -> Test:
    """A function that says whether a log entry matches.

    Raises:
        Malformed: the text is not a filter of this kind.
    """
    tokens = []
    position = 0
    while position < len(text.rstrip()):
        match = TOKEN.match(text, position)
        if match is None:
            raise Malformed(f"unparseable filter at {position}: {text[position:]}")
        tokens.append(match)
        position = match.end()
    test = _all_of(tokens)
    if tokens:
        raise Malformed(f"unparseable filter at {tokens[0].start()}")
    return test


def _all_of(tokens: list[re.Match]) -> Test:
    parts = [_any_of(tokens)]
    while tokens and tokens[0][2] == "AND":
        tokens.pop(0)
        parts.append(_any_of(tokens))
    return lambda entry: all(part(entry) for part in parts)


def _any_of(tokens: list[re.Match]) -> Test:
    parts = [_one(tokens)]
    while tokens and tokens[0][2] == "OR":
        tokens.pop(0)
        parts.append(_one(tokens))
    return lambda entry: any(part(entry) for part in parts)


def _one(tokens: list[re.Match]) -> Test:
    if not tokens:
        raise Malformed("the filter ends too early")
    token = tokens.pop(0)
    if token[2] == "NOT":
        negated = _one(tokens)
        return lambda entry: not negated(entry)
    if token[1] == "(":
        inner = _all_of(tokens)
        if not tokens or tokens.pop(0)[1] != ")":
            raise Malformed("a parenthesis is not closed")
        return inner
    if not token[3]:
        raise Malformed(f"a comparison is missing at {token.start()}")
    return _comparison(token[3].split("."), token[4], token[5] or token[6] or "")


def _comparison(path: list[str], operator: str, value: str) -> Test:
    if path[0] not in ROOTS:
        raise Malformed(f"unknown field: {path[0]}")
    if path == ["severity"]:
        if value not in SEVERITIES:
            raise Malformed(f"unknown severity: {value}")
        least = SEVERITIES.index(value)
        highest = least if operator == "=" else len(SEVERITIES)
        return lambda entry: least <= SEVERITIES.index(entry.get("severity", "DEFAULT")) <= highest
    if operator == ">=" or (operator == ":") != (value == "*"):
        raise Malformed(f"{operator} {value}")
    if operator == ":":
        return lambda entry: _found(entry, path) is not None
    if operator == "=~":
        return lambda entry: re.search(value, _value(entry, path)) is not None
    return lambda entry: _value(entry, path).casefold() == value.casefold()


def _found(entry: Entry, path: list[str]) -> Any:
    found: Any = entry
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _value(entry: Entry, path: list[str]) -> str:
    found = _found(entry, path)
    return found if isinstance(found, str) else ""
