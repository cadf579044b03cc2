"""The database server's error numbers, and the error that a caller sees for each."""

import re
import ssl

import pymysql
from pymysql.constants import CR

from hiring import tls
from hiring.errors import BundleError, Busy, DatabaseUnavailable, Misconfigured, TimedOut

ACCESS_DENIED = 1045
LOGIN_REFUSED = {
    ACCESS_DENIED: "it refuses the login of DB_USER",
    1698: "it refuses the login of DB_USER",
    1820: "the password of DB_USER has expired",
    1862: "the password of DB_USER has expired",
    3118: "the account of DB_USER is locked",
    3955: "the account of DB_USER is locked",
    4151: "the account of DB_USER is locked",
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD: "DB_USER logs in by a plugin that is not supported",
    CR.CR_AUTH_PLUGIN_ERR: "it asks for the password in clear; set DB_SSL_CA to verify it first",
    CR.CR_SSL_CONNECTION_ERROR: "it offers no TLS, which DB_SSL_CA requires",
}
"""A login that would be refused again; some more of them could lock the account."""
UNAVAILABLE = LOGIN_REFUSED | {
    1040: "it has too many connections",
    1053: "it is shutting down",
    1129: "it blocks this host",
    1130: "it lets no account in from this host",
    1184: "its init_connect fails",
    1203: "DB_USER has too many connections",
    1226: "DB_USER has used up a resource limit",
    1317: "an administrator stopped the query",
    1927: "an administrator ended the connection",
    3032: "it is in offline mode",
    4031: "it closed an idle connection",
}

# Something is read only; a privilege is missing; a database, a table or a column is missing or
# wrong; MySQL's `sort_buffer_size` is too small for the names to sort; a drill's database would
# have too long a name.
MISCONFIGURED = (
    {1036, 1290, 1792, 1836, 3989}
    | {1044, 1142, 1143, 1227, 1370}
    | {1038, 1049, 1054, 1102, 1146, 1347, 1356, 1701, 4163}
)
BUSY = {1205, 1213, 1412}
SLOW = {1969, 3024}
NO_SUCH_TABLE = 1146
DISK_FULL = {20, 1021, 1114, 1878, 3675}
NO_SPACE = re.compile(r"No space left|\b(errno|error|errcode):? 28\b", re.IGNORECASE)
"""A full disk in the message of an error that may have other causes."""
ACCOUNT = re.compile(r"'.*'@'.*?'", re.DOTALL)
"""An account in a message, such as `'hiring'@'10.1.2.3'`: no caller of a public report reads it."""


def error_number(error: BaseException | None) -> int | None:
    """The number of an error of the server or of PyMySQL; None where it has none."""
    number = error.args[0] if isinstance(error, pymysql.err.Error) and error.args else None
    return number if isinstance(number, int) else None


def unreached(error: Exception, address: str) -> str:
    """Why the server at an address did not let the client in."""
    number = error_number(error)
    if isinstance(error.__context__, ssl.SSLError):
        return tls.failure(error.__context__)
    if number is None:
        return f"what answers at {address} is no MySQL server"
    if number in UNAVAILABLE:
        return UNAVAILABLE[number]
    if 2000 <= number < 3000:  # PyMySQL's own
        return f"the connection to {address} was lost"
    return f"it ends the login at {address} with error {number}"


def may_pass(error: BaseException | None) -> bool:
    """Whether connecting again may succeed: the server is away or busy, and refuses no login."""
    is_unverified = isinstance(error and error.__context__, ssl.SSLCertVerificationError)
    return error_number(error) not in LOGIN_REFUSED and not is_unverified


def translate(error: pymysql.err.Error) -> BundleError | None:
    """The error that a caller sees; None where the server understood a statement and refuses it.

    The numbers: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html and
    https://mariadb.com/kb/en/mariadb-error-code-reference/
    """
    number = error_number(error)
    if number in DISK_FULL or NO_SPACE.search(str(error.args[-1:])):
        return DatabaseUnavailable("its disk is full, or a table has reached its limit")
    if number in BUSY:
        return Busy("could not lock the tables in time; try again later")
    if number in SLOW:
        return TimedOut("the query ran past its time limit and was stopped")
    if number in MISCONFIGURED:
        return Misconfigured(f"the database refuses: {ACCOUNT.sub('DB_USER', error.args[1])}")
    if number in UNAVAILABLE:
        return DatabaseUnavailable(UNAVAILABLE[number])
    if isinstance(error.__context__, TimeoutError):
        return TimedOut("the database server did not answer in time")
    if isinstance(error, pymysql.err.InterfaceError) or number is None or 2000 <= number < 3000:
        return DatabaseUnavailable("the connection was lost")
    return None
