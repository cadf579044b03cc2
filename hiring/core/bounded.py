"""A socket's stream whose reads all end in time, however slowly the bytes arrive.

A socket's own timeout starts again with each byte. A limit on a whole answer needs a new timeout
before each read.
"""

import io
import socket
from collections.abc import Callable
from typing import Protocol


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
