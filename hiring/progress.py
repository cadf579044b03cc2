"""Shows the progress of a command that runs for minutes: a bar on a terminal, else log lines."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from hiring import logs

CountRows = Callable[[int], None]
"""Called with the number of rows that are finished."""

DRAW_SECONDS = 0.1
LOG_SECONDS = 10
BAR_CHARACTERS = 30


def status(message: str, severity: str = "INFO", **fields: object) -> None:
    """Writes one line: plain text on a terminal, else a log line."""
    if not sys.stderr.isatty():
        logs.event(message, severity, **fields)
        return
    details = ", ".join(f"{name} {value}" for name, value in fields.items())
    sys.stderr.write(f"{message}: {details}\n" if details else f"{message}\n")


def answer(text: str) -> None:
    """Writes a command's result to standard output, apart from its progress and errors."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Progress:
    """The progress of a step over many rows; calling it counts rows.

    Args:
        step: its name, such as "loading employees".
        total: number of rows, if it is known.
        unit: what is counted.
    """

    def __init__(self, step: str, total: int | None = None, unit: str = "rows") -> None:
        self._unit = unit
        self._step = step
        self._total = total
        self._rows = 0
        self._is_terminal = sys.stderr.isatty()
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._show()
        if self._is_terminal:
            sys.stderr.write("\n")

    def __call__(self, rows: int = 1) -> None:
        """Counts rows."""
        self._rows += rows
        pause = DRAW_SECONDS if self._is_terminal else LOG_SECONDS
        if time.monotonic() - self._shown > pause:
            self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        seconds = round(self._shown - self._started, 3)
        if not self._is_terminal:
            fields: dict[str, Any] = {"step": self._step, self._unit: self._rows, "of": self._total}
            logs.event("progress", **fields, seconds=seconds)
            return
        bar = ""
        if self._total:
            done = BAR_CHARACTERS * min(self._rows, self._total) // self._total
            bar = f" [{'#' * done:<{BAR_CHARACTERS}}]"
        sys.stderr.write(f"\r{self._step:<24}{bar} {self._rows:,} {self._unit}, {seconds:.0f} s")
        sys.stderr.flush()
