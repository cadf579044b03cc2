"""A stand-in for Google Cloud Storage that the real google-cloud-storage client talks to.

Google's service cannot run on this machine, so this speaks as much of its JSON API as the client
needs for buckets and objects; STORAGE_EMULATOR_HOST tells the client where. It is of the project's
own making because the emulators on PyPI never answer 412 to a precondition that fails (or for one
kind of upload only), and never overwriting a backup hangs on that.

It does: create, get, list and delete buckets; upload in one piece (media, multipart) or resumably
(chunks, unknown sizes, status queries, cancelling); get, download (ranges too), list (prefix,
delimiter, pages) and delete objects; generation preconditions on all of these, for an upload at
its start and again at its commit; CRC32C and MD5, computed and compared. Objects are kept between
runs, unfinished uploads are not.

It does not: credentials and permissions, changes to metadata, old generations, copies, composing,
batches, the XML and gRPC APIs. Those are answered 501.

`POST /faults` with a JSON list makes requests go wrong, see local/faults.py; `DELETE /faults`
makes them right again.

    python -m local.storage FOLDER PORT
"""

import base64
import contextlib
import json
import re
import signal
import socket
import struct
import sys
import threading
import uuid
from dataclasses import dataclass, field, replace
from email.message import Message
from http import HTTPStatus
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, NoReturn, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from local.faults import Fault, Faults
from local.objects import (
    Conditions,
    Incoming,
    ObjectStore,
    Resource,
    StorageError,
    invalid,
    not_found,
    read_number,
)
from local.uploads import Body, hashes, read_metadata_part, receive, receive_chunk, receive_part

LIST_LIMIT = 1000
CLIENT_CLOSED_REQUEST = 499
WRONG_CRC32C = "d3Jvbg=="

API = r"/storage/v1/b"
BUCKETS_PATH = re.compile(rf"{API}/?")
BUCKET_PATH = re.compile(rf"{API}/(?P<bucket>[^/]+)")
OBJECTS_PATH = re.compile(rf"{API}/(?P<bucket>[^/]+)/o/?")
OBJECT_PATH = re.compile(rf"(?P<download>/download)?{API}/(?P<bucket>[^/]+)/o/(?P<name>.+)")
UPLOAD_PATH = re.compile(rf"(/resumable)?/upload{API}/(?P<bucket>[^/]+)/o")
RANGE = re.compile(r"bytes=(?P<start>\d*)-(?P<end>\d*)")


@dataclass(frozen=True)
class Request:
    """What a request asks; `base_url` is how the client reaches the emulator."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    base_url: str
    body: Body


@dataclass(frozen=True)
class Answer:
    """What a request is answered: a JSON `resource`, a part of a `file`, or no body at all.

    Closing it, or leaving its `with` block, closes the file.
    """

    status: int = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)
    resource: Resource | None = None
    file: IO[bytes] | None = None
    start: int = 0
    length: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self.file:
            self.file.close()


@dataclass
class Session:
    """A resumable upload; `stored` is the object's metadata once it is committed."""

    bucket: str
    described: Resource
    conditions: Conditions
    incoming: Incoming
    lock: threading.Lock = field(default_factory=threading.Lock)
    stored: Resource | None = None


