"""JSON of MySQL as text: its normal form, and the DECIMALs in it.

Parsed text has INTEGERs and DOUBLEs only. A DECIMAL, which functions make, may have more digits.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

NO_DOUBLE = re.compile(r"-?(\d+\.\d+0|0\.0{15}\d+|\d{16,}(\.0)?)")
"""MySQL prints no DOUBLE with more zeros; below 1e-15 and from 1e15 on it has an exponent."""


def normal(text: bytes) -> bytes:
    """JSON without spaces and the order of members, which a MySQL JSON column does not keep."""
    try:
        return json.dumps(_parsed(text), sort_keys=True, default=repr).encode()
    except (ValueError, RecursionError):
        return text


def decimals(text: bytes) -> list[tuple[str, str]]:
    """The path and the digits of each DECIMAL whose digits tell that it is one.

    Text that is no JSON has none: the server says what it does not take.
    """
    try:
        return list(_decimals(_parsed(text), "$"))
    except (ValueError, RecursionError):
        return []


def _parsed(text: bytes) -> Any:
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(digits: str) -> int | float | Decimal:
    """A number; a Decimal if the server prints no INTEGER and no DOUBLE so."""
    if digits.lstrip("-").isdecimal() and -(2**63) <= int(digits) < 2**64:
        return int(digits)
    exact, rounded = Decimal(digits), float(digits)
    is_decimal = exact != Decimal(repr(rounded)) or NO_DOUBLE.fullmatch(digits)
    return exact if is_decimal else rounded


def _decimals(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Decimal):
        yield path, f"{value:f}"
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _decimals(member, f"{path}.{json.dumps(name, ensure_ascii=False)}")
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from _decimals(member, f"{path}[{place}]")
