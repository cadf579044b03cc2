"""The database: settings, connections, the snapshot that a backup reads, locks, and truncation.

All four functions reach MySQL through this module. Times are UTC, text is utf8mb4, and every wait
has a limit. Nothing here knows Flask or Cloud Storage.
"""

import contextlib
import functools
import os
import re
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.connections import Connection

import logs
from errors import BundleError, Busy, DatabaseUnavailable, Misconfigured, TimedOut

TABLES = ("departments", "jobs", "employees")
"""The three tables, those that are referred to first."""

CONNECT_SECONDS = 10
LOCK_WAIT_SECONDS = 5
REPORT_SECONDS = 30
CLEAN_UP_SECONDS = 30
"""What a backup or a truncation keeps of the function's own time limit to clean up and answer."""
DEFAULT_FUNCTION_SECONDS = 3600
"""The longest time limit an HTTP function can have, assumed where the platform names none."""
READ_SLACK_SECONDS = 5
"""How much longer than the server's own limit for a report the client waits for its word."""
NET_WRITE_SECONDS = 600
"""How long a snapshot's session waits for us to read on: an upload may be slow."""
LOCKED_NET_WRITE_SECONDS = 120
LOCKED_IDLE_SECONDS = 60
"""A session that holds table locks is ended by the server after this long without a word."""
SNAPSHOT_IDLE_SECONDS = 600
"""A snapshot's session is ended by the server after this long without a word: until then it holds
schema changes and truncations up, whatever became of the client."""
KEEP_ALIVE_SECONDS = 10
"""How often an idle connection is used while we wait for something else."""

PLAIN_SESSION = {
    "autocommit": 1,
    "completion_type": 0,
    "sql_select_limit": 2**64 - 1,
    "sql_big_selects": 1,
    "sql_safe_updates": 0,
    "sql_quote_show_create": 1,
}
"""What an administrator may have set otherwise for every session, and would cost rows: said anew,
since PyMySQL sends `autocommit` only where the server does not claim it already, and is wrong."""


# Settings


@dataclass(frozen=True)
class StorageLocation:
    """Where in Cloud Storage backups go: a bucket, and a prefix that is empty or ends with `/`."""

    bucket: str
    prefix: str


@dataclass(frozen=True)
class Settings:
    """What the environment says; `read_settings` checks it."""

    password: str = field(repr=False)
    user: str
    database: str
    socket: str | None
    host: str
    port: int
    storage: StorageLocation | None
    function_seconds: int

    def require_storage(self) -> StorageLocation:
        """The place for backups.

        Raises:
            Misconfigured: GCS_PATH is not set.
        """
        if self.storage is None:
            raise Misconfigured("GCS_PATH is not set; for example GCS_PATH=my-bucket/hiring")
        return self.storage

    def deadline(self) -> "Deadline":
        """When a backup or a truncation that starts now has to stop itself."""
        return Deadline(self.function_seconds - CLEAN_UP_SECONDS)


def read_settings(environment: dict[str, str]) -> Settings:
    """Reads and checks the settings.

    Args:
        environment: names and values, as in `os.environ`; an empty value is as good as none,
            except for DB_PASS, which has to be there but may be empty.

    Raises:
        Misconfigured: a variable is missing or malformed; the message has its name and an example.
    """
    if "DB_PASS" not in environment:
        raise Misconfigured("DB_PASS is not set; for example DB_PASS=secret (it may be empty)")

    def optional(name: str, default: str) -> str:
        value = environment.get(name) or default
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Misconfigured(f"{name} is not UTF-8") from None  # it holds the value
        return value

    return Settings(
        password=optional("DB_PASS", ""),
        user=optional("DB_USER", "root"),
        database=optional("DB_NAME", "hiring"),
        socket=_socket(optional("INSTANCE_CONNECTION_NAME", ""), optional("DB_SOCKET", "")),
        host=optional("DB_HOST", "127.0.0.1"),
        port=_whole_number("DB_PORT", optional("DB_PORT", "3306"), 1, 65535),
        storage=_storage_location(optional("GCS_PATH", "")),
        function_seconds=_whole_number(
            "CLOUD_RUN_TIMEOUT_SECONDS",
            optional("CLOUD_RUN_TIMEOUT_SECONDS", str(DEFAULT_FUNCTION_SECONDS)),
            CLEAN_UP_SECONDS + 1,
            DEFAULT_FUNCTION_SECONDS,
        ),
    )


