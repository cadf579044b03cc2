"""The buckets and objects of the storage emulator: files in one folder, kept between runs.

Each object is two files, named by a digest of the object's name, since names may hold any
character and be longer than a file's name may be: its bytes, in a file of their generation's own,
and its metadata, which says which generation counts. The metadata's rename is the commit: until
then nobody sees the new object, after it nobody sees the old one.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

import google_crc32c

Resource = dict[str, Any]

# What an upload may say of its object; the rest of an object's metadata is the store's to say.
UPLOADER_FIELDS = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
)
OBJECT_NAME_BYTES = 1024
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


class StorageError(Exception):
    """A request that is refused: `status`, Google's `reason` for it, and a message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


def not_found(what: str) -> StorageError:
    return StorageError(HTTPStatus.NOT_FOUND, "notFound", f"No such {what}")


def invalid(message: str) -> StorageError:
    return StorageError(HTTPStatus.BAD_REQUEST, "invalid", message)


@dataclass(frozen=True)
class Conditions:
    """The preconditions of a request, each None where the request does not set it."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Conditions":
        """Read the `if...` parameters of a request.

        Raises:
            StorageError: one is not a number.
        """
        return cls(
            read_number(query, "ifGenerationMatch"),
            read_number(query, "ifGenerationNotMatch"),
            read_number(query, "ifMetagenerationMatch"),
            read_number(query, "ifMetagenerationNotMatch"),
        )

    def check(
        self, current: Resource | None, otherwise: HTTPStatus = HTTPStatus.PRECONDITION_FAILED
    ) -> None:
        """Compare with the object that is there now, if any; its generation is 0 if none is.

        Raises:
            StorageError: with 412, or, where a `not match` fails, with `otherwise`.
        """
        generation = int(current["generation"]) if current else 0
        metageneration = int(current["metageneration"]) if current else 0
        if self.generation_match not in (None, generation) or self.metageneration_match not in (
            None,
            metageneration,
        ):
            raise self._failed(HTTPStatus.PRECONDITION_FAILED)
        if generation == self.generation_not_match or (
            current and metageneration == self.metageneration_not_match
        ):
            raise self._failed(otherwise)

    @staticmethod
    def _failed(status: HTTPStatus) -> StorageError:
        message = "At least one of the pre-conditions you specified did not hold."
        return StorageError(status, "conditionNotMet", message)


def read_number(query: Mapping[str, str], name: str) -> int | None:
    """An optional parameter that is a whole number.

    Raises:
        StorageError: it is something else.
    """
    text = query.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise invalid(f"Invalid value for {name}: {text}")
    return int(text)


class Incoming:
    """The bytes of an upload on their way in: a file nobody sees, and its checksums so far."""

    def __init__(self, folder: Path) -> None:
        handle, path = tempfile.mkstemp(dir=folder)
        self.path = Path(path)
        self.size = 0
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._crc32c = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)
        self._md5.update(data)
        self.size += len(data)

    def checksums(self) -> dict[str, str]:
        """CRC32C and MD5 in base64, by their names in an object's metadata."""
        return {
            "crc32c": base64.b64encode(self._crc32c.to_bytes(4, "big")).decode(),
            "md5Hash": base64.b64encode(self._md5.digest()).decode(),
        }

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        """Close and remove the file; nothing happens where it was stored already."""
        self.close()
        self.path.unlink(missing_ok=True)


@dataclass
class Bucket:
    """A bucket's metadata, and its objects' by name."""

    resource: Resource
    objects: dict[str, Resource] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """One page of a listing."""

    objects: list[Resource]
    prefixes: list[str]
    next_name: str | None