class Service:
    """What the API does, apart from HTTP's own affairs."""

    def __init__(self, folder: Path) -> None:
        self.store = ObjectStore(folder)
        self._sessions: dict[str, Session] = {}

    def answer(self, request: Request) -> Answer:
        """Carry out a request.

        Raises:
            StorageError: it is refused.
        """
        path, query = request.path, request.query
        if match := UPLOAD_PATH.fullmatch(path):
            return self._upload(request, unquote(match["bucket"]))
        if match := OBJECT_PATH.fullmatch(path):
            name = decode_name(match["name"])
            media = match["download"] is not None or query.get("alt") == "media"
            return self._object(request, unquote(match["bucket"]), name, media)
        if match := OBJECTS_PATH.fullmatch(path):
            if request.method == "GET":
                return self._list(request, unquote(match["bucket"]))
        elif match := BUCKET_PATH.fullmatch(path):
            return self._bucket(request.method, unquote(match["bucket"]))
        elif BUCKETS_PATH.fullmatch(path):
            return self._buckets(request)
        raise not_implemented()

    def _buckets(self, request: Request) -> Answer:
        if request.method == "POST":
            name = str(request.body.json().get("name", ""))
            return Answer(resource=self.store.create_bucket(name))
        if request.method == "GET":
            return Answer(resource={"kind": "storage#buckets", "items": self.store.buckets()})
        raise not_implemented()

    def _bucket(self, method: str, bucket: str) -> Answer:
        if method == "GET":
            return Answer(resource=self.store.bucket(bucket))
        if method == "DELETE":
            self.store.delete_bucket(bucket)
            return Answer(HTTPStatus.NO_CONTENT)
        raise not_implemented()

    def _list(self, request: Request, bucket: str) -> Answer:
        query = request.query
        limit = min(read_number(query, "maxResults") or LIST_LIMIT, LIST_LIMIT)
        token = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        page = self.store.list(
            bucket,
            query.get("prefix", ""),
            query.get("delimiter", ""),
            max(token, query.get("startOffset", "")),
            query.get("endOffset"),
            limit,
        )
        resource: Resource = {
            "kind": "storage#objects",
            "items": [with_links(item, request.base_url) for item in page.objects],
            "prefixes": page.prefixes,
        }
        if page.next_name is not None:
            resource["nextPageToken"] = base64.urlsafe_b64encode(page.next_name.encode()).decode()
        return Answer(resource=resource)

    def _object(self, request: Request, bucket: str, name: str, media: bool) -> Answer:
        generation = read_number(request.query, "generation")
        conditions = Conditions.from_query(request.query)
        if request.method == "DELETE":
            self.store.delete(bucket, name, generation, conditions)
            return Answer(HTTPStatus.NO_CONTENT)
        if request.method != "GET":
            raise not_implemented()
        if media:
            resource, file = self.store.open(bucket, name, generation, conditions)
            return download(resource, file, request.headers.get("Range"))
        resource = self.store.find(bucket, name, generation, conditions)
        return Answer(resource=with_links(resource, request.base_url))

    # Uploads

    def _upload(self, request: Request, bucket: str) -> Answer:
        if "upload_id" in request.query:
            return self._continue(request, self._session(request.query["upload_id"]))
        if request.method != "POST":
            raise not_implemented()
        kind = request.query.get("uploadType")
        if kind == "resumable":
            return self._begin(request, bucket)
        if kind not in ("media", "multipart"):
            raise not_implemented()
        return self._upload_at_once(request, bucket, multipart=kind == "multipart")

    def _upload_at_once(self, request: Request, bucket: str, *, multipart: bool) -> Answer:
        described = hashes(request.headers.get("X-Goog-Hash"))
        if multipart:
            boundary = b"--" + (request.headers.get_boundary() or "").encode()
            described |= read_metadata_part(request.body, boundary)
        else:
            described["contentType"] = request.headers.get_content_type()
        conditions = self._check(request, bucket, described)
        incoming = self.store.incoming()
        try:
            if multipart:
                receive_part(request.body, boundary, incoming)
            else:
                receive(request.body, request.body.left, incoming)
            stored = self.store.commit(bucket, incoming, described, conditions)
        finally:
            incoming.discard()
        return Answer(resource=with_links(stored, request.base_url))

    def _check(self, request: Request, bucket: str, described: Resource) -> Conditions:
        """Complete `described` with the object's name and refuse what could not be committed."""
        described["name"] = request.query.get("name") or described.get("name", "")
        conditions = Conditions.from_query(request.query)
        self.store.check_upload(bucket, described["name"], conditions)
        return conditions

    def _begin(self, request: Request, bucket: str) -> Answer:
        described = request.body.json()
        if content_type := request.headers.get("X-Upload-Content-Type"):
            described.setdefault("contentType", content_type)
        conditions = self._check(request, bucket, described)
        upload_id = uuid.uuid4().hex
        self._sessions[upload_id] = Session(bucket, described, conditions, self.store.incoming())
        # The name is of no use to us, but lets a fault tell one object's chunks from another's.
        query = f"uploadType=resumable&name={quote(described['name'], '')}&upload_id={upload_id}"
        location = f"{request.base_url}/upload{API}/{quote(bucket)}/o?{query}"
        return Answer(headers={"Location": location, "X-GUploader-UploadID": upload_id})

    def _session(self, upload_id: str) -> Session:
        try:
            return self._sessions[upload_id]
        except KeyError:
            raise not_found(f"upload: {upload_id}") from None

    def _continue(self, request: Request, session: Session) -> Answer:
        with session.lock:
            if session.stored is None:
                if request.method == "DELETE":
                    self._forget(request.query["upload_id"])
                    return Answer(CLIENT_CLOSED_REQUEST)
                described = session.described | hashes(request.headers.get("X-Goog-Hash"))
                content_range = request.headers.get("Content-Range")
                total = receive_chunk(session.incoming, content_range, request.body)
                if session.incoming.size != total:
                    return incomplete(session.incoming)
                try:
                    session.stored = self.store.commit(
                        session.bucket, session.incoming, described, session.conditions
                    )
                except StorageError:
                    self._forget(request.query["upload_id"])
                    raise
            # A chunk that is sent again because its answer was lost is answered again.
            return Answer(resource=with_links(session.stored, request.base_url))

    def _forget(self, upload_id: str) -> None:
        self._sessions.pop(upload_id).incoming.discard()

    def close(self) -> None:
        """Give up all unfinished uploads."""
        for session in self._sessions.values():
            session.incoming.discard()