@functools.cache
def settings() -> Settings:
    """The settings of this process, read at the first call.

    Raises:
        Misconfigured: as `read_settings`; the next call reads again.
    """
    return read_settings(dict(os.environ))


def _socket(instance: str, socket: str) -> str | None:
    if instance and socket:
        raise Misconfigured("INSTANCE_CONNECTION_NAME and DB_SOCKET are both set; set one of them")
    if instance and not re.fullmatch(r"([\w.-]+:)?[\w-]+:[\w-]+:[\w-]+", instance, re.ASCII):
        raise Misconfigured(
            "INSTANCE_CONNECTION_NAME is malformed; for example"
            " INSTANCE_CONNECTION_NAME=my-project:europe-west1:my-instance"
        )
    return f"/cloudsql/{instance}" if instance else socket or None


def _whole_number(name: str, value: str, lowest: int, highest: int) -> int:
    if re.fullmatch("[0-9]{1,9}", value) and lowest <= int(value) <= highest:
        return int(value)
    raise Misconfigured(
        f"{name} is not a whole number from {lowest} to {highest}; for example {name}={highest}"
    )


def _storage_location(path: str) -> StorageLocation | None:
    if not path:
        return None
    bucket, _, prefix = path.removeprefix("gs://").partition("/")
    prefix = prefix.removesuffix("/")
    # https://cloud.google.com/storage/docs/buckets#naming and .../objects#naming
    good_bucket = re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", bucket)
    good_prefix = re.fullmatch(r"[^\x00-\x1f\x7f]*", prefix)
    too_long = len(prefix.encode()) > 512
    if not good_bucket or not good_prefix or too_long or prefix.startswith("/") or "//" in prefix:
        raise Misconfigured("GCS_PATH is malformed; for example GCS_PATH=my-bucket/hiring")
    return StorageLocation(bucket, f"{prefix}/" if prefix else "")


class Deadline:
    """A moment after which work stops itself.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._seconds = seconds

    @property
    def passed(self) -> bool:
        """Whether there is no time left."""
        return time.monotonic() >= self._end

    def remaining(self) -> float:
        """Seconds left, more than 0.

        Raises:
            TimedOut: there are none left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimedOut(f"stopped after {self._seconds:.0f} s, this function's time limit")
        return left


# Errors

UNAVAILABLE = {
    1040: "it has too many connections",
    1045: "it refuses the login of DB_USER",
    1053: "it is shutting down",
    1129: "it blocks this host",
    1203: "DB_USER has too many connections",
    1226: "DB_USER has used up a resource limit",
    1317: "an administrator stopped the query",
    1698: "it refuses the login of DB_USER",
    1820: "the password of DB_USER has expired",
    1862: "the password of DB_USER has expired",
    1927: "an administrator ended the connection",
    3032: "it is in offline mode",
    3118: "the account of DB_USER is locked",
    4031: "it closed an idle connection",
    4151: "the account of DB_USER is locked",
}
# Something is read only; a privilege is missing; a database, a table or a column is missing or is
# not what it must be.
MISCONFIGURED = (
    {1036, 1290, 1792, 1836, 3989}
    | {1044, 1142, 1143, 1227, 1370}
    | {1049, 1054, 1102, 1146, 1347, 1356, 1701}
)
BUSY = {1205, 1213, 1412}
SLOW = {1969, 3024}


