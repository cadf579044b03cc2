"""Child processes of the local stack: none outlives the stack, and each is ended by its id."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

STOP_SECONDS = 30


class StackError(Exception):
    """A part of the stack is missing, did not start or has ended; the message says why."""


def start(
    command: Sequence[str | Path],
    log: IO[Any],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts `command`, which writes its output to `log`.

    The process gets a session of its own, so that the terminal's Ctrl-C does not reach it: the
    stack ends its parts itself, in order. The kernel ends it if the calling thread ends first.
    """
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends `process` cleanly, or kills it after STOP_SECONDS."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills `process`, without a chance to clean up."""
    process.kill()
    process.wait(STOP_SECONDS)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for_port(
    process: subprocess.Popen[bytes], port: int, seconds: float, log: Callable[[], str]
) -> None:
    """Waits until `process` accepts connections on this port of 127.0.0.1.

    If it does not, in time, raises a `StackError` with the output that `log` returns.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), seconds).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise StackError(f"{process.args!r} does not listen on port {port}\n{log()}")
        time.sleep(0.02)
