"""The MySQL client: logging in, sessions, statements, row packets, server errors.

PyMySQL imports cryptography with itself, which takes an eighth of a cold start, and uses it for
logins with RSA alone. So it is imported without, and `connection.py` imports it when it is needed.
That holds for whoever imports PyMySQL from here first.
"""

import importlib
import sys


def _import_without(package: str, name: str) -> None:
    if package in sys.modules:
        return
    sys.modules[package] = None  # type: ignore[assignment] # so that an import of it fails
    try:
        importlib.import_module(name)
    finally:
        del sys.modules[package]


_import_without("cryptography", "pymysql")

import pymysql as pymysql  # noqa: E402