def _translate(error: pymysql.err.Error) -> BundleError:
    """Finds the error that a caller sees for one of the server's or the client's.

    The numbers: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html and
    https://mariadb.com/kb/en/mariadb-error-code-reference/
    """
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    if number in BUSY:
        return Busy("the tables are in use: a lock was not to be had in time; try again later")
    if number in SLOW:
        return TimedOut("the query ran past its time limit and was stopped")
    if number in MISCONFIGURED:
        return Misconfigured(f"the database refuses: {error.args[1]}")
    if number in UNAVAILABLE:
        return DatabaseUnavailable(f"the database server is not available: {UNAVAILABLE[number]}")
    if isinstance(error.__context__, TimeoutError):
        return TimedOut("the database server did not answer in time")
    if isinstance(error, pymysql.err.InterfaceError) or number is None or 2000 <= number < 3000:
        return DatabaseUnavailable("the database server is not available: the connection was lost")
    raise error


@contextlib.contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except pymysql.err.Error as error:
        raise _translate(error) from error


# Connections


def is_mariadb(connection: Connection) -> bool:
    """Whether the server is MariaDB, not MySQL."""
    return "MariaDB" in connection.server_version


class _Connection(Connection):
    """A connection whose wait for the server can be limited anew for each packet.

    PyMySQL has one timeout for the login and all that follows, and no public way to change it. For
    TLS, it reads all authorities that the system knows, 20 ms each time, to check no certificate
    against them: a server's own is signed by none of them.

    Attributes:
        silence_seconds: the longest silence of the server that is borne.
        deadline: ends every wait, if there is one.
    """

    silence_seconds: float
    deadline: Deadline | None = None

    def _read_packet(self, *arguments: Any) -> Any:
        self._read_timeout = self.silence_seconds
        if self.deadline:
            self._read_timeout = min(self._read_timeout, self.deadline.remaining())
        return super()._read_packet(*arguments)

    def _create_ssl_ctx(self, *_: object) -> ssl.SSLContext:
        return _tls()


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(
    settings: Settings, read_seconds: float, *, statement_seconds: int = 0, **session: Any
) -> Connection:
    """Opens a connection under the session rules: utf8mb4, UTC, autocommit, short lock waits.

    TLS is used where the server offers it, on unix sockets too: without it a cold
    `caching_sha2_password` login is refused there.

    Args:
        settings: where to and as whom.
        read_seconds: the longest silence of the server that is borne.
        statement_seconds: after which the server stops a SELECT; 0 for never.
        session: further session variables and their values.

    Raises:
        DatabaseUnavailable: the server can't be reached or refuses the login.
        Misconfigured: there is no such database, or a setting is malformed.
    """
    connection = _Connection(
        unix_socket=settings.socket,
        host=settings.host,
        port=settings.port,
        user=settings.user,
        # PyMySQL would encode it as Latin-1, MySQL takes UTF-8.
        password=settings.password.encode(),
        database=settings.database,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=CONNECT_SECONDS,
        write_timeout=CONNECT_SECONDS,
        defer_connect=True,
    )
    connection.silence_seconds = CONNECT_SECONDS
    try:
        connection.connect()
    except UnicodeError as error:
        raise Misconfigured("DB_HOST is malformed; for example DB_HOST=10.1.2.3") from error
    except pymysql.err.Error as error:
        # Else the socket that PyMySQL has not closed waits for the garbage collector.
        traceback.clear_frames(error.__traceback__)
        if error.args[0] in MISCONFIGURED:
            raise
        reason = UNAVAILABLE.get(error.args[0], "it can't be reached")
        raise DatabaseUnavailable(f"the database server is not available: {reason}") from error
    connection.silence_seconds = read_seconds
    variables = {
        "time_zone": "+00:00",
        "sql_mode": "",
        "lock_wait_timeout": LOCK_WAIT_SECONDS,
        "innodb_lock_wait_timeout": LOCK_WAIT_SECONDS,
        **PLAIN_SESSION,
        **_statement_limit(connection, statement_seconds),
        **session,
    }
    assignments = ", ".join(f"SESSION {name} = %s" for name in variables)
    with connection.cursor() as cursor:
        cursor.execute(f"SET {assignments}", tuple(variables.values()))
    return connection


def _statement_limit(connection: Connection, seconds: int) -> dict[str, int]:
    # https://mariadb.com/kb/en/server-system-variables/#max_statement_time, in seconds, and
    # https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html, in milliseconds
    if is_mariadb(connection):
        return {"max_statement_time": seconds}
    return {"max_execution_time": seconds * 1000}


