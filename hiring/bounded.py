"""Sockets that connect in time, and streams whose reads end in time, whatever the network does.

A socket's own timeout starts again with each byte. A limit on a whole answer needs a new timeout
before each read. The lookup of a name knows no timeout at all.
"""

import contextlib
import io
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol


def connect_unix(path: str, seconds: float) -> socket.socket:
    """A connection to a unix socket, made in time.

    Raises:
        OSError: nothing answers there in time.
    """
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.settimeout(seconds)
        connected.connect(path)
    except OSError:
        connected.close()
        raise
    return connected


def connect(host: str, port: int, seconds: float) -> socket.socket:
    """A connection over TCP, made in time: the lookup of the name and all its addresses together.

    Args:
        host: a name or an address.
        port: of the server.
        seconds: limit of the whole.

    Raises:
        OSError: there is no such name, or no address answers in time.
        UnicodeError: the name is malformed.
    """
    end = time.monotonic() + seconds
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in _look_up(host, port, seconds):
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(max(end - time.monotonic(), 0.001))
            connected.connect(address)
        except OSError as error:
            connected.close()
            failure = error
            continue
        connected.settimeout(None)
        # As PyMySQL sets for the connections that it makes.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connected
    raise failure


def _look_up(host: str, port: int, seconds: float) -> list[tuple[Any, ...]]:
    """The addresses of a name. A lookup that takes longer goes on in its thread, for nothing."""
    answers: queue.SimpleQueue[list[tuple[Any, ...]] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            answers.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"the lookup of its name took longer than {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextlib.contextmanager
def reading_ends(connected: socket.socket | None, seconds: float) -> Iterator[None]:
    """Ends all reads of a socket after so many seconds, also where a byte comes now and then."""

    def end() -> None:
        with contextlib.suppress(OSError):
            if connected:
                connected.shutdown(socket.SHUT_RD)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Raw(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...

    def close(self) -> None: ...


class BoundedReader(io.RawIOBase):
    """Reads a socket; sets the socket's timeout before each read.

    Args:
        stream: the socket's raw stream, as `makefile("rb").detach()` returns it.
        connected: the socket.
        seconds: returns how long the next read may take; raises if no time is left.
    """

    def __init__(
        self, stream: _Raw, connected: socket.socket, seconds: Callable[[], float | None]
    ) -> None:
        self._stream = stream
        self._socket = connected
        self._seconds = seconds

    def readable(self) -> bool:
        """Returns True: io.BufferedReader asks."""
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        """Waits for bytes, at least one; 0 at the end of the stream."""
        self._socket.settimeout(self._seconds())
        return self._stream.readinto(buffer)

    def close(self) -> None:
        """Closes the stream too."""
        if not self.closed:
            self._stream.close()
        super().close()
