"""The ways in which an upload's bytes arrive: a body read piece by piece, parts, chunks."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from http.client import IncompleteRead
from io import BufferedIOBase
from typing import Any

from local.objects import Incoming, Resource, StorageError, invalid

BLOCK_BYTES = 1 << 20
# Of a chunk that is not the last one, only whole multiples of this count.
CHUNK_UNIT_BYTES = 256 << 10
CONTENT_RANGE = re.compile(r"bytes (?:\*|(?P<start>\d+)-(?P<end>\d+))/(?:\*|(?P<total>\d+))")


class Body:
    """A request's body, `left` bytes of it still unread."""

    def __init__(self, stream: BufferedIOBase, length: int) -> None:
        self._stream = stream
        self.left = length

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or what is left if that is less.

        Raises:
            IncompleteRead: the connection ended first.
        """
        wanted = min(size, self.left)
        data = self._stream.read(wanted)
        if len(data) < wanted:
            raise IncompleteRead(data, wanted - len(data))
        self.left -= wanted
        return data

    def read_line(self) -> bytes:
        """A line, without its end."""
        line = self._stream.readline(self.left)
        self.left -= len(line)
        return line.rstrip(b"\r\n")

    def blocks(self, size: int) -> Iterator[bytes]:
        """`size` bytes or what is left, in pieces that fit in memory."""
        end = max(self.left - size, 0)
        while self.left > end:
            yield self.read(min(BLOCK_BYTES, self.left - end))

    def skip(self, size: int) -> None:
        for _ in self.blocks(size):
            pass

    def json(self) -> Any:
        """The rest as JSON; an empty object where nothing is left.

        Raises:
            StorageError: it is not JSON.
        """
        return parse_json(self.read(self.left) or b"{}")


def parse_json(text: bytes) -> Any:
    """The value that a JSON text holds.

    Raises:
        StorageError: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise StorageError(HTTPStatus.BAD_REQUEST, "parseError", "Parse Error") from error


def hashes(header: str | None) -> Resource:
    """The checksums of an X-Goog-Hash header, by their names in an object's metadata."""
    pairs = (part.strip().partition("=") for part in (header or "").split(",") if part.strip())
    return {"md5Hash" if kind == "md5" else kind: value for kind, _, value in pairs}


def receive(body: Body, size: int, incoming: Incoming) -> None:
    """Take `size` bytes of the body, or what is left."""
    for block in body.blocks(size):
        incoming.write(block)


def read_metadata_part(body: Body, boundary: bytes) -> Resource:
    """Read a multipart body up to its second part's data; the first part is the metadata.

    Args:
        body: the body, untouched.
        boundary: the line between parts, its two dashes included.

    Raises:
        StorageError: the body is something else.
    """
    if body.read_line() != boundary:
        raise invalid("The body does not begin with the boundary.")
    read_part_headers(body)
    lines = []
    while (line := body.read_line()) != boundary:
        if not body.left:
            raise invalid("The body has no second part.")
        lines.append(line)
    described: Resource = parse_json(b"\n".join(lines))
    if content_type := read_part_headers(body).get("content-type"):
        described.setdefault("contentType", content_type)
    return described


def read_part_headers(body: Body) -> dict[str, str]:
    headers = {}
    while line := body.read_line():
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


def receive_part(body: Body, boundary: bytes, incoming: Incoming) -> None:
    """Take the last part's data.

    Raises:
        StorageError: the body does not end with the boundary.
    """
    end = b"\r\n" + boundary + b"--"
    # An empty line may follow the end; nothing else can.
    longest_end = len(end) + len(b"\r\n")
    receive(body, body.left - longest_end, incoming)
    data, found, rest = body.read(body.left).partition(end)
    if not found or rest.strip():
        raise invalid("The body does not end with the boundary.")
    incoming.write(data)


def receive_chunk(incoming: Incoming, content_range: str | None, body: Body) -> int | None:
    """Take what is new in a chunk of a resumable upload, or nothing if it only asks for the status.

    Args:
        incoming: what came so far.
        content_range: the chunk's header; without one it is the whole object.
        body: the chunk.

    Returns:
        The object's size as far as this chunk tells it.

    Raises:
        StorageError: the chunk does not fit what came so far.
    """
    if content_range is None:
        content_range = f"bytes 0-{body.left - 1}/{body.left}" if body.left else "bytes */0"
    match = CONTENT_RANGE.fullmatch(content_range)
    if match is None:
        raise invalid(f"Invalid Content-Range: {content_range}")
    total = int(match["total"]) if match["total"] else None
    if match["start"] is None:
        return total
    start, end = int(match["start"]), int(match["end"]) + 1
    if start > incoming.size or end - start != body.left:
        raise invalid(f"{content_range} does not fit {incoming.size} bytes here, {body.left} sent")
    # A client that has not heard of the bytes that are here sends them again.
    body.skip(min(incoming.size - start, body.left))
    is_last = end == total
    receive(body, body.left if is_last else body.left - end % CHUNK_UNIT_BYTES, incoming)
    return total
