"""Runs manage.py with a pause before a statement: `held_load.py STATEMENT TIMES ARGUMENT...`

STATEMENT is a regular expression, TIMES a number. Before the TIMES-th statement that begins with
STATEMENT, the load prints a line, and continues when it reads one.
"""

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import manage
from hiring.mysql.connection import Connection

beginning, times, *arguments = sys.argv[1:]
left = int(times)
query, commit = Connection.query, Connection.commit
send_lines = Connection.send_lines


def hold(sql: str | bytes) -> None:
    """Waits for a line of input if this is the statement to pause before."""
    global left
    text = sql.encode() if isinstance(sql, str) else bytes(sql)
    if re.match(beginning.encode(), text):
        left -= 1
        if left == 0:
            sys.stdout.write("held\n")
            sys.stdout.flush()
            sys.stdin.readline()


def held_query(connection: Connection, sql: str | bytes, unbuffered: bool = False) -> Any:
    """Sends a statement after its pause, if it has one."""
    hold(sql)
    return query(connection, sql, unbuffered)


def held_lines(connection: Connection, statement: str, lines: bytes) -> int:
    """Sends a LOAD DATA after its pause, if it has one."""
    hold(statement)
    return send_lines(connection, statement, lines)


def held_commit(connection: Connection) -> None:
    """Commits after its pause, if it has one."""
    hold("COMMIT")
    commit(connection)


Connection.query = held_query
Connection.send_lines = held_lines  # type: ignore[assignment, method-assign]
Connection.commit = held_commit
sys.exit(manage.main(arguments))
