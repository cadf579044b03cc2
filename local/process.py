"""Child processes of the local stack: started so that none outlives it, ended by their id."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

STOP_SECONDS = 30
CONNECT_SECONDS = 5


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


def listens(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS).close()
        return True
    return False
