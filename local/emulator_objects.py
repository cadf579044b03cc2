"""Adds to gcp-storage-emulator what a backup relies on; only this file knows its internals.

Preconditions, generations, checksums, repeated chunks, cancelled uploads, pages of a listing,
ranges, holds, retention policies, and gzip that is decompressed during a download.
"""

import contextlib
import datetime
import gzip
import hashlib
import json
import logging
import re
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gcp_storage_emulator.exceptions import BadRequest, Conflict, NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import HANDLERS, Request, Response
from gcp_storage_emulator.settings import STORAGE_DIR
from gcp_storage_emulator.storage import Storage
from werkzeug.exceptions import Forbidden, PreconditionFailed
from werkzeug.http import parse_range_header

Resource = dict[str, Any]

LIST_LIMIT = 1000
CLIENT_CLOSED_REQUEST = SimpleNamespace(value=499, phrase="Client Closed Request")
HOLDS = ("temporaryHold", "eventBasedHold")
CONDITION = re.compile("if(Generation|Metageneration)(Match|NotMatch)")

# The emulator logs every refusal as an error, although the client gets it as an answer.
logging.getLogger().addHandler(logging.NullHandler())


class Store(Storage):
    """The emulator's store, for one request at a time; unfinished uploads are in memory only."""

    def __init__(self, folder: Path) -> None:
        self.request: Request = None
        self.stored: dict[str, Resource] = {}
        self._received: dict[str, bytearray] = {}
        self._changes = folder.resolve() / STORAGE_DIR / ".changes"
        super().__init__(data_dir=str(folder.resolve()))

    def _read_config_from_file(self) -> None:
        """Replays what became of each bucket and object."""
        super()._read_config_from_file()
        lines = self._changes.read_text().splitlines() if self._changes.exists() else []
        for line in lines:
            with contextlib.suppress(ValueError):  # a kill cut this line
                bucket_name, file_name, resource = json.loads(line)
                kept = self.objects.setdefault(bucket_name, {}) if file_name else self.buckets
                kept.pop(file_name or bucket_name, None)
                if resource:
                    kept[file_name or bucket_name] = resource

    def _write_config_to_file(self) -> None:
        """Writes nothing: the whole list for each object would take longer with each one."""

    def _write_change(self, bucket_name: str, file_name: str = "") -> None:
        """Writes what became of an object or a bucket, as one more line."""
        kept = self.objects[bucket_name] if file_name else self.buckets
        resource = kept.get(file_name or bucket_name)
        with self._changes.open("a") as changes:
            changes.write(f"\n{json.dumps([bucket_name, file_name, resource])}")

    def _object_path(self, bucket_name: str, file_name: str) -> str:
        return f"{bucket_name}/{hashlib.sha256(file_name.encode()).hexdigest()}"

    def _bucket_soft_delete_retention_seconds(self, bucket_name: str) -> int:  # noqa: ARG002
        return 0

    def create_bucket(self, bucket_name: str, bucket_obj: Resource) -> Resource:
        created: Resource = super().create_bucket(bucket_name, bucket_obj)
        self._write_change(bucket_name)
        return created

    def check(self, bucket_name: str, file_name: str) -> None:
        """Checks the request's preconditions against the stored object."""
        current = self.objects.get(bucket_name, {}).get(file_name, {})
        for name, (value,) in self.request.query.items():
            if condition := CONDITION.fullmatch(name):
                equal = str(current.get(condition[1].lower(), 0)) == value
                if equal is (condition[2] == "NotMatch"):
                    raise PreconditionFailed(f"The pre-condition {name}={value} does not hold.")

    def check_not_held(self, bucket_name: str, file_name: str) -> None:
        """Checks that no hold and no retention policy keeps an object."""
        found = self.objects.get(bucket_name, {}).get(file_name, {})
        policy = self.buckets.get(bucket_name, {}).get("retentionPolicy", {})
        which = f"Object '{bucket_name}/{file_name}' is"
        if any(map(found.get, HOLDS)):
            raise Forbidden(f"{which} under an active hold and cannot be deleted or overwritten")
        if found and policy:
            created = datetime.datetime.fromisoformat(found["timeCreated"])
            end = created + datetime.timedelta(seconds=int(policy["retentionPeriod"]))
            if datetime.datetime.now(datetime.UTC) < end:
                raise Forbidden(f"{which} subject to bucket's retention policy until {end}")

    def create_file(
        self, bucket_name: str, file_name: str, content: bytes, file_obj: Resource, *file_id: str
    ) -> None:
        """Stores an object if the preconditions and the checksums in the request's header hold."""
        self.check(bucket_name, file_name)
        self.check_not_held(bucket_name, file_name)
        told = set(re.findall(r"[^\s,]+", self.request.get_header("X-Goog-Hash", "")))
        if told - {f"crc32c={file_obj['crc32c']}", f"md5={file_obj['md5Hash']}"}:
            raise Conflict(f"The content does not have the checksums {told}.")
        # They contain the emulator's address, which changes; the client builds its own links.
        del file_obj["mediaLink"], file_obj["selfLink"]
        if not content:  # like Google's own test server
            del file_obj["size"]
        file_obj["metageneration"] = "1"
        super().create_file(bucket_name, file_name, content, file_obj, *file_id)
        self._write_change(bucket_name, file_name)
        for key in file_id:
            self.stored[key] = file_obj
            del self._received[key]

    def delete_file(self, bucket_name: str, file_name: str) -> None:
        self.check_not_held(bucket_name, file_name)
        super().delete_file(bucket_name, file_name)
        self._write_change(bucket_name, file_name)

    def patch_object(self, bucket_name: str, file_name: str, file_obj: Resource) -> None:
        """Changes an object's metadata, and its holds, which the emulator does not know."""
        file_obj |= {name: self.request.data[name] for name in HOLDS if name in self.request.data}
        super().patch_object(bucket_name, file_name, file_obj)
        self._write_change(bucket_name, file_name)

    def create_resumable_upload(self, bucket_name: str, file_name: str, file_obj: Resource) -> str:
        self.check(bucket_name, file_name)
        file_id: str = super().create_resumable_upload(bucket_name, file_name, file_obj)
        self._received[file_id] = bytearray()
        return file_id

    def get_resumable_byte_count(self, file_id: str) -> int:
        return len(self._received[file_id])

    def add_to_resumable_upload(
        self, file_id: str, content: bytes, total_size: int | None, expected_start: int
    ) -> bytes | None:
        """Adds the new bytes of a chunk; returns the content once it is complete."""
        received = self._received[file_id]
        if expected_start > len(received):
            raise BadRequest(f"Only {len(received)} bytes are here.")
        received += content[len(received) - expected_start :]
        return bytes(received) if len(received) == total_size else None


