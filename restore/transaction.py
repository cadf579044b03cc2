"""The database's side of a load: locks, transaction, foreign keys and counters.

Rows go into the three locked tables in one transaction. It commits only when every referenced row
exists.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator

import pymysql

import db
from hiring.deadline import Deadline
from hiring.errors import Misconfigured, RowRefused
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import BUSY, MISCONFIGURED, SLOW, UNAVAILABLE
from hiring.mysql.session import is_mariadb
from hiring.mysql.statements import quote, select
from hiring.settings import Settings
from hiring.tables import TABLES
from restore import constraints

LOAD_SECONDS = 24 * 3600
"""Time limit of a load, which no platform limits; a load that works takes less than a day."""

TRIGGERS = """
SELECT event_object_table, trigger_name
FROM information_schema.triggers
WHERE event_object_schema = DATABASE() AND event_object_table IN %s
"""

FULL_TEXT_IDS = """
SELECT table_name
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name IN %s AND column_name = 'FTS_DOC_ID'
  AND EXISTS (
    SELECT 1
    FROM information_schema.statistics
    WHERE statistics.table_schema = columns.table_schema
      AND statistics.table_name = columns.table_name AND index_type = 'FULLTEXT'
  )
"""
"""The tables whose full-text indexes use a column of their own for InnoDB's document ids.

