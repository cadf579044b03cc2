"""Child processes of the local stack: started so that none outlives it, ended by their id."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

STOP_SECONDS = 30


class ProcessError(Exception):
    """A process does not do what it was started for."""


def start(
    command: Sequence[str | Path],
    log: IO[Any],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` with its output going to `log`.

    A session of its own keeps the terminal's Ctrl-C away from it: the stack ends its parts itself,
    in order. Where setpriv is (every Debian and Ubuntu), the kernel ends it should the thread that
    called this be gone without having said so.
    """
    tether = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    return subprocess.Popen(
        [*tether, *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End `process` cleanly, or by force when that takes longer than STOP_SECONDS."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End `process` at once, without a chance to clean up."""
    process.kill()
    process.wait(STOP_SECONDS)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on now."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for_port(
    process: subprocess.Popen[bytes], port: int, seconds: float, log: Callable[[], str]
) -> None:
    """Wait until `process` accepts connections on this port of 127.0.0.1.

    Args:
        process: the process that will listen.
        port: the TCP port.
        seconds: how long that may take.
        log: tells what the process has written, for the error.

    Raises:
        ProcessError: the process ended, or took longer.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), seconds).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise ProcessError(f"{process.args!r} does not listen on port {port}\n{log()}")
        time.sleep(0.02)
