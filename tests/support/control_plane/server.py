"""The proxy that gcloud and curl talk to: it passes each request to the route of its address."""

import json
import re
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit


class Refused(Exception):
    """A request is answered with an error in Google's form."""

    def __init__(self, status: int, word: str, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        error: dict[str, Any] = {"code": status, "message": message, "status": word}
        if reason:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
        self.answer = {"error": error}


class StorageRefused(Refused):
    """A request is answered with an error in Cloud Storage's form, which has no `status` word."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(status, "", message)
        cause = {"domain": "global", "reason": reason, "message": message}
        self.answer = {"error": {"code": status, "message": message, "errors": [cause]}}


class Request(NamedTuple):
    """One request with the parts of its address."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body) if self.body else {}


class Raw(NamedTuple):
    """An answer other than JSON with status 200."""

    status: int
    body: bytes
    kind: str = "text/html"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


Handler = Callable[..., Any]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, address: str) -> Callable[[Handler], Handler]:
    """Registers a function for an address: `host/path`, with `{name}` for a part of the path."""
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", address)

    def add(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(pattern), handler))
        return handler

    return add


def find(request: Request) -> tuple[Handler, dict[str, str]]:
    host = re.sub(r"^[a-z]+-[a-z]+[0-9]-(?=(run|aiplatform|dataproc)\.)", "", request.host)
    for method, pattern, handler in ROUTES:
        match = pattern.fullmatch(host + request.path)
        if match and method == request.method:
            return handler, {name: unquote(part) for name, part in match.groupdict().items()}
    raise Refused(501, "UNIMPLEMENTED", f"no route: {request.method} {request.host}{request.path}")


class Server(ThreadingHTTPServer):
    """Serves one project until it is closed.

    Args:
        answer: the function that answers a request.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        super().__init__(("127.0.0.1", 0), Proxy)
        self.answer = answer
        self.address = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class Proxy(BaseHTTPRequestHandler):
    """Reads a request and writes the answer, as JSON or raw."""

    protocol_version = "HTTP/1.1"
    server: Server

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, address.netloc, address.path, query, headers, body)
        try:
            answer = self.server.answer(request)
        except Refused as refused:
            answer = Raw(refused.status, json.dumps(refused.answer).encode(), "application/json")
        except Exception:  # noqa: BLE001 - a test that meets it shows what gcloud prints
            answer = Raw(400, traceback.format_exc().encode(), "text/plain")
        if not isinstance(answer, Raw):
            answer = Raw(200, json.dumps(answer).encode(), "application/json")
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = _any  # noqa: N815 - the base class looks for these names
    do_PATCH = do_DELETE = do_CONNECT = _any  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass
