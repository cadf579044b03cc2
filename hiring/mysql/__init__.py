"""The MySQL client: logging in, sessions, statements, row packets, server errors.

PyMySQL imports cryptography, which takes a sixth of a cold start, and uses it for logins with RSA
only. So it is imported without it here, and `connection.py` adds it when a login needs it. Whoever
imports PyMySQL first, as `db.py` does in a function, has to take it from here.
"""

import sys

if "cryptography" in sys.modules:
    import pymysql as pymysql
else:
    sys.modules["cryptography"] = None  # type: ignore[assignment] # so that an import of it fails
    try:
        import pymysql as pymysql
    finally:
        del sys.modules["cryptography"]
