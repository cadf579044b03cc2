"""Opens a connection: logs in, in bounded time, and sets what a session depends on.

TLS is used where it is asked for or offered. A server's global defaults and its `init_connect`
reach every new session. Some of them would lose rows, keep a transaction open, read what is later
rolled back, or hide a table.
"""

import contextlib
import socket
from typing import Any

import pymysql
from pymysql.constants import CLIENT
from pymysql.cursors import Cursor

from hiring import bounded
from hiring.deadline import Deadline
from hiring.errors import BundleError, DatabaseUnavailable, Misconfigured, TimedOut
from hiring.mysql.connection import Connection, is_mariadb
from hiring.mysql.server_errors import (
    ACCESS_DENIED,
    MISCONFIGURED,
    error_number,
    translate,
    unreached,
)
from hiring.settings import Settings
from hiring.tables import TABLES
from hiring.tls import verifying_context

CONNECT_SECONDS = 10
LOCK_WAIT_SECONDS = 5
DEFAULTS = {
    "time_zone": "+00:00",
    "sql_mode": "",
    # PyMySQL sends autocommit only if the server does not report it already, which can be wrong.
    "autocommit": 1,
    "completion_type": 0,
    "sql_select_limit": 2**64 - 1,
    "sql_big_selects": 1,
    "sql_safe_updates": 0,
    "sql_auto_is_null": 0,
    "sql_quote_show_create": 1,
    "unique_checks": 1,
    "div_precision_increment": 4,
    # Without it, LOCK TABLES does not wait for row locks.
    "innodb_table_locks": 1,
}
MYSQL_DEFAULTS = {"transaction_isolation": "REPEATABLE-READ", "max_execution_time": 0}
MARIADB_DEFAULTS = {
    "tx_isolation": "REPEATABLE-READ",
    "max_statement_time": 0,
    "idle_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
}


def connect(
    settings: Settings, deadline: Deadline, *, multi_statements: bool = False, **variables: Any
) -> Connection:
    """Opens a connection in CONNECT_SECONDS.

    PyMySQL requires TLS with DB_SSL_CA, and else uses it where the server offers it, on unix
    sockets too.

    Args:
        settings: of the database.
        deadline: of all that is done with the connection.
        multi_statements: whether one query may hold several statements.
        variables: further session variables and their values.

    Raises:
        DatabaseUnavailable: the server can't be reached or refuses the login.
        Misconfigured: DB_HOST is malformed, or `init_connect` hides a table by a temporary one.
        pymysql.err.Error: there is no such database, or DB_USER may not use it.
    """
    connection = Connection(
        unix_socket=settings.socket,
        host=settings.host,
        port=settings.port,
        ssl=settings.authorities and verifying_context(settings.authorities, settings.host),
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
        _begin(connection, settings.database, variables)
    except BaseException as error:
        drop(connection)
        silent = isinstance(error, pymysql.err.Error) and isinstance(
            error.__context__, TimeoutError
        )
        if silent or isinstance(error, TimedOut):
            reason = f"it does not answer in time at {settings.address}"
            raise DatabaseUnavailable(reason) from error
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
        raise DatabaseUnavailable(unreached(error, settings.address)) from error


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
        raise DatabaseUnavailable(f"it can't be reached at {settings.address}: {reason}") from error


def _begin(connection: Connection, database: str, variables: dict[str, Any]) -> None:
    """Sets the variables, uses the database, and ends what `init_connect` may have begun."""
    of_server = MARIADB_DEFAULTS if is_mariadb(connection) else MYSQL_DEFAULTS
    waits = {"lock_wait_timeout": LOCK_WAIT_SECONDS, "innodb_lock_wait_timeout": LOCK_WAIT_SECONDS}
    values = DEFAULTS | of_server | waits | variables
    assignments = ", ".join(f"SESSION {name} = %s" for name in values)
    if is_mariadb(connection):
        # A global one would show the rows of a system-versioned table as they were.
        assignments += ", SESSION system_versioning_asof = DEFAULT"
    # A global OFF would hide the column of a primary key that MySQL has added, and its values.
    assignments += " /*!80030 , SESSION show_gipk_in_create_table_and_information_schema = 1 */"
    with connection.cursor() as cursor:
        # A global completion_type would end the connection, or begin the next transaction.
        cursor.execute("ROLLBACK AND NO CHAIN NO RELEASE")
        cursor.execute("UNLOCK TABLES")
        cursor.execute(f"SET {assignments}", tuple(values.values()))
        connection.select_db(database)
        for table in TABLES:
            _check_not_hidden(cursor, table)


def _check_not_hidden(cursor: Cursor, table: str) -> None:
    """Checks that no temporary table hides a table: nothing but `init_connect` makes one."""
    try:
        cursor.execute(f"SHOW CREATE TABLE {table}")
    except pymysql.err.Error as error:
        refusal = translate(error)
        if refusal and not isinstance(refusal, Misconfigured):
            raise
        return  # missing, or not to be seen: a session always sees its own temporary tables
    if cursor.fetchall()[0][1].startswith("CREATE TEMPORARY "):
        raise Misconfigured(
            f"a temporary table hides {table} from DB_USER; the server's init_connect makes it"
        )
