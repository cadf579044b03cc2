"""The database connection that all functions share: session rules, errors, snapshot, locks.

Times are UTC, text is utf8mb4, and every wait has a limit. Nothing here knows Flask, so that the
commands share it too.
"""

import contextlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import Busy, DatabaseUnavailable, Misconfigured, TimedOut
from hiring.mysql import login, pymysql
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import NO_SUCH_TABLE, may_pass, translate
from hiring.mysql.statements import execute, ping, quote, select
from hiring.settings import Settings
from hiring.tables import TABLES

BACKUP_CONNECT_SECONDS = 60
"""How long a backup goes on trying to connect: a failover takes about a minute."""
PAUSE_SECONDS = 5
REPORT_SECONDS = 30
RENAME_SECONDS = 0.5
"""How long a table may be missing while another session swaps it for another one."""
RENAMED = "a table was missing for a moment; try again later"
SNAPSHOT_LIMITS: dict[str, Any] = {"net_write_timeout": 600, "wait_timeout": 600}
"""Seconds that the server waits for a snapshot's client, which may upload, to read on or to ask.

A session whose client is gone would go on blocking ALTER and TRUNCATE.
"""
LOCK_LIMITS: dict[str, Any] = {"net_write_timeout": 120, "wait_timeout": 60}
"""The same for a session that holds table locks, which block every writer."""


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except pymysql.err.Error as error:
        if translated := translate(error):
            raise translated from error
        raise


_kept = threading.local()


@contextlib.contextmanager
def report_connection(settings: Settings, deadline: Deadline) -> Iterator[Connection]:
    """This thread's connection for reports, reused between requests and replaced when it is dead.

    The deadline ends every wait for the server, however slowly its answer arrives, and the server
    stops its statements a moment before. The errors are those of `own_connection`.
    """
    with _translated_errors():
        connection = _living_connection(deadline) or login.connect(settings, deadline)
        try:
            with _noticed_renames(connection):
                yield connection
        except BaseException:
            login.drop(connection)
            raise
        _kept.connection = connection


def _living_connection(deadline: Deadline) -> Connection | None:
    """The kept connection, which is kept again only after its next use succeeds."""
    connection: Connection | None = vars(_kept).pop("connection", None)
    if connection:
        try:
            connection.deadline = deadline
            ping(connection)
        except (pymysql.err.Error, TimedOut):
            login.drop(connection)
            return None
    return connection


@contextlib.contextmanager
def own_connection(
    settings: Settings, deadline: Deadline, *, patience: float = 0, **variables: Any
) -> Iterator[Connection]:
    """A connection for one backup, truncation or load, always closed at the end.

    Args:
        settings, deadline, variables: as of `login.connect`.
        patience: seconds for which connecting is tried again.

    Raises:
        DatabaseUnavailable, Misconfigured, Busy, TimedOut: whatever happens inside, translated.
    """
    with _translated_errors():
        connection = _connect_patiently(settings, deadline, patience, **variables)
        try:
            with _noticed_renames(connection):
                yield connection
        except pymysql.err.Error:
            deadline.remaining()  # after the time limit, a lost connection is its consequence
            raise
        finally:
            login.drop(connection)


@contextlib.contextmanager
def _noticed_renames(connection: Connection) -> Iterator[None]:
    """Raises Busy for a table that is missing only while another session renames tables."""
    try:
        yield
    except pymysql.err.ProgrammingError as error:
        # A foreign key may refer to a fourth table, which is missing for good.
        named = [table for table in TABLES if f".{table}'" in str(error.args[-1])]
        if error.args[0] == NO_SUCH_TABLE and named and _come_back(connection, named):
            raise Busy(RENAMED) from error
        raise


def _come_back(connection: Connection, tables: Iterable[str]) -> bool:
    """Whether tables are there within RENAME_SECONDS."""
    connection.rollback()  # the locks of this transaction may hold the rename up
    end = time.monotonic() + RENAME_SECONDS
    while time.monotonic() < end:
        try:
            for table in tables:
                select(connection, f"SELECT 1 FROM {quote(table)} LIMIT 0")
            return True
        except pymysql.err.ProgrammingError:
            time.sleep(RENAME_SECONDS / 20)
    return False


def _connect_patiently(
    settings: Settings, deadline: Deadline, patience: float, **variables: Any
) -> Connection:
    """Connects, and tries again while the server is away; a refused login is refused at once."""
    end = time.monotonic() + min(patience, deadline.remaining())
    told = None
    while True:
        try:
            with _translated_errors():
                return login.connect(settings, deadline, **variables)
        except DatabaseUnavailable as error:
            if not may_pass(error.__cause__) or time.monotonic() + PAUSE_SECONDS > end:
                raise
            if told != (told := str(error)):
                logs.event("connecting again", "WARNING", reason=told, seconds=patience)
        time.sleep(PAUSE_SECONDS)


def count_rows(connection: Connection, tables: Iterable[str] = TABLES) -> dict[str, int]:
    """The number of rows of each table."""
    return {
        table: select(connection, f"SELECT COUNT(*) FROM {quote(table)}")[0][0] for table in tables
    }


def has_rows(connection: Connection, table: str) -> bool:
    """Whether a table holds any row."""
    return bool(select(connection, f"SELECT EXISTS (SELECT 1 FROM {quote(table)})")[0][0])


TABLE_KINDS = """
SELECT table_name, table_type, engine
FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name IN %s
"""


