"""A network between the functions and their database that a test can stall or cut."""

import contextlib
import socket
import threading
import time
from pathlib import Path


class Forwarder:
    """A unix socket that forwards to a TCP port, like Cloud SQL's /cloudsql/... socket."""

    def __init__(self, path: Path, port: int) -> None:
        self._port = port
        self._passing = threading.Event()
        self._passing.set()
        self.bytes_per_second = float("inf")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

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
            for pair in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._copy, args=pair))
                self._threads[-1].start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
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
