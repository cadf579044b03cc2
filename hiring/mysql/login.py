"""Logs in to the database server, in bounded time, with TLS where it is asked for or offered."""

import traceback

import pymysql
from pymysql.constants import CLIENT

from hiring import bounded
from hiring.deadline import Deadline
from hiring.errors import DatabaseUnavailable, Misconfigured, TimedOut
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import MISCONFIGURED, unreached
from hiring.settings import Settings
from hiring.tls import verifying_context

CONNECT_SECONDS = 10

SILENT = "it does not answer in time"


def log_in(settings: Settings, flags: int) -> Connection:
    """A connection whose deadline is that of connecting.

    PyMySQL requires TLS with DB_SSL_CA, and else uses it where the server offers it, on unix
    sockets too: without TLS, a server whose password cache is cold refuses a
    `caching_sha2_password` login there.

    Args:
        settings: of the database.
        flags: further capabilities of the client, as in `pymysql.constants.CLIENT`.

    Raises:
        DatabaseUnavailable: the server can't be reached or refuses the login.
        Misconfigured: DB_HOST is malformed.
        pymysql.err.Error: there is no such database, or DB_USER may not use it.
    """
    host, port = settings.host, settings.port
    connection = Connection(
        unix_socket=settings.socket,
        host=host,
        port=port,
        ssl=verifying_context(settings.authorities, host),
        user=settings.user,
        # PyMySQL would encode a str as Latin-1; MySQL expects UTF-8.
        password=settings.password.encode(),
        database=settings.database,
        charset="utf8mb4",
        autocommit=True,
        client_flag=CLIENT.LOCAL_FILES | flags,  # for `send_lines`: PyMySQL itself sends no file
        connect_timeout=CONNECT_SECONDS,
        read_timeout=CONNECT_SECONDS,
        write_timeout=CONNECT_SECONDS,
        defer_connect=True,
    )
    connection.read_timeout = CONNECT_SECONDS
    connection.deadline = Deadline(CONNECT_SECONDS)
    try:
        connection.connect(
            None if settings.socket else bounded.connect(host, port, CONNECT_SECONDS)
        )
    except UnicodeError as error:
        raise Misconfigured("DB_HOST is malformed; for example DB_HOST=10.1.2.3") from error
    except TimedOut as error:
        raise unavailable(SILENT) from error
    except OSError as error:
        raise unavailable("it can't be reached") from error
    except pymysql.err.Error as error:
        # The frames hold a socket that PyMySQL has not closed.
        traceback.clear_frames(error.__traceback__)
        if error.args[0] in MISCONFIGURED:
            raise
        raise unavailable(unreached(error)) from error
    return connection


def unavailable(reason: str) -> DatabaseUnavailable:
    """The error for a server with which nothing can be done."""
    return DatabaseUnavailable(f"the database server is not available: {reason}")