def carry_out(request: Request, response: Response, store: Store) -> None:
    """Passes a request to the emulator, and refuses what the emulator would accept wrongly."""
    store.request = request
    matches = ((re.fullmatch(path, request.path), methods) for path, methods in HANDLERS)
    match, methods = next(found for found in matches if found[0])
    request.set_match(match)
    try:
        handle(request, response, store, methods.get(request.method))
    except NotFound:
        response.status = HTTPStatus.NOT_FOUND
    except (Forbidden, PreconditionFailed) as error:
        refuse(response, HTTPStatus(error.code), str(error.description))
    if response.status == HTTPStatus.NOT_FOUND:
        refuse(response, HTTPStatus.NOT_FOUND, f"There is no {request.path}")


def handle(request: Request, response: Response, store: Store, handler: Any) -> None:
    query = {name: values[0] for name, values in request.query.items()}
    upload = query.get("upload_id", "")
    if upload and request.method == "DELETE":
        store.delete_resumable_file_obj(upload)
        response.status = CLIENT_CLOSED_REQUEST
    elif upload in store.stored:
        response.json(store.stored[upload])
    elif handler in (objects.get, objects.download, objects.delete):
        bucket, name = request.params.values()
        found = store.get_file_obj(bucket, name)
        if query.get("generation", found["generation"]) != found["generation"]:
            raise NotFound
        store.check(bucket, name)
        if handler is objects.download or query.get("alt") == "media":
            download(request, response, store.get_file(bucket, name), found)
        else:
            handler(request, response, store)
    elif handler is objects.ls:
        bucket, prefix = request.params["bucket_name"], query.get("prefix", "")
        response.json(page(query, *store.get_file_list(bucket, prefix, query.get("delimiter"))))
    elif handler:
        handler(request, response, store)
        if "Range" in response._headers and not store.get_resumable_byte_count(upload):
            del response._headers["Range"]
    else:
        refuse(response, HTTPStatus.NOT_IMPLEMENTED, "The emulator does not do that.")


def refuse(response: Response, status: HTTPStatus, message: str) -> None:
    response.status = status
    response.json({"error": {"code": status, "message": message, "errors": []}})


def download(request: Request, response: Response, content: bytes, found: Resource) -> None:
    """Answers with an object's bytes, or with the requested range of them."""
    encoding = found.get("contentEncoding", "identity")
    response["X-Goog-Generation"] = found["generation"]
    response["X-Goog-Metageneration"] = found["metageneration"]
    response["X-Goog-Hash"] = f"crc32c={found['crc32c']},md5={found['md5Hash']}"
    response["X-Goog-Stored-Content-Encoding"] = encoding
    asked = parse_range_header(request.get_header("Range"))
    if encoding == "gzip" and "gzip" not in request.get_header("Accept-Encoding", ""):
        # Like Cloud Storage: decompressed during the download, and whole in spite of a range.
        content, asked, encoding = gzip.decompress(content), None, "identity"
    if asked and (within := asked.range_for_length(len(content))):
        response.status = HTTPStatus.PARTIAL_CONTENT
        response["Content-Range"] = asked.to_content_range_header(len(content))
        content = content[slice(*within)]
    elif asked:
        refuse(response, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "The object is shorter.")
        return
    if encoding != "identity":
        response["Content-Encoding"] = encoding
    response.write_file(content, found["contentType"])


def page(query: dict[str, str], items: list[Resource], prefixes: list[str]) -> Resource:
    """The requested page of a listing: objects and prefixes, sorted by name."""
    entries: list[Any] = [(item["name"], "items", item) for item in items]
    entries += [(prefix, "prefixes", prefix) for prefix in prefixes]
    left = sorted(entry for entry in entries if entry[0] > query.get("pageToken", ""))
    limit = min(int(query.get("maxResults", LIST_LIMIT)), LIST_LIMIT)
    kinds = ("items", "prefixes")
    result: Resource = {kind: [it for _, of, it in left[:limit] if of == kind] for kind in kinds}
    return result | ({"nextPageToken": left[limit - 1][0]} if len(left) > limit else {})
