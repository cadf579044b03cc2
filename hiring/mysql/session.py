"""Sets the variables that a session on the database server depends on.

A server's global defaults and its `init_connect` reach every new session. Some of them would lose
rows, keep a transaction open or read what is later rolled back.
"""

from typing import Any

from hiring.mysql.connection import Connection

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
MYSQL_DEFAULTS = {"transaction_isolation": "REPEATABLE-READ"}
MARIADB_DEFAULTS = {
    "tx_isolation": "REPEATABLE-READ",
    "idle_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
}


def is_mariadb(connection: Connection) -> bool:
    """Whether the server is MariaDB, not MySQL."""
    return "MariaDB" in connection.server_version


def begin(
    connection: Connection, database: str, statement_seconds: int, variables: dict[str, Any]
) -> None:
    """Sets what a new session depends on, and ends what `init_connect` may have begun.

    Args:
        connection: just opened.
        database: to use.
        statement_seconds: after which the server stops a SELECT; 0 for never.
        variables: further session variables and their values.
    """
    values = {
        **DEFAULTS,
        **(MARIADB_DEFAULTS if is_mariadb(connection) else MYSQL_DEFAULTS),
        **_statement_limit(connection, statement_seconds),
        **variables,
    }
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


def _statement_limit(connection: Connection, seconds: int) -> dict[str, int]:
    # https://mariadb.com/kb/en/server-system-variables/#max_statement_time, in seconds, and
    # https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html, in milliseconds
    if is_mariadb(connection):
        return {"max_statement_time": seconds}
    return {"max_execution_time": seconds * 1000}
