"""A Cloud Storage emulator for the real client: gcp-storage-emulator behind our own HTTP server.

STORAGE_EMULATOR_HOST tells the client its address. Objects are kept between runs. `POST /faults`
with a JSON list of `Fault` attributes makes requests fail; `DELETE /faults` ends that.

    python -m local.emulator FOLDER PORT
"""

import io
import json
import re
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import Request, RequestHandler, Response

from local.emulator_objects import Store, carry_out, refuse

CRC32C = re.compile(rb'(crc32c(?:=|": "))[A-Za-z0-9+/]{6}==')
PIECES = 20
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class Fault:
    """Makes matching requests fail.

    Attributes:
        match: a regular expression, searched in the unquoted path and query.
        method: the HTTP method; None matches all.
        after: number of matching requests to let through first.
        times: number of requests that fail then; None is no limit.
        action: `status` answers `status` and does nothing; `reset` resets the connection halfway
            through the request's body and does nothing, or, without a body, halfway through the
            answer; `lose_answer` carries the request out and closes the connection without an
            answer; `wrong_checksum` answers with a CRC32C that is not the object's; `delay` waits
            `seconds` before it reads the body; `slow` sends the answer in pieces over `seconds`;
            `nonsense` carries the request out and answers with an empty list.
        status: of the answer, for the action `status`.
        seconds: for the actions `delay` and `slow`.
        seen: number of matching requests so far.
    """

    match: str = ""
    method: str | None = None
    after: int = 0
    times: int | None = 1
    action: str = "status"
    status: int = 503
    seconds: float = 0
    seen: int = 0

    def hits(self, method: str, target: str) -> bool:
        """Whether this request fails; counts it if it matches."""
        fits = self.method in (None, method) and re.search(self.match, target) is not None
        self.seen += fits
        return fits and 0 < self.seen - self.after <= (self.times or self.seen)


class Handler(RequestHandler):
    """Serves one connection: reads requests, carries them out, and applies the faults."""

    server: "StorageEmulator"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serves until the connection ends; resets a connection that breaks off in a request."""
        try:
            super().handle()
        except ConnectionError:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.connection.close()

    def do_GET(self) -> None:  # noqa: N802 (the inherited name)
        fault = self.server.fault(self.command, self.path)
        if fault.action == "delay":
            time.sleep(fault.seconds)
        answer = self._answer(fault)
        match fault.action:
            case "reset":
                self.connection.sendall(answer[: len(answer) // 2])
                raise ConnectionResetError
            case "lose_answer":
                self.close_connection = True
            case "wrong_checksum":
                self.connection.sendall(CRC32C.sub(rb"\1d3Jvbg==", answer))
            case "slow":
                for start in range(0, len(answer), step := len(answer) // PIECES + 1):
                    time.sleep(fault.seconds / PIECES)
                    self.connection.sendall(answer[start : start + step])
            case _:
                self.connection.sendall(answer)

    do_DELETE = do_PATCH = do_POST = do_PUT = do_GET  # noqa: N815 (the inherited names)

    def _answer(self, fault: Fault) -> bytes:
        """Carries out the rest of a request unless a fault prevents that; returns the answer."""
        length = int(self.headers.get("Content-Length", 0))
        connection = self.rfile  # type: ignore[has-type]
        body = connection.read(length // 2 if fault.action == "reset" else length)
        if len(body) < length:
            raise ConnectionResetError
        self.rfile, self.wfile = io.BytesIO(body), io.BytesIO()
        response = Response(self)
        try:
            if fault.action == "status":
                refuse(response, HTTPStatus(fault.status), "A fault was asked for.")
            elif self.path == "/faults":
                kept = self.server.faults if body else []
                self.server.faults = [*kept, *(Fault(**rule) for rule in json.loads(body or "[]"))]
            else:
                with self.server.lock:
                    carry_out(Request(self, self.command), response, self.server.store)
                if fault.action == "nonsense":
                    response.json([])
        except (ValueError, TypeError) as error:
            refuse(response, HTTPStatus.BAD_REQUEST, str(error))
        response.close()
        self.rfile = connection
        return self.wfile.getvalue()


class StorageEmulator(ThreadingHTTPServer):
    """The emulator, with a thread for each connection; `url` is for STORAGE_EMULATOR_HOST."""

    request_queue_size = 128

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Opens the objects in `folder` and listens on 127.0.0.1; port 0 means a free one."""
        self.store, self.lock = Store(folder), threading.Lock()
        self.faults: list[Fault] = []
        super().__init__(("127.0.0.1", port), partial(Handler, self.store))
        self.url = f"http://127.0.0.1:{self.server_port}"

    def fault(self, method: str, path: str) -> Fault:
        """The fault that hits a request; one that does nothing if there is none."""
        target = unquote(path)
        with self.lock:
            hits = (each for each in self.faults if each.hits(method, target))
            return next(hits, Fault(action="none"))

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,)).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def ensure_bucket(self, name: str) -> None:
        create_bucket(name, self.store)


if __name__ == "__main__":
    emulator = StorageEmulator(Path(sys.argv[1]), int(sys.argv[2]))
    print(f"STORAGE_EMULATOR_HOST={emulator.url}", flush=True)
    emulator.serve_forever()
