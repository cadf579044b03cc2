"""The MySQL client: logging in, sessions, statements, row packets, server errors.

PyMySQL imports cryptography, which takes a sixth of a cold start, and uses it for logins with RSA
only. So it is imported without it here, and `connection.py` adds it when a login needs it. Whoever
imports PyMySQL first, as `db.py` does in a function, has to take it from here.
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
