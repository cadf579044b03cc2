"""After the commit of a load, neither a signal nor a failing output changes the exit status."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from hiring.progress import status

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def hold_off_interrupts() -> None:
    """Ignores interrupts until the process ends.

    A handler in Python would not do: Python takes it away before it ends.
    """
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


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
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            status("output failed", "WARNING", reason=error.strerror)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Python tries once more at its end, which would make the status 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
