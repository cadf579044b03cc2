"""load.py, paused before a statement: `python held_load.py STATEMENT TIMES ARGUMENT...`

It pauses before it sends the n-th statement that begins like that, prints a line, and continues
when it reads a line.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import load
from hiring.core.connection import Connection

send = Connection._execute_command
beginning, times, *arguments = sys.argv[1:]
left = int(times)


def send_or_hold(connection: Connection, command: int, sql: str | bytes) -> Any:
    """Sends a statement, when it may be sent."""
    global left
    text = sql.encode() if isinstance(sql, str) else bytes(sql)
    if text.startswith(beginning.encode()):
        left -= 1
        if left == 0:
            sys.stdout.write("held\n")
            sys.stdout.flush()
            sys.stdin.readline()
    return send(connection, command, sql)


Connection._execute_command = send_or_hold
sys.exit(load.main(arguments))
