"""Sets the variables that a session on the database server depends on.

A server's global defaults and its `init_connect` reach every new session. Some of them would lose
rows, keep a transaction open, read what is later rolled back, or hide a table.
"""

from typing import Any

from pymysql import err
from pymysql.cursors import Cursor

from hiring.errors import Misconfigured
from hiring.mysql.connection import Connection
from hiring.mysql.server_errors import translate
from hiring.tables import TABLES

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


def is_mariadb(connection: Connection) -> bool:
    """Whether the server is MariaDB, not MySQL."""
    return "MariaDB" in connection.server_version


def begin(connection: Connection, database: str, variables: dict[str, Any]) -> None:
    """Sets what a new session depends on, with further variables, and uses a database.

    It ends what `init_connect` may have begun.

    Raises:
        Misconfigured: `init_connect` has hidden one of the three tables by a temporary one.
    """
    of_server = MARIADB_DEFAULTS if is_mariadb(connection) else MYSQL_DEFAULTS
    waits = {"lock_wait_timeout": LOCK_WAIT_SECONDS, "innodb_lock_wait_timeout": LOCK_WAIT_SECONDS}
    values = DEFAULTS | of_server | waits | variables
    assignments = ", ".join(f"SESSION {name} = %s" for name in values)
    if is_mariadb(connection):
        # A global one would show the rows of a system-versioned table as they were.
        assignments += ", SESSION system_versioning_asof = DEFAULT"
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
    except err.Error as error:
        refusal = translate(error)
        if refusal and not isinstance(refusal, Misconfigured):
            raise
        return  # missing, or not to be seen: a session always sees its own temporary tables
    if cursor.fetchall()[0][1].startswith("CREATE TEMPORARY "):
        raise Misconfigured(
            f"a temporary table hides {table} from DB_USER; the server's init_connect makes it"
        )
