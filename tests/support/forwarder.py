"""A network between the functions and their database that a test can stall, cut or listen to."""

import contextlib
import socket
import threading
import time
from pathlib import Path


class Forwarder:
    """A unix socket that forwards to a TCP port, like Cloud SQL's /cloudsql/... socket.

    Without a path it listens on TCP, at `port`. `sent` has the bytes of each client so far.
    """

    def __init__(self, path: Path | None, port: int) -> None:
        self._port = port
        self.sent: list[bytearray] = []
        self._passing = threading.Event()
        self._passing.set()
        self.bytes_per_second = float("inf")
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(str(path) if path else ("127.0.0.1", 0))
        self._listener.listen()
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1, if it listens on TCP."""
        port: int = self._listener.getsockname()[1]
        return port

    def stall(self) -> None:
        """Stops passing on bytes in both directions; still accepts connections."""
        self._passing.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [near, far]
            self.sent.append(bytearray())
            for way in ((near, far, self.sent[-1]), (far, near, None)):
                self._threads.append(threading.Thread(target=self._copy, args=way))
                self._threads[-1].start()

    def _copy(self, source: socket.socket, target: socket.socket, sent: bytearray | None) -> None:
        try:
            while data := source.recv(65536):
                if sent is not None:
                    sent += data
                self._passing.wait()
                piece = max(1, int(min(len(data), self.bytes_per_second / 10)))
                for start in range(0, len(data), piece):
                    time.sleep(piece / self.bytes_per_second)
                    target.sendall(data[start : start + piece])
            self._passing.wait()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        """Cuts every connection and accepts no more."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._passing.set()
        for thread in self._threads:
            thread.join(10)
