"""Snapshots of one moment for all tasks of a Spark barrier stage: opened under one read lock.

The first task locks the tables, on a connection of its own, and writers wait. Nobody can commit, so
all snapshots hold the same. Some milliseconds later the lock is let go.

A task looks once a second whether one of Spark's barriers is open, so none of them has to be passed
while the tables are locked. Locks of the server that are only a name take their place: the first
task holds the gate of each other one until the tables are locked, and each other one holds a lock
until it is behind the barrier, and another until its snapshot is open:
https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html
"""

import contextlib
import time
from typing import Any

from pyspark import BarrierTaskContext

import backup
import db
from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import BundleError, Busy
from hiring.mysql.connection import Connection
from hiring.mysql.statements import ping, select
from hiring.settings import Settings

LOCKING_SECONDS = 60
"""How long the first task tries to lock the tables, `login.LOCK_WAIT_SECONDS` at a time."""
LOCK_PAUSE_SECONDS = 10
"""Between two tries, so that writers who waited behind the first one get through."""
LOCK_IDLE_SECONDS = 10
"""The server lets the lock go after this long, whatever became of its client."""
BARRIER_SECONDS = 180
"""How long a task waits for the others: Spark's default is a year."""


def lead(
    connection: Connection, name: str, tasks: int, settings: Settings, deadline: Deadline
) -> tuple[dict[str, Any], BundleError | None]:
    """Opens the first task's snapshot, while the tables are locked and all others open theirs.

    Returns the head of the manifest, or why the tables could not be locked. Raises a BundleError if
    another task did not open its snapshot, or the lock was lost.
    """
    for task in range(1, tasks):
        _take(connection, f"{name} gate {task}", 0)
    BarrierTaskContext.get().barrier()
    for task in range(1, tasks):
        _take(connection, f"{name} behind {task}", BARRIER_SECONDS)
    with contextlib.ExitStack() as held:
        try:
            locker = lock(held, settings, deadline)
        except BundleError as error:
            return {}, error
        finally:
            select(connection, "SELECT RELEASE_ALL_LOCKS()")
        db.open_snapshot(connection, now=True)
        head = backup.read_head(connection, locked=True)
        for task in range(1, tasks):
            _take(connection, f"{name} opened {task}", LOCK_IDLE_SECONDS)
        ping(locker)  # if it is alive, it held the lock throughout
    return head, None


def follow(connection: Connection, name: str, task: int) -> None:
    """Opens another task's snapshot, once the tables are locked or could not be.

    Raises Busy if the first task did not come so far.
    """
    _take(connection, f"{name} opened {task}", 0)
    _take(connection, f"{name} behind {task}", 0)
    BarrierTaskContext.get().barrier()
    select(connection, "SELECT RELEASE_LOCK(%s)", f"{name} behind {task}")
    _take(connection, f"{name} gate {task}", BARRIER_SECONDS)
    db.open_snapshot(connection, now=True)
    select(connection, "SELECT RELEASE_ALL_LOCKS()")


def lock(opened: contextlib.ExitStack, settings: Settings, deadline: Deadline) -> Connection:
    """Locks the tables for reading on a connection that `opened` then closes.

    Raises Busy if somebody held them all the time, Misconfigured if the account may not lock them.
    """
    end = time.monotonic() + LOCKING_SECONDS
    while True:
        try:
            with contextlib.ExitStack() as attempt:
                connection = attempt.enter_context(
                    db.own_connection(settings, deadline, wait_timeout=LOCK_IDLE_SECONDS)
                )
                db.lock_tables(connection, "READ")
                opened.enter_context(attempt.pop_all())
                return connection
        except Busy as error:
            if time.monotonic() + LOCK_PAUSE_SECONDS > end:
                raise Busy(f"could not lock the tables in {LOCKING_SECONDS} s: {error}") from error
            logs.event("tables not locked", "WARNING", reason=str(error))
        time.sleep(LOCK_PAUSE_SECONDS)


def _take(connection: Connection, name: str, seconds: float) -> None:
    if select(connection, "SELECT GET_LOCK(%s, %s)", name, seconds) != [(1,)]:
        raise Busy(f"another worker held the lock {name} for {seconds} s")
