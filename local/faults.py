"""Faults that a test asks of the storage emulator: which requests go wrong, how, and how often."""

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Action = Literal["status", "reset", "lose_answer", "wrong_checksum", "delay"]
ACTIONS = ("status", "reset", "lose_answer", "wrong_checksum", "delay")


@dataclass
class Fault:
    """What happens to the requests that it fits.

    Attributes:
        match: a regular expression, searched in path and query, both unquoted.
        method: fits requests of this method only; None fits all.
        after: lets this many requests that fit go through unharmed first.
        times: happens this often; None is for ever.
        action: `status` answers `status` and does nothing; `reset` resets the connection halfway
            through the body (the request's, or a download's) and does nothing; `lose_answer`
            carries the request out and closes the connection without a word; `wrong_checksum`
            carries it out and answers a CRC32C that is not the object's; `delay` carries it out
            `seconds` later, reading nothing of its body before.
        status: the HTTP status of a `status` fault.
        seconds: of a `delay`.
    """

    match: str = ""
    method: str | None = None
    after: int = 0
    times: int | None = 1
    action: Action = "status"
    status: int = 503
    seconds: float = 0

    @classmethod
    def from_json(cls, rule: Mapping[str, Any]) -> "Fault":
        """Read a rule: an object with the attributes as its members.

        Raises:
            ValueError: a member or an action is unknown, or the expression is none.
        """
        try:
            fault = cls(**rule)
            re.compile(fault.match)
        except (TypeError, re.error) as error:
            raise ValueError(f"not a fault: {rule}: {error}") from error
        if fault.action not in ACTIONS:
            raise ValueError(f"unknown action {fault.action!r}; there are {', '.join(ACTIONS)}")
        return fault

    def fits(self, method: str, target: str) -> bool:
        return self.method in (None, method) and re.search(self.match, target) is not None


class Faults:
    """The faults in force; a request meets the first one that fits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, faults: Iterable[Fault]) -> None:
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, method: str, target: str) -> Fault | None:
        """The fault that this request meets, if any; counts it."""
        with self._lock:
            for fault in self._faults:
                if fault.times == 0 or not fault.fits(method, target):
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None
