"""Sockets that connect in time, and streams whose reads end in time, whatever the network does.

A socket's own timeout starts again with each byte. A limit on a whole answer needs a new timeout
before each read. The lookup of a name knows no timeout at all.
"""

import contextlib
import io
import queue
import socket
import threading
from collections.abc import Callable, Iterator


def connect_unix(path: str, seconds: float) -> socket.socket:
    """A connection to a unix socket; raises OSError where nothing answers there in time."""
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

    An attempt that takes longer ends in its thread, unnoticed.

    Raises:
        OSError: there is no such name, or no address answers in time.
        UnicodeError: the name is malformed.
    """
    results: queue.SimpleQueue[socket.socket | Exception] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            results.put(socket.create_connection((host, port), seconds))
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            results.put(error)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("timed out") from None
    if isinstance(result, Exception):
        raise result
    result.settimeout(None)
    # As PyMySQL sets for the connections that it makes.
    result.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    result.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return result


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


class BoundedReader(io.RawIOBase):
    """Reads a socket; sets the socket's timeout before each read.

    Args:
        stream: the socket's raw stream, as `makefile("rb").detach()` returns it.
        connected: the socket.
        seconds: returns how long the next read may take; raises if no time is left.
    """

    def __init__(
        self, stream: io.RawIOBase, connected: socket.socket, seconds: Callable[[], float | None]
    ) -> None:
        self._stream = stream
        self._socket = connected
        self._seconds = seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        """Waits for bytes, at least one; 0 at the end of the stream."""
        self._socket.settimeout(self._seconds())
        return self._stream.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
