"""The Cloud Storage emulator with local/'s additions, used by the real client and over HTTP."""

import base64
import gzip
import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import requests
from conftest import Bucket, Storage
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from local.emulator import StorageEmulator

UNIT = 256 << 10
CONTENT = bytes(range(256)) * (3 * UNIT // 256) + b"and a little more"
TIMEOUT = 10

Upload = Callable[..., None]


def upload_multipart(bucket: Bucket, name: str, content: bytes, if_generation_match: int) -> None:
    """Uploads content in one request, with its metadata."""
    blob = bucket.blob(name)
    blob.upload_from_string(content, if_generation_match=if_generation_match)


def upload_resumable(bucket: Bucket, name: str, content: bytes, if_generation_match: int) -> None:
    """Uploads a file in chunks."""
    blob = bucket.blob(name)
    blob.chunk_size = UNIT
    # If the client knew a size below 8 MB, it would upload in one request.
    blob.upload_from_file(io.BytesIO(content), if_generation_match=if_generation_match)


def upload_streamed(bucket: Bucket, name: str, content: bytes, if_generation_match: int) -> None:
    """Uploads a stream in chunks."""
    blob = bucket.blob(name)
    writer = blob.open("wb", chunk_size=UNIT, if_generation_match=if_generation_match)
    try:
        for start in range(0, len(content), 100_000):
            writer.write(content[start : start + 100_000])
        writer.close()
    except InvalidResponse:
        # Otherwise the garbage collector would upload once more.
        writer.terminate()
        raise


every_kind_of_upload = pytest.mark.parametrize(
    "upload", [upload_multipart, upload_resumable, upload_streamed]
)


def begin_resumable(bucket: Bucket, name: str, **query: Any) -> str:
    """Begins a resumable upload over HTTP; returns its URL."""
    answer = requests.post(
        f"{bucket.storage.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "resumable", "name": name, **query},
        timeout=TIMEOUT,
    )
    assert answer.status_code == 200
    return answer.headers["Location"]


def put(url: str, content: bytes, content_range: str, **headers: str) -> requests.Response:
    """Sends a chunk over HTTP."""
    headers = {"Content-Range": content_range, **headers}
    return requests.put(url, data=content, headers=headers, timeout=TIMEOUT)


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()  # noqa: S324 (the API's own)


# Objects


@every_kind_of_upload
@pytest.mark.parametrize("content", [b"", b"short", CONTENT[: 2 * UNIT], CONTENT])
def test_what_was_uploaded_is_what_is_downloaded(
    bucket: Bucket, upload: Upload, content: bytes
) -> None:
    """Every kind of upload stores the bytes, their checksums, and their size unless it is 0."""
    upload(bucket, "a/b.bin", content, 0)
    blob = bucket.client.bucket(bucket.name).get_blob("a/b.bin")
    assert blob.download_as_bytes(checksum="crc32c") == content
    assert blob.download_as_bytes(checksum="md5") == content
    assert (blob.size, blob.crc32c, blob.md5_hash, blob.metageneration) == (
        len(content) or None,
        crc32c(content),
        md5(content),
        1,
    )


@every_kind_of_upload
def test_a_failed_precondition_is_412_and_changes_nothing(bucket: Bucket, upload: Upload) -> None:
    """Every kind of upload whose `ifGenerationMatch` fails is 412 and changes nothing."""
    upload(bucket, "once", b"first", 0)
    generation = bucket.client.bucket(bucket.name).get_blob("once").generation
    for wrong in (0, generation - 1):
        with pytest.raises((exceptions.PreconditionFailed, InvalidResponse)) as caught:
            upload(bucket, "once", b"second", wrong)
        response: Any = getattr(caught.value, "response", None)
        assert response.status_code == 412
    assert bucket.blobs() == {"once": b"first"}
    upload(bucket, "once", b"second", generation)
    assert bucket.blobs() == {"once": b"second"}


def test_a_precondition_is_checked_again_when_the_upload_ends(bucket: Bucket) -> None:
    """An object that appears during an upload of the same name is not overwritten."""
    url = begin_resumable(bucket, "contested", ifGenerationMatch=0)
    put(url, CONTENT[:UNIT], f"bytes 0-{UNIT - 1}/*")
    bucket.blob("contested").upload_from_string(b"meanwhile")
    last = put(url, CONTENT[UNIT:], f"bytes {UNIT}-{len(CONTENT) - 1}/{len(CONTENT)}")
    assert last.status_code == 412
    assert bucket.blobs() == {"contested": b"meanwhile"}


def test_a_held_object_stays(bucket: Bucket) -> None:
    """A hold or the bucket's retention policy refuses to delete or overwrite an object with 403."""
    blob = bucket.blob("held")
    blob.upload_from_string(b"content")
    for hold in ("temporary_hold", "event_based_hold"):
        setattr(blob, hold, True)
        blob.patch()
        for change in (blob.delete, lambda: bucket.blob("held").upload_from_string(b"other")):
            with pytest.raises(exceptions.Forbidden, match="hold and cannot be deleted"):
                change()
        setattr(blob, hold, False)
        blob.patch()
    store = bucket.client.bucket(bucket.name)
    store.retention_period = 3600
    store.patch()
    with pytest.raises(exceptions.Forbidden, match="subject to bucket's retention policy"):
        blob.delete()
    assert bucket.blobs() == {"held": b"content"}


def test_of_many_uploads_of_one_object_one_succeeds(bucket: Bucket) -> None:
    """Of many simultaneous uploads that create one object, exactly one succeeds."""

    def create(number: int) -> bool:
        try:
            upload_multipart(bucket, "one", b"%d" % number, 0)
        except exceptions.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        created = list(pool.map(create, range(100)))
    assert sum(created) == 1
    assert bucket.blobs() == {"one": b"%d" % created.index(True)}


def test_every_request_checks_its_preconditions(bucket: Bucket) -> None:
    """Uploading, copying, reading and deleting an object check each kind of precondition."""
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    generation = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"2", if_generation_not_match=generation)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"2", if_metageneration_match=2)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("b").rewrite(blob, if_generation_match=1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.reload(if_generation_match=generation + 1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.download_as_bytes(if_generation_match=generation + 1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=generation + 1)
    with pytest.raises(exceptions.NotFound):
        bucket.client.bucket(bucket.name).blob("a", generation=generation + 1).download_as_bytes()
    assert bucket.blobs() == {"a": b"1"}
    blob.delete(if_generation_match=generation)
    assert bucket.blobs() == {}
    with pytest.raises(exceptions.NotFound):
        blob.delete()


@pytest.mark.parametrize(
    "name", ["a", "a/b", "a//b", "a/../b", "%2F?#&+ é 李 🚀 'quoted' \\", "x" * 1024]
)
def test_object_names_are_any_text(bucket: Bucket, name: str) -> None:
    """An object may have any name: no character is special, and `a` and `a/b` are two objects."""
    bucket.blob("a/b/c").upload_from_string(b"another")
    for upload in (upload_multipart, upload_resumable):
        upload(bucket, name, b"content", bucket.blob(name).generation or 0)
        assert bucket.blobs() == {"a/b/c": b"another", name: b"content"}
        bucket.blob(name).delete()


def test_a_listing_has_pages_and_groups(bucket: Bucket) -> None:
    """A listing is sorted by name and has pages; a delimiter groups the names that contain it."""
    names = ["a", "a/1", "a/2", "b/c/1", "b/c/2", "b/d", "é"]
    for name in reversed(names):
        bucket.blob(name).upload_from_string(b"")

    def listed(**options: Any) -> tuple[list[str], set[str]]:
        found = bucket.client.list_blobs(bucket.name, **options)
        return [blob.name for blob in found], found.prefixes

    for page_size in (1, 2, 1000):
        assert listed(page_size=page_size) == (names, set())
        assert listed(page_size=page_size, delimiter="/") == (["a", "é"], {"a/", "b/"})
        assert listed(page_size=page_size, prefix="b/", delimiter="/") == (["b/d"], {"b/c/"})
    assert listed(max_results=2) == (["a", "a/1"], set())
    assert listed(prefix="none") == ([], set())


@pytest.mark.parametrize("start", [None, 3])
def test_gzip_is_decompressed_unless_raw_bytes_are_asked_for(
    bucket: Bucket, start: int | None
) -> None:
    """A gzip object is decompressed during its download unless the client asks for raw bytes."""
    stored = gzip.compress(CONTENT)
    blob = bucket.blob("packed")
    blob.content_encoding = "gzip"
    blob.upload_from_string(stored)
    assert (blob.size, blob.crc32c) == (len(stored), crc32c(stored))
    assert blob.download_as_bytes() == CONTENT
    assert blob.download_as_bytes(raw_download=True, start=start) == stored[start:]

    url = f"{bucket.storage.url}/download/storage/v1/b/{bucket.name}/o/packed?alt=media"
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start or 0}-"}
    answer = requests.get(url, headers=headers, timeout=TIMEOUT)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["X-Goog-Stored-Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in answer.headers


def test_a_download_says_which_object_it_is(bucket: Bucket) -> None:
    """A download's headers have the object's generation and checksums."""
    stored = bucket.blob("a")
    stored.upload_from_string(b"content")
    blob = bucket.blob("a")
    assert blob.download_as_bytes() == b"content"
    assert (blob.generation, blob.crc32c) == (stored.generation, crc32c(b"content"))


# Uploads by hand


def test_an_upload_can_be_resumed(bucket: Bucket) -> None:
    """A resumable upload reports its progress, and bytes sent twice are stored once."""
    url = begin_resumable(bucket, "resumed")
    status = put(url, b"", "bytes */*")
    assert (status.status_code, status.headers.get("Range")) == (308, None)

    first = put(url, CONTENT[:UNIT], f"bytes 0-{UNIT - 1}/*")
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{UNIT - 1}")
    status = put(url, b"", "bytes */*")
    assert (status.status_code, status.headers["Range"]) == (308, f"bytes=0-{UNIT - 1}")

    again = put(url, CONTENT[: 2 * UNIT], f"bytes 0-{2 * UNIT - 1}/{len(CONTENT)}")
    assert (again.status_code, again.headers["Range"]) == (308, f"bytes=0-{2 * UNIT - 1}")
    ahead = put(url, CONTENT[3 * UNIT :], f"bytes {3 * UNIT}-{len(CONTENT) - 1}/{len(CONTENT)}")
    assert ahead.status_code == 400
    assert bucket.blobs() == {}

    last_range = f"bytes {2 * UNIT}-{len(CONTENT) - 1}/{len(CONTENT)}"
    last = put(url, CONTENT[2 * UNIT :], last_range)
    assert (last.status_code, last.json()["crc32c"]) == (200, crc32c(CONTENT))
    assert put(url, CONTENT[2 * UNIT :], last_range).json() == last.json()
    assert put(url, b"", "bytes */*").json() == last.json()
    assert bucket.blobs() == {"resumed": CONTENT}


def test_a_cancelled_upload_leaves_nothing(bucket: Bucket) -> None:
    """A cancelled upload is answered with 499, stores nothing, and is 404 afterwards."""
    url = begin_resumable(bucket, "cancelled")
    put(url, CONTENT[:UNIT], f"bytes 0-{UNIT - 1}/*")
    assert requests.delete(url, timeout=TIMEOUT).status_code == 499
    assert put(url, b"", "bytes */*").status_code == 404
    assert bucket.blobs() == {}


def test_a_chunk_that_breaks_off_can_be_sent_again(bucket: Bucket) -> None:
    """An upload can continue after its connection is lost in the middle of a chunk."""
    url = begin_resumable(bucket, "broken")
    connection = requests.packages.urllib3.connection.HTTPConnection(  # type: ignore[attr-defined]
        "127.0.0.1", int(bucket.storage.url.rpartition(":")[2])
    )
    connection.putrequest("PUT", url.removeprefix(bucket.storage.url))
    connection.putheader("Content-Length", str(2 * UNIT))
    connection.putheader("Content-Range", f"bytes 0-{2 * UNIT - 1}/*")
    connection.endheaders()
    connection.send(CONTENT[: UNIT + 1000])
    connection.close()
    assert put(url, CONTENT, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}").status_code == 200
    assert bucket.blobs() == {"broken": CONTENT}


@pytest.mark.parametrize("header", ["crc32c=AAAAAA==", "md5=AAAAAAAAAAAAAAAAAAAAAA=="])
def test_a_checksum_that_does_not_fit_is_400(bucket: Bucket, header: str) -> None:
    """Content that does not have the checksum given by its uploader is 400 and is not stored."""
    url = begin_resumable(bucket, "wrong")
    answer = put(url, b"content", "bytes 0-6/7", **{"X-Goog-Hash": header})
    assert answer.status_code == 400
    blob = bucket.blob("wrong")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(exceptions.BadRequest):
        blob.upload_from_string(b"content", checksum=None)
    assert bucket.blobs() == {}
    url = begin_resumable(bucket, "right")
    header = f"crc32c={crc32c(b'content')},md5={md5(b'content')}"
    assert put(url, b"content", "bytes 0-6/7", **{"X-Goog-Hash": header}).status_code == 200
    assert bucket.blobs() == {"right": b"content"}


# Kept between runs


def test_objects_are_kept_and_unfinished_uploads_are_not(tmp_path: Path) -> None:
    """A second emulator on the same folder has the finished objects and no unfinished upload."""
    emulator = StorageEmulator(tmp_path)
    emulator.start()
    emulator.ensure_bucket("kept-bucket")
    emulator.ensure_bucket("kept-bucket")
    kept = bucket_of(emulator, "kept-bucket")
    for content in (b"old", b"new"):
        kept.blob("a").upload_from_string(content)
    session = begin_resumable(kept, "b")
    put(session, CONTENT[:UNIT], f"bytes 0-{UNIT - 1}/*")
    emulator.stop()

    emulator = StorageEmulator(tmp_path)
    emulator.start()
    kept = bucket_of(emulator, "kept-bucket")
    assert kept.blobs() == {"a": b"new"}
    path = session.rpartition("/upload/")[2]
    assert put(f"{emulator.url}/upload/{path}", b"", "bytes */*").status_code == 404
    emulator.stop()


def test_changes_are_kept_and_one_that_a_kill_cut_is_not(tmp_path: Path) -> None:
    """A second emulator knows what was stored, replaced and deleted, but no half-written change."""
    emulator = StorageEmulator(tmp_path)
    emulator.start()
    emulator.ensure_bucket("kept-bucket")
    kept = bucket_of(emulator, "kept-bucket")
    for name in ("a", "b", "a"):
        kept.blob(name).upload_from_string(b"of " + name.encode())
    kept.blob("b").delete()
    kept.blob("c").upload_from_string(b"of c")
    emulator.stop()
    (changes,) = tmp_path.rglob(".changes")
    with changes.open("a") as file:
        file.write('\n["kept-bucket", "a", {"acl": []')
    expected = {"a": b"of a", "c": b"of c"}
    for name in "de":
        emulator = StorageEmulator(tmp_path)
        emulator.start()
        kept = bucket_of(emulator, "kept-bucket")
        assert kept.blobs() == expected
        kept.blob(name).upload_from_string(b"new")
        expected[name] = b"new"
        emulator.stop()


def bucket_of(emulator: StorageEmulator, name: str) -> Bucket:
    client = Client(
        project="test",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": emulator.url},
    )
    return Bucket(Storage(emulator.url), client, name)


# Faults


def test_a_fault_happens_as_often_as_asked(bucket: Bucket) -> None:
    """A fault hits matching requests only, as often as asked and after as many as asked."""
    url = f"{bucket.storage.url}/storage/v1/b/{bucket.name}"
    bucket.storage.fail(bucket.name, method="GET", after=1, times=2, status=429)
    statuses = [requests.get(url, timeout=TIMEOUT).status_code for _ in range(4)]
    assert statuses == [200, 429, 429, 200]
    bucket.storage.fail("/o/é&", times=None, status=403)
    for _ in range(2):
        with pytest.raises(exceptions.Forbidden):
            bucket.blob("é&").reload()
    bucket.storage.heal()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("é&").reload()


def test_a_lost_answer_leaves_the_object(bucket: Bucket) -> None:
    """An upload whose answer is lost stores its object; the client's retry is 412."""
    bucket.storage.fail("upload", method="POST", action="lose_answer")
    with pytest.raises(exceptions.PreconditionFailed):
        upload_multipart(bucket, "a", b"content", 0)
    assert bucket.blobs() == {"a": b"content"}


def test_a_lost_answer_to_the_last_chunk_is_repeated(bucket: Bucket) -> None:
    """A repeated last chunk gets the lost answer again, in spite of its precondition."""
    bucket.storage.fail("upload_id=[^&]*:a:", method="PUT", after=3, action="lose_answer")
    upload_streamed(bucket, "a", CONTENT, 0)
    assert bucket.blobs() == {"a": CONTENT}


def test_a_wrong_checksum_is_refused_by_the_client(bucket: Bucket) -> None:
    """The client refuses an answer whose checksum is not that of the bytes."""
    bucket.storage.fail("upload_id", action="wrong_checksum")
    with pytest.raises(DataCorruption):
        upload_resumable(bucket, "a", b"content", 0)
    # The client itself removes a corrupted object.
    assert bucket.blobs() == {}
    bucket.blob("a").upload_from_string(b"content")
    bucket.storage.fail("download", action="wrong_checksum")
    with pytest.raises(DataCorruption):
        bucket.blob("a").download_as_bytes()