def _drop(connection: Connection) -> None:
    with contextlib.suppress(pymysql.err.Error):
        connection.close()


_kept = threading.local()


@contextlib.contextmanager
def report_connection(settings: Settings) -> Iterator[Connection]:
    """This thread's connection for reports: kept from request to request, replaced when dead.

    A statement on it is stopped by the server after REPORT_SECONDS.

    Raises:
        DatabaseUnavailable, Misconfigured, Busy, TimedOut: whatever happens inside, translated.
    """
    with _errors_translated():
        connection = _living_connection() or connect(
            settings, REPORT_SECONDS + READ_SLACK_SECONDS, statement_seconds=REPORT_SECONDS
        )
        _kept.connection = None  # until this use of it has ended well
        try:
            yield connection
        except BaseException:
            _drop(connection)
            raise
        _kept.connection = connection


def _living_connection() -> Connection | None:
    connection: Connection | None = getattr(_kept, "connection", None)
    if connection is None:
        return None
    try:
        _ping(connection)
    except pymysql.err.Error:
        _kept.connection = None
        _drop(connection)
        return None
    return connection


def _ping(connection: Connection) -> None:
    """Has the server answer, which takes no longer than connecting may, or the connection fails."""
    silence_seconds = connection.silence_seconds
    connection.silence_seconds = min(silence_seconds, CONNECT_SECONDS)
    connection.ping(reconnect=False)
    connection.silence_seconds = silence_seconds


@contextlib.contextmanager
def own_connection(settings: Settings, deadline: Deadline, **session: Any) -> Iterator[Connection]:
    """A connection for one backup or truncation, closed at the end however it ends."""
    with _errors_translated():
        connection = connect(settings, deadline.remaining(), **session)
        connection.deadline = deadline
        try:
            yield connection
        except pymysql.err.Error:
            deadline.remaining()  # a lost connection after the time limit is the limit's doing
            raise
        finally:
            _drop(connection)


def keep_alive(connection: Connection) -> None:
    """Says a word to the server, which else ends a connection that is idle for too long.

    A connection that is dead already fails at its next use.
    """
    with contextlib.suppress(pymysql.err.Error):
        _ping(connection)


# Statements


def quote(name: str) -> str:
    """An identifier as SQL: https://dev.mysql.com/doc/refman/8.4/en/identifiers.html"""
    return "`" + name.replace("`", "``") + "`"


def select(connection: Connection, statement: str, *parameters: object) -> list[Any]:
    """All rows of a small result, as tuples."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall())


# The snapshot

KINDS = """
SELECT table_name, table_type, engine
FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name IN %s
"""


@contextlib.contextmanager
def snapshot(settings: Settings, deadline: Deadline) -> Iterator[Connection]:
    """A connection on which the three tables can be read as they were at one moment.

    The metadata locks come first: a table that is swapped or altered after the snapshot, but
    before it is read, would read as empty or fail. `SELECT ... LIMIT 0` takes the lock without
    opening a view; the first row read opens one view of all three. Writers are not held up, ALTER
    and TRUNCATE are, until the end.

    Raises:
        Busy: a table is locked or being altered.
        Misconfigured: a table is missing, may not be read, or is not an InnoDB table.
        DatabaseUnavailable, TimedOut: whatever happens inside, translated.
    """
    with own_connection(
        settings,
        deadline,
        net_write_timeout=NET_WRITE_SECONDS,
        wait_timeout=SNAPSHOT_IDLE_SECONDS,
    ) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("START TRANSACTION READ ONLY")
            for table in TABLES:
                cursor.execute(f"SELECT 1 FROM {quote(table)} LIMIT 0")
        check_base_tables(connection, engine="InnoDB")
        yield connection


def check_base_tables(
    connection: Connection, engine: str | None = None, tables: Iterable[str] = TABLES
) -> None:
    kinds = {name: kind for name, *kind in select(connection, KINDS, TABLES)}
    for table in tables:
        if table not in kinds:
            raise Misconfigured(f"table {table} is missing, or DB_USER may not see it")
        table_type, table_engine = kinds[table]
        if table_type != "BASE TABLE":
            raise Misconfigured(f"{table} is not a base table but a {table_type}")
        if table_engine.upper() == "MRG_MYISAM":
            raise Misconfigured(f"{table} is a MERGE table: its rows are those of other tables")
        if engine and table_engine != engine:
            raise Misconfigured(
                f"table {table} is not {engine} but {table_engine}: it has no transactions"
            )


# Truncation

REFERRERS = """
SELECT table_schema, table_name, constraint_name, referenced_table_name
FROM information_schema.key_column_usage
WHERE referenced_table_schema = DATABASE() AND referenced_table_name IN %s
  AND NOT (table_schema = DATABASE() AND table_name IN %s)