@contextlib.contextmanager
def snapshot(
    settings: Settings, deadline: Deadline, *, patience: float = 0
) -> Iterator[Connection]:
    """A connection that reads the three tables as they were at one moment.

    The metadata locks come first: a table that is swapped or altered after the snapshot, but
    before it is read, would read as empty or fail. `SELECT ... LIMIT 0` takes the lock without
    opening a view; the first row read, of information_schema too, opens one view of all three.
    Writers do not wait; ALTER and TRUNCATE wait until the end.
    """
    with own_connection(settings, deadline, patience=patience, **SNAPSHOT_LIMITS) as connection:
        open_snapshot(connection)
        yield connection


def open_snapshot(connection: Connection, *, now: bool = False) -> None:
    """Begins a transaction that holds the tables as they are, and opens its view at the first row.

    `now` opens the view at once, before the metadata locks: right only under table locks.
    """
    view = "WITH CONSISTENT SNAPSHOT, " if now else ""
    execute(connection, f"START TRANSACTION {view}READ ONLY")
    for table in TABLES:
        execute(connection, f"SELECT 1 FROM {quote(table)} LIMIT 0")


def lock_tables(connection: Connection, mode: str, *more: str) -> None:
    """Locks the three tables for READ or WRITE; `more` are further parts of LOCK TABLES."""
    locks = [*(f"{quote(table)} {mode}" for table in TABLES), *more]
    execute(connection, f"LOCK TABLES {', '.join(locks)}")


def check_base_tables(
    connection: Connection, engine: str | None = None, tables: Iterable[str] = TABLES
) -> None:
    """Checks that tables exist, hold their own rows, and have an engine if it is given.

    Raises:
        Busy: a table is being renamed.
        Misconfigured: a table is missing, a view, a MERGE table, or has another engine.
    """
    kinds = {name: kind for name, *kind in select(connection, TABLE_KINDS, TABLES)}
    for table in tables:
        if table not in kinds:
            if _come_back(connection, [table]):
                raise Busy(RENAMED)
            raise Misconfigured(f"table {table} is missing, or DB_USER may not see it")
        table_type, table_engine = kinds[table]
        if table_type == "SYSTEM VERSIONED":
            raise Misconfigured(
                f"{table} is a system-versioned table: its history is in no backup, and the server"
                " does not truncate it"
            )
        if table_type != "BASE TABLE":
            raise Misconfigured(f"{table} is not a base table but a {table_type}")
        if table_engine.upper() == "MRG_MYISAM":
            raise Misconfigured(f"{table} is a MERGE table: its rows are those of other tables")
        if engine and table_engine != engine:
            raise Misconfigured(
                f"table {table} is not {engine} but {table_engine}: it has no transactions"
            )


REFERRERS = """
SELECT table_schema, table_name, constraint_name, referenced_table_name
FROM information_schema.key_column_usage
WHERE referenced_table_schema = DATABASE() AND referenced_table_name IN %s
  AND NOT (table_schema = DATABASE() AND table_name IN %s)
"""


def check_not_referenced(connection: Connection) -> None:
    """Raises Misconfigured if another table, whose rows would be orphaned, refers to the three."""
    for schema, table, constraint, referenced in select(connection, REFERRERS, TABLES, TABLES):
        raise Misconfigured(
            f"the rows of {schema}.{table} would be orphaned:"
            f" its foreign key {constraint} refers to {referenced}"
        )


GRANT = re.compile(r"(GRANT|REVOKE) (.+?) ON (.+?) (?:TO|FROM) ")
SYSTEM_SCHEMAS = {"`mysql`.*", "`sys`.*", "`performance_schema`.*", "`information_schema`.*"}
SHOWN = {"REFERENCES": "foreign key that refers to the tables", "TRIGGER": "trigger on the tables"}
# With partial revokes, no schema of a grant is a pattern.
FITS = (
    "SELECT 1 FROM dual WHERE %s LIKE %s COLLATE utf8mb4_bin /*!80016 AND NOT @@partial_revokes*/"
)


def check_sees(connection: Connection, right: str, tables: Iterable[str] | None = None) -> None:
    """Checks that the account has the right, on tables or everywhere, that shows what SHOWN says.

    Rights of active roles count: https://dev.mysql.com/doc/refman/8.4/en/show-grants.html
    """
    places: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for found in filter(None, (GRANT.match(line) for (line,) in select(connection, "SHOW GRANTS"))):
        has = not {right, "ALL PRIVILEGES"}.isdisjoint(found[2].split(", "))
        places[found[1], has].add(found[3])
    granted, revoked = places["GRANT", True], places["REVOKE", True]
    missing = (revoked - SYSTEM_SCHEMAS) or ({"*.*"} - granted)
    if tables is not None:
        ((schema,),) = select(connection, "SELECT DATABASE()")
        whole = f"{quote(schema)}.*"
        everywhere = "*.*" in granted and whole not in revoked
        grants = granted | places["GRANT", False]
        fit = {each for each in grants if each == whole or select(connection, FITS, whole, each)}
        # Of several patterns that fit, the server takes one.
        covered = everywhere or (fit and fit <= granted)
        missing = {f"{quote(schema)}.{quote(each)}" for each in tables if not covered} - granted
    if missing:
        raise Misconfigured(
            f"DB_USER may not see every {SHOWN[right]}; an administrator can GRANT {right} ON"
            f" {' and ON '.join(sorted(missing))} to it"
        )