class ObjectStore:
    """All buckets and objects; every method may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        """Open the store in `folder`, made when missing."""
        self._buckets_folder = folder / "buckets"
        self._buckets_folder.mkdir(parents=True, exist_ok=True)
        self._incoming_folder = folder / "incoming"
        self._incoming_folder.mkdir(exist_ok=True)
        for leftover in self._incoming_folder.iterdir():
            leftover.unlink()
        self._lock = threading.RLock()
        self._buckets = {
            path.parent.name: read_bucket(path.parent)
            for path in self._buckets_folder.glob("*/bucket.json")
        }
        self._last_generation = max(
            (
                int(resource["generation"])
                for bucket in self._buckets.values()
                for resource in bucket.objects.values()
            ),
            default=0,
        )

    # Buckets

    def create_bucket(self, name: str) -> Resource:
        """Make an empty bucket.

        Raises:
            StorageError: the name is none for a bucket (400), or taken (409).
        """
        if not BUCKET_NAME.fullmatch(name):
            raise invalid(f"Invalid bucket name: '{name}'")
        with self._lock:
            if name in self._buckets:
                message = "Your previous request to create the named bucket succeeded"
                raise StorageError(HTTPStatus.CONFLICT, "conflict", message)
            now = timestamp()
            resource = {
                "kind": "storage#bucket",
                "id": name,
                "name": name,
                "projectNumber": "0",
                "location": "US",
                "locationType": "multi-region",
                "storageClass": "STANDARD",
                "metageneration": "1",
                "etag": "CAE=",
                "timeCreated": now,
                "updated": now,
            }
            (self._buckets_folder / name).mkdir(exist_ok=True)
            self._write_json(self._buckets_folder / name / "bucket.json", resource)
            self._buckets[name] = Bucket(resource)
            return resource

    def bucket(self, name: str) -> Resource:
        """A bucket's metadata.

        Raises:
            StorageError: there is no such bucket (404).
        """
        return self._find_bucket(name).resource

    def buckets(self) -> list[Resource]:
        """All buckets' metadata, by name."""
        with self._lock:
            return [bucket.resource for _, bucket in sorted(self._buckets.items())]

    def delete_bucket(self, name: str) -> None:
        """Remove an empty bucket.

        Raises:
            StorageError: there is no such bucket (404), or it holds objects (409).
        """
        with self._lock:
            if self._find_bucket(name).objects:
                message = "The bucket you tried to delete is not empty."
                raise StorageError(HTTPStatus.CONFLICT, "conflict", message)
            folder = self._buckets_folder / name
            (folder / "bucket.json").unlink()
            folder.rmdir()
            del self._buckets[name]

    def _find_bucket(self, name: str) -> Bucket:
        with self._lock:
            if name not in self._buckets:
                raise not_found("bucket: The specified bucket does not exist.")
            return self._buckets[name]

    # Objects

    def incoming(self) -> Incoming:
        """A place for an upload's bytes."""
        return Incoming(self._incoming_folder)

    def check_upload(self, bucket: str, name: str, conditions: Conditions) -> None:
        """Refuse an upload that could not be committed if it ended now.

        Raises:
            StorageError: no such bucket (404), a bad name (400), a precondition (412).
        """
        if not 0 < len(name.encode()) <= OBJECT_NAME_BYTES or re.search(r"[\r\n]", name):
            raise invalid(f"Invalid object name: {name!r}")
        with self._lock:
            conditions.check(self._find_bucket(bucket).objects.get(name))

    def commit(
        self, bucket: str, incoming: Incoming, described: Resource, conditions: Conditions
    ) -> Resource:
        """Make a finished upload the object that everyone sees, or refuse it.

        Args:
            bucket: its bucket's name.
            incoming: its bytes; taken over.
            described: what the upload says of the object: name, content type, checksums, ...
            conditions: checked once more, now that nobody can come between.

        Returns:
            The new object's metadata.

        Raises:
            StorageError: see `check_upload`; or a checksum does not fit (400).
        """
        checksums = incoming.checksums()
        for kind, value in checksums.items():
            if described.get(kind, value) != value:
                raise invalid(f"Provided {kind} {described[kind]!r} doesn't match {value!r}.")
        name = described["name"]
        incoming.close()
        with self._lock:
            self.check_upload(bucket, name, conditions)
            replaced = self._find_bucket(bucket).objects.get(name)
            generation = max(time.time_ns() // 1000, self._last_generation + 1)
            self._last_generation = generation
            resource = describe_object(bucket, generation, incoming.size, described) | checksums
            incoming.path.rename(self._data_path(resource))
            self._write_json(self._metadata_path(bucket, name), resource)
            self._buckets[bucket].objects[name] = resource
            if replaced:
                self._data_path(replaced).unlink()
            return resource

    def find(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Conditions | None = None,
        not_match: HTTPStatus = HTTPStatus.NOT_MODIFIED,
    ) -> Resource:
        """An object's metadata.

        Raises:
            StorageError: no such bucket, object or generation (404), a precondition (412, 304).
        """
        with self._lock:
            resource = self._find_bucket(bucket).objects.get(name)
            if resource is None or generation not in (None, int(resource["generation"])):
                raise not_found(f"object: {bucket}/{name}")
            if conditions:
                conditions.check(resource, not_match)
            return resource

    def open(
        self, bucket: str, name: str, generation: int | None, conditions: Conditions
    ) -> tuple[Resource, IO[bytes]]:
        """An object's metadata and its bytes, which stay readable when it is replaced meanwhile.

        Raises:
            StorageError: see `find`.
        """
        with self._lock:
            resource = self.find(bucket, name, generation, conditions)
            return resource, self._data_path(resource).open("rb")

    def delete(
        self, bucket: str, name: str, generation: int | None, conditions: Conditions
    ) -> None:
        """Remove an object.

        Raises:
            StorageError: see `find`; a failed precondition is always 412.
        """
        with self._lock:
            resource = self.find(
                bucket, name, generation, conditions, HTTPStatus.PRECONDITION_FAILED
            )
            self._metadata_path(bucket, name).unlink()
            del self._buckets[bucket].objects[name]
            self._data_path(resource).unlink()

    def list(
        self, bucket: str, prefix: str, delimiter: str, start: str, end: str | None, limit: int
    ) -> Page:
        """Objects by name, those beyond a delimiter folded into prefixes.

        Args:
            bucket: the bucket's name.
            prefix: names begin with this.
            delimiter: names that hold this after the prefix are folded; "" folds nothing.
            start: the first name that may be listed.
            end: the first name that may not, if any.
            limit: how many objects and prefixes a page may hold.

        Raises:
            StorageError: there is no such bucket (404).
        """
        with self._lock:
            objects = dict(self._find_bucket(bucket).objects)
        page = Page([], [], None)
        for name in sorted(objects):
            if not name.startswith(prefix) or name < start or (end is not None and name >= end):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("",) * 3
            folded = prefix + head + found if found else None
            if folded and folded in page.prefixes[-1:]:
                continue
            if len(page.objects) + len(page.prefixes) == limit:
                return Page(page.objects, page.prefixes, name)
            if folded:
                page.prefixes.append(folded)
            else:
                page.objects.append(objects[name])
        return page

    # Files

    def _metadata_path(self, bucket: str, name: str) -> Path:
        return self._buckets_folder / bucket / f"{digest(name)}.json"

    def _data_path(self, resource: Resource) -> Path:
        file_name = f"{digest(resource['name'])}.{resource['generation']}"
        return self._buckets_folder / str(resource["bucket"]) / file_name

    def _write_json(self, path: Path, resource: Resource) -> None:
        handle, unfinished = tempfile.mkstemp(dir=self._incoming_folder)
        with os.fdopen(handle, "w") as file:
            json.dump(resource, file)
        Path(unfinished).rename(path)


def read_bucket(folder: Path) -> Bucket:
    """A bucket as its files tell; bytes whose metadata was never written are removed."""
    bucket = Bucket(json.loads((folder / "bucket.json").read_text()))
    expected = {folder / "bucket.json"}
    for path in folder.glob("*.json"):
        if path.name != "bucket.json":
            resource = json.loads(path.read_text())
            bucket.objects[resource["name"]] = resource
            expected |= {path, folder / f"{path.stem}.{resource['generation']}"}
    for path in set(folder.iterdir()) - expected:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return bucket


def describe_object(bucket: str, generation: int, size: int, described: Resource) -> Resource:
    """A new object's metadata, but for its checksums."""
    now = timestamp()
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{described['name']}/{generation}",
        "name": described["name"],
        "bucket": bucket,
        "generation": str(generation),
        "metageneration": "1",
        "storageClass": "STANDARD",
        "size": str(size),
        "etag": base64.b64encode(f"{generation}/1".encode()).decode(),
        "timeCreated": now,
        "updated": now,
        "timeStorageClassUpdated": now,
        "contentType": "application/octet-stream",
        **{key: described[key] for key in UPLOADER_FIELDS if key in described},
    }


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def timestamp() -> str:
    """Now, in UTC, as Cloud Storage writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