https://dev.mysql.com/doc/refman/8.4/en/innodb-fulltext-index.html
"""

COLUMN_DEFAULTS = """
SELECT column_default
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name IN %s AND column_default LIKE '%%val(%%'
"""
SEQUENCE = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|\b(?:next|last|set)val\(((?:`(?:[^`]|``)+`\.)?`(?:[^`]|``)+`)", re.DOTALL
)
"""A text, or a sequence in MariaDB's printed form of a column's default."""


def missing_tables(connection: Connection) -> list[str]:
    """The missing ones of the three tables, referenced ones first."""
    there = {name for name, *_ in select(connection, db.TABLE_KINDS, TABLES)}
    return [table for table in TABLES if table not in there]


def check_loadable(connection: Connection, tables: Iterable[str] = TABLES) -> None:
    """Checks that the tables keep inserted rows unchanged and can roll them back.

    Raises:
        Misconfigured: a table is not an InnoDB table, has a trigger, or is referred to by another
            table; the message names which.
    """
    db.check_base_tables(connection, "InnoDB", tables)
    for table, trigger in select(connection, TRIGGERS, TABLES):
        raise Misconfigured(f"table {table} has a trigger, {trigger}, which a load would fire")
    db.check_not_referenced(connection)


def check_empty(connection: Connection, tables: Iterable[str] = TABLES) -> None:
    """Checks that the tables hold no row.

    Raises:
        Misconfigured: some do; the message names them.
    """
    full = [
        table
        for table in tables
        if select(connection, f"SELECT EXISTS (SELECT 1 FROM {quote(table)})")[0][0]
    ]
    if full:
        raise Misconfigured(f"{', '.join(full)} already hold rows; --replace replaces them")


def check_replaceable(connection: Connection, tables: Iterable[str]) -> None:
    """Checks that rows can be deleted and inserted again in one transaction.

    Raises:
        Misconfigured: a full-text index takes none of its former document ids; the message names
            the table.
    """
    full_text = {table for (table,) in select(connection, FULL_TEXT_IDS, TABLES)}
    for table in full_text.intersection(tables):
        if select(connection, f"SELECT EXISTS (SELECT 1 FROM {quote(table)})")[0][0]:
            raise Misconfigured(
                f"table {table} has a full-text index on the column FTS_DOC_ID, which takes no"
                " value a second time; truncate the table, then load without --replace"
            )


@contextlib.contextmanager
def loading(settings: Settings, deadline: Deadline, sql_mode: str) -> Iterator[Connection]:
    """A connection with exclusive use of the three tables, in one transaction.

    `SET autocommit = 0`, then LOCK TABLES: START TRANSACTION would release the locks
    (https://dev.mysql.com/doc/refman/8.4/en/lock-tables.html). The end of the block rolls back what
    was not committed and releases the locks. The server does not check foreign keys row by row, so
    rows may come in any order; `constraints.check` checks them before the commit.

    Raises:
        Busy: the tables could not be locked in time.
        Misconfigured: as `check_loadable`, repeated under the locks.
        DatabaseUnavailable, TimedOut: the database failed inside the block.
    """
    with db.own_connection(
        settings,
        deadline,
        net_write_timeout=db.LOCKED_NET_WRITE_SECONDS,
        wait_timeout=db.LOCKED_IDLE_SECONDS,
        foreign_key_checks=0,
        autocommit=0,
        sql_mode=sql_mode,
    ) as connection:
        parents = [key.lock for key in constraints.foreign_keys(connection)]
        db.lock_tables(connection, "WRITE", *parents, *_sequence_locks(connection))
        check_loadable(connection)
        try:
            yield connection
        finally:
            with contextlib.suppress(pymysql.err.Error):
                connection.rollback()


def _sequence_locks(connection: Connection) -> list[str]:
    """The parts of LOCK TABLES for the sequences that give columns their defaults.

    MariaDB uses them in every INSERT, even if it gives a value for each column.
    """
    if not is_mariadb(connection):
        return []
    defaults = select(connection, COLUMN_DEFAULTS, TABLES)
    found = {match[1] for (text,) in defaults for match in SEQUENCE.finditer(text) if match[1]}
    return [f"{sequence} WRITE" for sequence in sorted(found)]


def empty(connection: Connection, tables: Iterable[str]) -> None:
    """Deletes all rows of tables inside the transaction; TRUNCATE would commit it.

    Rows of other tables stay, also those of a foreign key with ON DELETE CASCADE: the server does
    not check foreign keys on this connection.
    """
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"DELETE FROM {quote(table)}")


def create_table(connection: Connection, table: str, statement: str, origin: str) -> None:
    """Creates a missing table.

    Args:
        connection: to create it on.
        table: its name.
        statement: the CREATE TABLE.
        origin: of the statement, for the message.

    Raises:
        Misconfigured: the server refuses the statement.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except pymysql.err.Error as error:
        number = error.args[0]
        if number not in MISCONFIGURED and not _is_about_the_statement(number):
            raise
        raise Misconfigured(
            f"table {table} is missing, and this server ({connection.server_version}) refuses the"
            f" statement of {origin}: {error.args[1]}; create the table, then load again"
        ) from error


def insert(connection: Connection, statement: bytes) -> str | None:
    """Runs an INSERT; returns the server's first warning.

    Raises:
        RowRefused: the server refuses a row; the message is its own.
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except pymysql.err.Error as error:
            if _is_about_the_statement(error.args[0]):
                raise RowRefused(f"the database refuses a row: {error.args[1]}") from error
            raise
        if not cursor.warning_count:
            return None
    return str(connection.show_warnings()[0][2])


LOAD_DATA = (
    "LOAD DATA LOCAL INFILE 'rows' INTO TABLE {table} CHARACTER SET utf8mb4"
    " FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\'"
    " LINES TERMINATED BY '\\n' STARTING BY '' ({columns})"
)
"""The statement that reads lines as `sql_text` writes them; the name of the file is arbitrary."""


def load_data(connection: Connection, statement: str, lines: bytes) -> str | None:
    """Runs a LOAD DATA LOCAL; returns the server's first warning, such as for a refused row.

    Raises:
        RowRefused: the server refuses the lines; the message is its own.
    """
    try:
        warnings = connection.send_lines(statement, lines)
    except pymysql.err.Error as error:
        if _is_about_the_statement(error.args[0]):
            raise RowRefused(f"the database refuses a row: {error.args[1]}") from error
        raise
    return str(connection.show_warnings()[0][2]) if warnings else None


def _is_about_the_statement(number: object) -> bool:
    # The server's error numbers begin at 1000; 2000 to 2999 are the client's.
    known = {*UNAVAILABLE, *MISCONFIGURED, *BUSY, *SLOW}
    return isinstance(number, int) and number not in known and not 2000 <= number < 3000


def next_id(create_table: str) -> int:
    """The id of a table's next row, from its SHOW CREATE TABLE."""
    # The table's options follow the columns' closing `)`; text after a quote could be a comment's.
    found = re.search(r"^\)[^'\n]*? AUTO_INCREMENT=(\d+)", create_table, re.MULTILINE)
    return int(found[1]) if found else 1


def set_next_id(connection: Connection, table: str, wanted: int) -> None:
    """Sets the id of the table's next row; commits."""
    ((_, create_table),) = select(connection, f"SHOW CREATE TABLE {quote(table)}")
    if next_id(create_table) != wanted:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {quote(table)} AUTO_INCREMENT = %s", (wanted,))
