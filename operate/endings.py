"""How a command ends: its exit statuses, signals, and outputs that fail."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from hiring.errors import BundleError
from hiring.progress import status

MEANINGS = """\
0   done
1   an unforeseen error
2   the command, a setting or a table of the database is wrong
3   the backup or the folder is missing, incomplete or damaged, or does not fit the tables
4   the database refused or changed a row, or too many rows of a CSV file are invalid
5   the database or Cloud Storage was not available or refused the credentials, or the tables
    were in use: try again
6   done in part; the message says what is left
130 interrupted, or not confirmed
"""
"""The exit statuses; `hiring/errors.py` has that of each error."""

UNFINISHED = 6
INTERRUPTED = 128 + signal.SIGINT

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_received: list[int] = []


def _interrupt(number: int, _: object) -> None:
    _received.append(number)  # Python loses what is raised inside a finalizer
    raise KeyboardInterrupt


def interrupt_on_every_signal() -> None:
    """Ends a command in an orderly way also on SIGTERM, which Cloud Run sends, and on SIGHUP.

    Both do what Ctrl-C does. A signal that is ignored, as SIGHUP is under nohup, stays ignored.
    """
    for each in SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _interrupt)


def hold_off_interrupts() -> None:
    """Ignores interrupts until the process ends; raises KeyboardInterrupt if one was lost before.

    A handler in Python would not do: Python takes it away before it ends.
    """
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if _received:
        raise KeyboardInterrupt


def tolerate_any_text() -> None:
    """Prints a name that the terminal's encoding lacks with escapes; opens a closed output."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def output_may_fail() -> Iterator[None]:
    """Goes on if what is printed inside cannot be, such as to a full disk or a closed pipe."""
    with contextlib.suppress(OSError):
        try:
            yield
        except BundleError as error:
            status("output failed", "WARNING", reason=str(error))
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
