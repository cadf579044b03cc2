"""Logs in to the database server, in bounded time, with TLS where it is asked for or offered."""

import socket

import pymysql
from pymysql.constants import CLIENT

from hiring import bounded
from hiring.deadline import Deadline
from hiring.errors import BundleError, DatabaseUnavailable, Misconfigured, TimedOut
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import MISCONFIGURED, error_number, unreached
from hiring.settings import Settings
from hiring.tls import verifying_context

CONNECT_SECONDS = 10

ACCESS_DENIED = 1045


def log_in(settings: Settings, flags: int) -> Connection:
    """A connection whose deadline is that of connecting.

    PyMySQL requires TLS with DB_SSL_CA, and else uses it where the server offers it, on unix
    sockets too.

    Without TLS, a server whose cache does not hold the account's password takes it as it is on its
    own unix socket, and encrypted with RSA on a forwarded one, such as Cloud SQL's. It refuses the
    other way with the error of a wrong password, and only it knows which socket this is. So after
    that error the other way is tried, once: wrong passwords can lock an account.
    https://dev.mysql.com/doc/refman/8.4/en/caching-sha2-pluggable-authentication.html

    Args:
        settings: of the database.
        flags: further capabilities of the client, as in `pymysql.constants.CLIENT`.

    Raises:
        DatabaseUnavailable: the server can't be reached or refuses the login.
        Misconfigured: DB_HOST is malformed.
        pymysql.err.Error: there is no such database, or DB_USER may not use it.
    """
    connection = Connection(
        unix_socket=settings.socket,
        host=settings.host,
        port=settings.port,
        ssl=verifying_context(settings.authorities, settings.host),
        user=settings.user,
        # PyMySQL would encode a str as Latin-1; MySQL expects UTF-8.
        password=settings.password.encode(),
        database=settings.database,
        charset="utf8mb4",
        autocommit=True,
        client_flag=CLIENT.LOCAL_FILES | flags,  # for `send_lines`: PyMySQL itself sends no file
        write_timeout=CONNECT_SECONDS,
        defer_connect=True,
    )
    connection.read_timeout = CONNECT_SECONDS
    connection.deadline = deadline = Deadline(CONNECT_SECONDS)
    try:
        try:
            connection.log_in(_reach(settings, deadline), private=settings.socket is not None)
        except pymysql.err.OperationalError as error:
            denied = settings.socket and error_number(error) == ACCESS_DENIED
            if not denied or connection.server_capabilities & CLIENT.SSL:
                raise
            connection.log_in(_reach(settings, deadline), private=False)
    except TimedOut as error:
        raise silent(settings) from error
    except BundleError:
        raise
    except Exception as error:  # PyMySQL raises all kinds where no MySQL server answers
        if error_number(error) in MISCONFIGURED:
            raise
        if isinstance(error.__context__, TimeoutError):
            raise silent(settings) from error
        raise unavailable(unreached(error, settings.address)) from error
    return connection


def _reach(settings: Settings, deadline: Deadline) -> socket.socket:
    """A socket that is connected to the server."""
    seconds = deadline.remaining()
    try:
        if settings.socket:
            return bounded.connect_unix(settings.socket, seconds)
        return bounded.connect(settings.host, settings.port, seconds)
    except UnicodeError as error:
        raise Misconfigured("DB_HOST is malformed; for example DB_HOST=10.1.2.3") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise unavailable(f"it can't be reached at {settings.address}: {reason}") from error


def silent(settings: Settings) -> DatabaseUnavailable:
    """The error for a server that takes too long for a login."""
    return unavailable(f"it does not answer in time at {settings.address}")


def unavailable(reason: str) -> DatabaseUnavailable:
    """The error for a server with which nothing can be done."""
    return DatabaseUnavailable(f"the database server is not available: {reason}")