"""
LOCKED_FOR_READING = 1099


def truncate(
    settings: Settings,
    deadline: Deadline,
    *,
    dry_run: bool,
    before: Callable[[Connection, dict[str, int]], None] | None = None,
) -> dict[str, int]:
    """Empties the three tables, and lets their ids start at 1 again.

    First every check, then every lock, then what `before` does, then the tables, those that refer
    to others first. Writers wait meanwhile. A server that dies between two tables leaves the later
    ones full; calling again empties them.

    Args:
        dry_run: check and count, but change nothing.
        before: called with the connection that holds the locks, and the rows of each table; if it
            raises, nothing is truncated.

    Returns:
        The rows that each table had.

    Raises:
        Misconfigured: a table is not a base table, another table refers to one of the three, or
            the account may not empty one of them.
        Busy: a lock was not to be had in time.
        DatabaseUnavailable, TimedOut: as they say.
    """
    with own_connection(
        settings,
        deadline,
        net_write_timeout=LOCKED_NET_WRITE_SECONDS,
        wait_timeout=LOCKED_IDLE_SECONDS,
    ) as connection:
        check_base_tables(connection)
        check_not_referred_to(connection)
        lock_tables(connection, "READ")
        _check_may_truncate(connection)
        if dry_run:
            return count_rows(connection)
        lock_tables(connection, "WRITE")
        # Again, for what changed while no lock was held; under the locks nothing can.
        check_base_tables(connection)
        check_not_referred_to(connection)
        rows = count_rows(connection)
        logs.event("tables locked", rows=rows)
        if before:
            before(connection, rows)
        _empty(connection, deadline)
        return rows


def _empty(connection: Connection, deadline: Deadline) -> None:
    with connection.cursor() as cursor:
        # The server refuses to empty a table that another refers to, even where the account may not
        # see the other, unless its checks are off: they are on for employees, which nothing of ours
        # refers to, and off for those that it did refer to.
        for table, checks in zip(reversed(TABLES), (1, 0, 0), strict=True):
            deadline.remaining()
            cursor.execute(f"SET SESSION foreign_key_checks = {checks}")
            cursor.execute(f"TRUNCATE TABLE {quote(table)}")
            logs.event("table emptied", table=table)


def check_not_referred_to(connection: Connection) -> None:
    for schema, table, constraint, referenced in select(connection, REFERRERS, TABLES, TABLES):
        raise Misconfigured(
            f"the rows of {schema}.{table} would be orphaned:"
            f" its foreign key {constraint} refers to {referenced}"
        )


def lock_tables(connection: Connection, mode: str, *more: str) -> None:
    locks = [*(f"{quote(table)} {mode}" for table in TABLES), *more]
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLES {', '.join(locks)}")


def _check_may_truncate(connection: Connection) -> None:
    """Asks the server itself whether the account may empty each table, whatever grants it that.

    Under our own read lock a TRUNCATE can do nothing: the server checks the privilege, then
    refuses it with error 1099 for the lock's sake. A missing privilege is another error.
    """
    for table in TABLES:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE TABLE {quote(table)}")
        except pymysql.err.Error as error:
            if error.args[0] != LOCKED_FOR_READING:
                raise


def count_rows(connection: Connection) -> dict[str, int]:
    return {
        table: select(connection, f"SELECT COUNT(*) FROM {quote(table)}")[0][0] for table in TABLES
    }
