"""A stage: a thread for one kind of work, so that what a backup does overlaps.

Stages form a chain: the caller's thread reads and submits rows to a stage that encodes, which
submits blocks to one that compresses, which submits bytes to one that stores. `submit` blocks while
the next stage is too far behind, so memory stays bounded. It raises what the stage raised, so a
failure anywhere reaches the caller.
"""

import concurrent.futures
import contextvars
import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from hiring.deadline import Deadline
from hiring.mysql.connection import Connection
from hiring.mysql.statements import KEEP_ALIVE_SECONDS, keep_alive

T = TypeVar("T")

AHEAD = 2
"""Maximum number of unfinished tasks before `submit` blocks."""


class Stage:
    """A thread that runs submitted tasks in order until one fails or the `with` block is left.

    Waiting for it raises TimedOut after the deadline.
    """

    def __init__(self, name: str, deadline: Deadline) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix=name)
        # The thread's log lines name the request too.
        self._context = contextvars.copy_context()
        self._deadline = deadline
        self._pending: deque[concurrent.futures.Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._failed = True  # no waiting task may start
        self._executor.shutdown(cancel_futures=True)

    def submit(self, work: Callable[..., object], *arguments: object) -> None:
        """Makes the thread call `work` with the arguments; blocks while too many tasks wait.

        Raises:
            TimedOut: the deadline has passed.
            Exception: what the first task that failed raised.
        """
        while len(self._pending) >= AHEAD:
            self._collect(self._deadline.remaining())
        task = self._executor.submit(self._context.run, self._do, work, arguments)
        self._pending.append(task)

    def drain(self, meanwhile: Callable[[], None], seconds: float) -> None:
        """Waits until all tasks are done; calls `meanwhile` every so many seconds.

        Raises: as `submit`.
        """
        while self._pending:
            if not self._collect(min(seconds, self._deadline.remaining())):
                meanwhile()

    def _do(self, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
        if self._failed:
            return
        try:
            work(*arguments)
        except BaseException:
            self._failed = True
            raise

    def _collect(self, seconds: float) -> bool:
        """Waits that long for the oldest task; returns whether it is done."""
        done, _ = concurrent.futures.wait([self._pending[0]], seconds)
        if done:
            self._pending.popleft().result()
        return bool(done)


def read_ahead(items: Iterator[T], connection: Connection) -> Generator[T, None, None]:
    """The items; each is made in a thread while the one before it is being used.

    The connection is kept alive while an item takes long; TimedOut after its deadline.
    """
    made: list[T] = []

    def make_one() -> None:
        made.extend(itertools.islice(items, 1))

    with Stage("read", connection.deadline) as reading:
        reading.submit(make_one)
        while True:
            reading.drain(functools.partial(keep_alive, connection), KEEP_ALIVE_SECONDS)
            if not made:
                return
            item = made.pop()
            reading.submit(make_one)
            yield item