def not_implemented() -> StorageError:
    message = "This emulator does not do that."
    return StorageError(HTTPStatus.NOT_IMPLEMENTED, "notImplemented", message)


def decode_name(quoted: str) -> str:
    """An object's name out of a path.

    Raises:
        StorageError: it is not UTF-8.
    """
    try:
        return unquote(quoted, errors="strict")
    except UnicodeDecodeError as error:
        raise invalid("Object names are UTF-8.") from error


def with_links(resource: Resource, base_url: str) -> Resource:
    """An object's metadata with its addresses, which change with the emulator's own."""
    path = f"{API}/{quote(resource['bucket'])}/o/{quote(resource['name'], '')}"
    generation = resource["generation"]
    return resource | {
        "selfLink": f"{base_url}{path}",
        "mediaLink": f"{base_url}/download{path}?generation={generation}&alt=media",
    }


def incomplete(incoming: Incoming) -> Answer:
    """Tell the client how much of a resumable upload is here."""
    headers = {"Range": f"bytes=0-{incoming.size - 1}"} if incoming.size else {}
    return Answer(HTTPStatus.PERMANENT_REDIRECT, headers)


def download(resource: Resource, file: IO[bytes], range_header: str | None) -> Answer:
    """An object's bytes, or the range of them that is asked for."""
    size = int(resource["size"])
    headers = {
        "Content-Type": resource["contentType"],
        "ETag": resource["etag"],
        "X-Goog-Generation": resource["generation"],
        "X-Goog-Metageneration": resource["metageneration"],
        "X-Goog-Hash": f"crc32c={resource['crc32c']},md5={resource['md5Hash']}",
        "X-Goog-Stored-Content-Length": resource["size"],
        "X-Goog-Stored-Content-Encoding": resource.get("contentEncoding", "identity"),
        "X-Goog-Storage-Class": resource["storageClass"],
    }
    if "contentEncoding" in resource:
        headers["Content-Encoding"] = resource["contentEncoding"]
    asked = read_range(range_header, size)
    if asked is None:
        return Answer(headers=headers, file=file, length=size)
    if not asked:
        file.close()
        status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        return Answer(status, {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
    return Answer(HTTPStatus.PARTIAL_CONTENT, headers, None, file, asked.start, len(asked))


def read_range(header: str | None, size: int) -> range | None:
    """The bytes that a Range header asks for: None is all, an empty range cannot be had."""
    match = RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-":
        return None
    if not match["start"]:
        return range(max(size - int(match["end"]), 0), size)
    end = int(match["end"]) + 1 if match["end"] else size
    return range(int(match["start"]), min(end, size))


def refusal(error: StorageError) -> Answer:
    """An error in the shape that Google's APIs give it."""
    detail = {"message": str(error), "domain": "global", "reason": error.reason}
    resource = {"code": int(error.status), "message": str(error), "errors": [detail]}
    # A 304 has no body, and one that came nevertheless would be taken for the next answer.
    has_body = error.status != HTTPStatus.NOT_MODIFIED
    return Answer(error.status, resource={"error": resource} if has_body else None)


def with_wrong_checksum(answer: Answer) -> Answer:
    """The same answer, but for the CRC32C that it tells."""
    headers = dict(answer.headers)
    if "X-Goog-Hash" in headers:
        headers["X-Goog-Hash"] = f"crc32c={WRONG_CRC32C}"
    resource = answer.resource
    if resource and "crc32c" in resource:
        resource = resource | {"crc32c": WRONG_CRC32C}
    return replace(answer, headers=headers, resource=resource)


class Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, has them carried out, and brings the faults in."""

    server: "Server"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Buffered, so that headers and a short body are one packet.
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the inherited name)
        """Say nothing: the client knows what it asked for."""

    def do_GET(self) -> None:
        """Answer a request of any method; a connection that ends meanwhile is no news."""
        try:
            self._serve()
        except (ConnectionError, IncompleteRead):
            self.close_connection = True

    do_DELETE = do_PATCH = do_POST = do_PUT = do_GET  # noqa: N815 (the inherited names)

    def _serve(self) -> None:
        body = Body(self.rfile, int(self.headers.get("Content-Length", 0)))
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._send(refusal(StorageError(HTTPStatus.LENGTH_REQUIRED, "required", "No length")))
        elif self.path == "/faults":
            self._send(self._set_faults(body))
        elif fault := self.server.faults.take(self.command, unquote(self.path)):
            self._fail(fault, body)
        else:
            self._send(self._carry_out(body))

    def _set_faults(self, body: Body) -> Answer:
        if self.command == "DELETE":
            self.server.faults.clear()
            return Answer(HTTPStatus.NO_CONTENT)
        try:
            self.server.faults.add([Fault.from_json(rule) for rule in body.json()])
        except (StorageError, ValueError) as error:
            return refusal(invalid(str(error)))
        return Answer(HTTPStatus.NO_CONTENT)

    def _carry_out(self, body: Body) -> Answer:
        target = urlsplit(self.path)
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        base_url = f"http://{self.headers['Host']}"
        request = Request(self.command, target.path, query, self.headers, base_url, body)
        try:
            answer = self.server.service.answer(request)
        except StorageError as error:
            answer = refusal(error)
        # What is left unread would be taken for the next request.
        body.skip(body.left)
        return answer

    def _fail(self, fault: Fault, body: Body) -> None:
        match fault.action:
            case "status":
                body.skip(body.left)
                self._send(refusal(StorageError(fault.status, "fault", "A fault was asked for.")))
            case "reset" if body.left:
                body.skip(body.left // 2)
                self._reset()
            case "reset":
                self._send(self._carry_out(body), cut=True)
                self._reset()
            case "lose_answer":
                self._carry_out(body).close()
                self.close_connection = True
            case "wrong_checksum":
                self._send(with_wrong_checksum(self._carry_out(body)))
            case "delay":
                self.server.stopping.wait(fault.seconds)
                self._send(self._carry_out(body))

    def _send(self, answer: Answer, *, cut: bool = False) -> None:
        """Write an answer, or `cut` half of it, with the headers of all of it."""
        content = b"" if answer.resource is None else json.dumps(answer.resource).encode()
        length = answer.length if answer.file else len(content)
        self.send_response(answer.status)
        if answer.resource is not None:
            self.send_header("Content-Type", "application/json; charset=UTF-8")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        wanted = length // 2 if cut else length
        with answer:
            self.wfile.write(content[:wanted])
            self.wfile.flush()
            if answer.file and wanted:
                self.connection.sendfile(answer.file, answer.start, wanted)

    def _reset(self) -> NoReturn:
        """End the connection such that the other side sees it reset."""
        on_zero_seconds = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on_zero_seconds)
        self.connection.close()
        raise ConnectionAbortedError("reset, as was asked for")


class Server(ThreadingHTTPServer):
    """A thread for each connection; the handlers share the service and the faults."""

    request_queue_size = 128

    def __init__(self, port: int, service: Service) -> None:
        self.service = service
        self.faults = Faults()
        self.stopping = threading.Event()
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show a mistake of ours; that a client was killed between two requests is none."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class StorageEmulator:
    """The emulator in a thread of this process.

    Attributes: `url` (for STORAGE_EMULATOR_HOST), `faults` (what `POST /faults` adds to).
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Open the objects in `folder` and listen on 127.0.0.1, on a free port if it is 0.

        Raises:
            OSError: the port is in use, or the folder cannot be written.
        """
        self._server = Server(port, Service(folder))
        self.faults = self._server.faults
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def ensure_bucket(self, name: str) -> None:
        """Make a bucket, unless there is one of this name already."""
        store = self._server.service.store
        if name not in [bucket["name"] for bucket in store.buckets()]:
            store.create_bucket(name)

    def stop(self) -> None:
        """Stop answering, and end the connections there are."""
        self._server.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.service.close()


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m local.storage FOLDER PORT")
    signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before there are threads, so that all of them leave the signals to sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    emulator = StorageEmulator(Path(sys.argv[1]), int(sys.argv[2]))
    emulator.start()
    print(f"STORAGE_EMULATOR_HOST={emulator.url}", flush=True)
    signal.sigwait(signals)
    emulator.stop()


if __name__ == "__main__":
    main()
