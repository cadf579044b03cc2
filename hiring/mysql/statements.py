"""Statements on a connection: quoted names, commands, small results, pings."""

import contextlib
from typing import Any

import pymysql

from hiring.deadline import Deadline
from hiring.errors import TimedOut
from hiring.mysql import login
from hiring.mysql.connection import Connection

KEEP_ALIVE_SECONDS = 10
"""How often an idle connection is pinged while its owner waits for something else."""


def quote(name: str) -> str:
    """An identifier as SQL: https://dev.mysql.com/doc/refman/8.4/en/identifiers.html"""
    return "`" + name.replace("`", "``") + "`"


def execute(connection: Connection, statement: str, *parameters: object) -> None:
    """Runs a statement without a result."""
    select(connection, statement, *parameters)


def select(connection: Connection, statement: str, *parameters: object) -> list[Any]:
    """All rows of a small result, as tuples."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall())


def ping(connection: Connection) -> None:
    """Pings the server; an answer that takes longer than connecting may is a failure."""
    deadline = connection.deadline
    connection.deadline = Deadline(min(deadline.remaining(), login.CONNECT_SECONDS))
    try:
        connection.ping(reconnect=False)
    finally:
        connection.deadline = deadline


def keep_alive(connection: Connection) -> None:
    """Pings the server so that it does not close an idle connection.

    A connection that is dead already fails at its next use.
    """
    with contextlib.suppress(pymysql.err.Error, TimedOut):
        ping(connection)
