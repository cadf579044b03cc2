"""Logs in to the database server, in bounded time, with TLS where it is asked for or offered."""

import contextlib
import socket
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from hiring import bounded
from hiring.deadline import Deadline
from hiring.errors import BundleError, DatabaseUnavailable, Misconfigured, TimedOut
from hiring.mysql import session
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import ACCESS_DENIED, MISCONFIGURED, error_number, unreached
from hiring.settings import Settings
from hiring.tls import verifying_context

CONNECT_SECONDS = 10


def connect(
    settings: Settings, deadline: Deadline, *, multi_statements: bool = False, **variables: Any
) -> Connection:
    """Opens a connection under the rules of `session.begin`, in CONNECT_SECONDS.

    PyMySQL requires TLS with DB_SSL_CA, and else uses it where the server offers it, on unix
    sockets too.

    Args:
        settings: of the database.
        deadline: of all that is done with the connection.
        multi_statements: whether one query may hold several statements.
        variables: further session variables and their values.

    Raises:
        DatabaseUnavailable: the server can't be reached or refuses the login.
        Misconfigured: DB_HOST is malformed, or a temporary table hides a table.
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
        # LOCAL_FILES for `send_lines`: PyMySQL itself sends no file.
        client_flag=CLIENT.LOCAL_FILES | (CLIENT.MULTI_STATEMENTS if multi_statements else 0),
        write_timeout=CONNECT_SECONDS,
        defer_connect=True,
    )
    connection.deadline = Deadline(CONNECT_SECONDS)
    try:
        _log_in(connection, settings)
        session.begin(connection, settings.database, variables)
    except BaseException as error:
        drop(connection)
        if isinstance(error, TimedOut):
            raise _unavailable(f"it does not answer in time at {settings.address}") from error
        raise
    connection.deadline = deadline
    return connection


def drop(connection: Connection) -> None:
    """Closes a connection, whatever state it is in."""
    with contextlib.suppress(pymysql.err.Error):
        connection.close()


def _log_in(connection: Connection, settings: Settings) -> None:
    """Logs in, if need be in two ways.

    Without TLS, a server whose cache does not hold the account's password takes it as it is on its
    own unix socket, and encrypted with RSA on a forwarded one, such as Cloud SQL's. It refuses the
    other way with the error of a wrong password, and only it knows which socket this is. So after
    that error the other way is tried, once: wrong passwords can lock an account.
    https://dev.mysql.com/doc/refman/8.4/en/caching-sha2-pluggable-authentication.html
    """
    try:
        try:
            connection.log_in(
                _reach(settings, connection.deadline), private=settings.socket is not None
            )
        except pymysql.err.OperationalError as error:
            denied = settings.socket and error_number(error) == ACCESS_DENIED
            if not denied or connection.server_capabilities & CLIENT.SSL:
                raise
            connection.log_in(_reach(settings, connection.deadline), private=False)
    except BundleError:
        raise
    except Exception as error:  # PyMySQL raises all kinds where no MySQL server answers
        if error_number(error) in MISCONFIGURED:
            raise
        if isinstance(error.__context__, TimeoutError):
            raise TimedOut from error
        raise _unavailable(unreached(error, settings.address)) from error


def _reach(settings: Settings, deadline: Deadline) -> socket.socket:
    seconds = deadline.remaining()
    try:
        if settings.socket:
            return bounded.connect_unix(settings.socket, seconds)
        return bounded.connect(settings.host, settings.port, seconds)
    except UnicodeError as error:
        raise Misconfigured("DB_HOST is malformed; for example DB_HOST=10.1.2.3") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise _unavailable(f"it can't be reached at {settings.address}: {reason}") from error


def _unavailable(reason: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"the database server is not available: {reason}")
