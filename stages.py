"""A stage: work done in a thread of its own, so that reading, compressing and storing overlap.

Stages make a chain: this thread reads, hands blocks to one that compresses, which hands its bytes
to one that stores. Each waits when the next is too far behind, so that memory stays bounded, and
raises what the next one raised, so that a failure anywhere arrives here, once.
"""

import concurrent.futures
import contextvars
from collections import deque
from collections.abc import Callable
from types import TracebackType

import db

AHEAD = 2
"""Pieces of work that wait or are being done before handing over another one waits."""


class Stage:
    """A thread that does what it is handed, in order, until something fails.

    Used as a context manager: leaving the block ends the thread, after the work in hand.

    Args:
        name: of the thread.
        deadline: after which waiting for the thread raises TimedOut.
    """

    def __init__(self, name: str, deadline: db.Deadline) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix=name)
        self._context = contextvars.copy_context()  # the thread's log lines belong to the request
        self._deadline = deadline
        self._pending: deque[concurrent.futures.Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._failed = True  # nothing that still waits may start
        self._executor.shutdown(cancel_futures=True)

    def hand_over(self, work: Callable[..., object], *arguments: object) -> None:
        """Has the thread call `work` with the arguments; waits while too much is pending.

        Raises:
            TimedOut: the deadline has passed.
            Exception: what earlier work raised, the first one that failed.
        """
        while len(self._pending) >= AHEAD:
            self._collect(self._deadline.remaining())
        self._pending.append(
            self._executor.submit(self._context.run, self._do, work, arguments),
        )

    def finish(self, meanwhile: Callable[[], None], seconds: float) -> None:
        """Waits until everything is done, and calls `meanwhile` each time so many seconds passed.

        Raises: as `hand_over`.
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
        """Waits that long for the oldest piece of work; whether it is done."""
        done, _ = concurrent.futures.wait([self._pending[0]], seconds)
        if done:
            self._pending.popleft().result()
        return bool(done)
