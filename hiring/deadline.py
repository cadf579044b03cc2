"""A moment after which work stops itself."""

import time

from hiring.errors import TimedOut


class Deadline:
    """A moment, so many seconds from now, after which work stops itself."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._seconds = seconds

    def remaining(self) -> float:
        """Seconds left, more than 0.

        Raises:
            TimedOut: no time is left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimedOut(f"stopped after {self._seconds:.0f} s, the time limit")
        return left
