"""What a command says while it runs: status lines, its answer, and a progress bar."""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Self

from hiring import logs
from hiring.errors import BundleError
from hiring.terminal import counted, printable

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
    # "backup found: gs://...", not "backup found: backup gs://...".
    plain = {"reason", *message.split()}
    details = [f"{value}" if name in plain else f"{name} {value}" for name, value in fields.items()]
    line = f"{message}: {', '.join(details)}" if details else message
    sys.stderr.write(f"{printable(line)}\n")


def answer(*lines: str) -> None:
    """Writes lines of a command's result: to standard output, in a Cloud Run job to the log.

    A pipe whose reader has gone is no error.

    Raises:
        BundleError: standard output cannot be written.
    """
    if is_job():
        for line in filter(None, lines):
            logs.event(line)
        return
    try:
        sys.stdout.writelines(f"{printable(line)}\n" for line in lines)
        sys.stdout.flush()
    except OSError as error:
        # Python tries once more at its end, which would make the status 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            message = f"standard output cannot be written: {error.strerror}"
            raise BundleError(message) from error


def answer_json(value: object) -> None:
    """Writes a command's result as JSON, in a Cloud Run job as one log line.

    Raises: as `answer`.
    """
    if is_job():
        logs.event("answer", answer=value)
    else:
        answer(*json.dumps(value, indent=2).splitlines())


def is_job() -> bool:
    """Whether this command is a Cloud Run job, whose log takes one JSON object a line."""
    # https://cloud.google.com/run/docs/container-contract#jobs-env-vars
    return "CLOUD_RUN_JOB" in os.environ


class Progress:
    """The progress of a step over many rows; calling it counts rows.

    Args:
        step: its name, such as "loading employees".
        total: number of rows, if it is known.
        unit: what is counted, as one of them is called.
    """

    def __init__(self, step: str, total: int | None = None, unit: str = "row") -> None:
        self._step, self._total, self._unit = step, total, unit
        self._rows = 0
        self._is_terminal = sys.stderr.isatty()
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
            fields: dict[str, Any] = {f"{self._unit}s": self._rows, "of": self._total}
            logs.event("progress", step=self._step, **fields, seconds=seconds)
            return
        bar = ""
        if self._total:
            filled = BAR_CHARACTERS * min(self._rows, self._total) // self._total
            bar = f" [{'#' * filled:<{BAR_CHARACTERS}}]"
        done = counted(self._rows, self._unit)
        sys.stderr.write(f"\r{self._step:<24}{bar} {done}, {seconds:.0f} s")
        sys.stderr.flush()
