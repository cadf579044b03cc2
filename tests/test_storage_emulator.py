"""The storage emulator, as the real client sees it, and plain HTTP where that is finer."""

import base64
import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import requests
from conftest import Bucket
from google.api_core import exceptions
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from local.storage import StorageEmulator

UNIT = 256 << 10
CONTENT = bytes(range(256)) * (3 * UNIT // 256) + b"and a little more"
TIMEOUT = 10

Upload = Callable[..., None]


def upload_media(bucket: Bucket, name: str, content: bytes, if_generation_match: int) -> None:
    """In one piece, as the API offers it and the client does not use it."""
    answer = requests.post(
        f"{bucket.storage.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "media", "name": name, "ifGenerationMatch": if_generation_match},
        data=content,
        timeout=TIMEOUT,
    )
    if not answer.ok:
        raise exceptions.from_http_response(answer)


def upload_multipart(bucket: Bucket, name: str, content: bytes, if_generation_match: int) -> None:
    """In one piece, metadata and content."""
    blob = bucket.blob(name)
    blob.upload_from_string(content, if_generation_match=if_generation_match)


def upload_resumable(bucket: Bucket, name: str, content: bytes, if_generation_match: int) -> None:
    """In chunks, from a file."""
    blob = bucket.blob(name)
    blob.chunk_size = UNIT
    # Told a size below 8 MB, the client would upload in one piece.
    blob.upload_from_file(io.BytesIO(content), if_generation_match=if_generation_match)


def upload_streamed(bucket: Bucket, name: str, content: bytes, if_generation_match: int) -> None:
    """In chunks, as they come."""
    blob = bucket.blob(name)
    writer = blob.open("wb", chunk_size=UNIT, if_generation_match=if_generation_match)
    try:
        for start in range(0, len(content), 100_000):
            writer.write(content[start : start + 100_000])
        writer.close()
    except InvalidResponse:
        # Or it would upload once more when it is garbage-collected.
        writer.terminate()
        raise


every_kind_of_upload = pytest.mark.parametrize(
    "upload", [upload_media, upload_multipart, upload_resumable, upload_streamed]
)


def begin_resumable(bucket: Bucket, name: str, **query: Any) -> str:
    """Begin a resumable upload by hand, and return its URL."""
    answer = requests.post(
        f"{bucket.storage.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "resumable", "name": name, **query},
        timeout=TIMEOUT,
    )
    assert answer.status_code == 200
    return answer.headers["Location"]


def put(url: str, content: bytes, content_range: str, **headers: str) -> requests.Response:
    """Send a chunk by hand."""
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
    """Every kind of upload stores the bytes, their size and their checksums."""
    upload(bucket, "a/b.bin", content, 0)
    blob = bucket.client.bucket(bucket.name).get_blob("a/b.bin")
    assert blob.download_as_bytes(checksum="crc32c") == content
    assert blob.download_as_bytes(checksum="md5") == content
    assert (blob.size, blob.crc32c, blob.md5_hash, blob.metageneration) == (
        len(content),
        crc32c(content),
        md5(content),
        1,
    )


@every_kind_of_upload
def test_a_failed_precondition_is_412_and_changes_nothing(bucket: Bucket, upload: Upload) -> None:
    """`ifGenerationMatch` is honoured by every kind of upload."""
    upload(bucket, "once", b"first", 0)
    generation = bucket.client.bucket(bucket.name).get_blob("once").generation
    for wrong in (0, generation - 1):
        with pytest.raises((exceptions.PreconditionFailed, InvalidResponse)) as caught:
            upload(bucket, "once", b"second", wrong)
        response = getattr(caught.value, "response", None)
        assert response.status_code == 412
    assert bucket.blobs() == {"once": b"first"}
    upload(bucket, "once", b"second", generation)
    assert bucket.blobs() == {"once": b"second"}


def test_a_precondition_is_checked_again_when_the_upload_ends(bucket: Bucket) -> None:
    """An object that appears while another is being uploaded in its place is not overwritten."""
    url = begin_resumable(bucket, "contested", ifGenerationMatch=0)
    put(url, CONTENT[:UNIT], f"bytes 0-{UNIT - 1}/*")
    bucket.blob("contested").upload_from_string(b"meanwhile")
    last = put(url, CONTENT[UNIT:], f"bytes {UNIT}-{len(CONTENT) - 1}/{len(CONTENT)}")
    assert last.status_code == 412
    assert bucket.blobs() == {"contested": b"meanwhile"}


def test_of_many_who_create_one_object_one_succeeds(bucket: Bucket) -> None:
    """The check and the commit are one step."""

    def create(number: int) -> bool:
        try:
            upload_media(bucket, "one", b"%d" % number, 0)
        except exceptions.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        created = list(pool.map(create, range(100)))
    assert sum(created) == 1
    assert bucket.blobs() == {"one": b"%d" % created.index(True)}


def test_other_preconditions_are_honoured(bucket: Bucket) -> None:
    """Reading and deleting refuse other generations, and uploads those that must not be there."""
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    generation = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"2", if_generation_not_match=generation)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"2", if_metageneration_match=2)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.reload(if_generation_match=generation + 1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.download_as_bytes(if_generation_match=generation + 1)
    with pytest.raises(exceptions.NotModified):
        blob.reload(if_generation_not_match=generation)
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
    """`a` and `a/b` are two objects, and no character has a meaning of its own."""
    bucket.blob("a/b/c").upload_from_string(b"another")
    for upload in (upload_media, upload_multipart, upload_resumable):
        upload(bucket, name, b"content", bucket.blob(name).generation or 0)
        assert bucket.blobs() == {"a/b/c": b"another", name: b"content"}
        bucket.blob(name).delete()


def test_a_name_that_is_too_long_is_refused(bucket: Bucket) -> None:
    """A name has at most 1,024 bytes, however many characters."""
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("é" * 513).upload_from_string(b"")


def test_metadata_of_the_uploader_is_kept(bucket: Bucket) -> None:
    """Content type and custom metadata come back as they were sent."""
    for size in (2, None):
        blob = bucket.blob(f"described-{size}")
        blob.metadata = {"rows": "3", "é": "ü"}
        blob.upload_from_file(io.BytesIO(b"{}"), size=size, content_type="application/json")
        found = bucket.client.bucket(bucket.name).get_blob(blob.name)
        assert (found.content_type, found.metadata) == ("application/json", blob.metadata)


def test_ranges(bucket: Bucket) -> None:
    """A part of an object can be read alone; the client's `end` is part of it."""
    blob = bucket.blob("digits")
    blob.upload_from_string(b"0123456789")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=-2) == b"89"
    assert blob.download_as_bytes(start=7, end=99) == b"789"
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)
    with blob.open("rb", chunk_size=3) as file:
        assert [file.read(4), file.read()] == [b"0123", b"456789"]


def test_listing(bucket: Bucket) -> None:
    """Objects come by name, page by page; a delimiter folds those beyond it."""
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
        assert listed(page_size=page_size, start_offset="a/2", end_offset="b/d") == (
            ["a/2", "b/c/1", "b/c/2"],
            set(),
        )
    assert listed(max_results=2) == (["a", "a/1"], set())
    assert listed(prefix="none") == ([], set())


def test_buckets(bucket: Bucket) -> None:
    """Buckets are made once, listed, and removed when empty."""
    client = bucket.client
    assert bucket.name in [found.name for found in client.list_buckets()]
    with pytest.raises(exceptions.Conflict):
        client.create_bucket(bucket.name)
    with pytest.raises(exceptions.BadRequest):
        client.create_bucket("Not_a_Bucket")
    bucket.blob("a").upload_from_string(b"")
    with pytest.raises(exceptions.Conflict):
        client.get_bucket(bucket.name).delete()
    assert client.bucket("missing-bucket").exists() is False


@every_kind_of_upload
def test_a_missing_bucket_is_404(bucket: Bucket, upload: Upload) -> None:
    """Whatever is asked of a bucket that is not there, the answer says that."""
    missing = Bucket(bucket.storage, bucket.client, "missing-bucket")
    with pytest.raises((exceptions.NotFound, InvalidResponse), match=r"404|not exist"):
        upload(missing, "a", CONTENT, 0)
    for request in (missing.blob("a").download_as_bytes, missing.blob("a").reload, missing.blobs):
        with pytest.raises(exceptions.NotFound):
            request()


def test_a_reader_keeps_the_object_it_began_with(bucket: Bucket) -> None:
    """Replacing an object that is being downloaded spoils nobody's bytes."""
    blob = bucket.blob("large")
    old, new = b"o" * (64 * UNIT), b"n" * (64 * UNIT)
    blob.upload_from_string(old)
    with requests.get(blob.media_link, stream=True, timeout=TIMEOUT) as answer:
        first = answer.raw.read(1)
        blob.upload_from_string(new)
        assert first + answer.raw.read() == old
    assert blob.download_as_bytes() == new


def test_an_unknown_request_is_501(bucket: Bucket) -> None:
    """What the emulator does not do it does not pretend to do."""
    blob = bucket.blob("a")
    blob.upload_from_string(b"")
    with pytest.raises(exceptions.MethodNotImplemented):
        blob.patch()


# Uploads by hand


def test_resuming(bucket: Bucket) -> None:
    """The status tells what is here; what is sent again is not stored twice."""
    url = begin_resumable(bucket, "resumed")
    status = put(url, b"", "bytes */*")
    assert (status.status_code, status.headers.get("Range")) == (308, None)

    first = put(url, CONTENT[: UNIT + 5], f"bytes 0-{UNIT + 4}/*")
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
    """Cancelling is answered with 499, and the upload is no longer known."""
    url = begin_resumable(bucket, "cancelled")
    put(url, CONTENT[:UNIT], f"bytes 0-{UNIT - 1}/*")
    assert requests.delete(url, timeout=TIMEOUT).status_code == 499
    assert put(url, b"", "bytes */*").status_code == 404
    assert bucket.blobs() == {}


def test_a_chunk_that_breaks_off_can_be_sent_again(bucket: Bucket) -> None:
    """After a connection is lost in mid-chunk, an upload goes on where it was."""
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
    """Content that is not what its uploader says it is is not stored."""
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


def test_errors_have_the_shape_of_googles(bucket: Bucket) -> None:
    """An error is JSON with a code, a message and a reason."""
    url = f"{bucket.storage.url}/storage/v1/b/{bucket.name}/o/missing"
    answer = requests.get(url, timeout=TIMEOUT)
    message = f"No such object: {bucket.name}/missing"
    assert (answer.status_code, answer.json()) == (
        404,
        {
            "error": {
                "code": 404,
                "message": message,
                "errors": [{"message": message, "domain": "global", "reason": "notFound"}],
            }
        },
    )


# Kept between runs


def test_objects_are_kept_and_unfinished_uploads_are_not(tmp_path: Path) -> None:
    """A second emulator on the same folder has what was finished, and nothing else."""
    emulator = StorageEmulator(tmp_path)
    emulator.start()
    emulator.ensure_bucket("kept-bucket")
    emulator.ensure_bucket("kept-bucket")
    url = f"{emulator.url}/upload/storage/v1/b/kept-bucket/o?name=a&uploadType="
    for content in (b"old", b"new"):
        stored = requests.post(f"{url}media", data=content, timeout=TIMEOUT).json()
    session = requests.post(f"{url}resumable", timeout=TIMEOUT).headers["Location"]
    put(session, CONTENT[:UNIT], f"bytes 0-{UNIT - 1}/*")
    emulator.stop()
    (tmp_path / "buckets" / "kept-bucket" / "never-committed.1").write_bytes(b"stray")

    emulator = StorageEmulator(tmp_path)
    emulator.start()
    listed = requests.get(f"{emulator.url}/storage/v1/b/kept-bucket/o", timeout=TIMEOUT).json()
    assert [(item["name"], item["generation"]) for item in listed["items"]] == [
        ("a", stored["generation"])
    ]
    assert requests.get(listed["items"][0]["mediaLink"], timeout=TIMEOUT).content == b"new"
    emulator.stop()
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 3, files  # the bucket's metadata, the object's, its bytes


# Faults


def test_a_status_happens_as_often_as_asked(bucket: Bucket) -> None:
    """A fault hits the requests it fits, after some and so often, and does nothing else."""
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


@pytest.mark.parametrize("rule", [{"colour": "red"}, {"action": "explode"}, {"match": "("}, 1])
def test_a_fault_that_makes_no_sense_is_refused(bucket: Bucket, rule: Any) -> None:
    """A misspelt fault is an error, not one that never happens."""
    url = f"{bucket.storage.url}/faults"
    assert requests.post(url, json=[rule], timeout=TIMEOUT).status_code == 400


def test_a_passing_fault_is_retried_by_the_client(bucket: Bucket) -> None:
    """A 503 and a reset in mid-chunk are overcome, and the object is whole."""
    bucket.storage.fail("upload_id", method="PUT", after=1)
    bucket.storage.fail("upload_id", method="PUT", after=1, action="reset")
    upload_streamed(bucket, "a", CONTENT, 0)
    assert bucket.blobs() == {"a": CONTENT}


def test_a_lost_answer_is_an_object_that_is_there(bucket: Bucket) -> None:
    """The client's retry of an upload whose answer was lost meets 412, and the object."""
    bucket.storage.fail("upload", method="POST", action="lose_answer")
    with pytest.raises(exceptions.PreconditionFailed):
        upload_multipart(bucket, "a", b"content", 0)
    assert bucket.blobs() == {"a": b"content"}


def test_a_lost_answer_to_the_last_chunk_is_given_again(bucket: Bucket) -> None:
    """A resumable upload's retry is recognised, whatever its precondition."""
    bucket.storage.fail("name=a&upload_id", method="PUT", after=3, action="lose_answer")
    upload_streamed(bucket, "a", CONTENT, 0)
    assert bucket.blobs() == {"a": CONTENT}


def test_a_wrong_checksum_is_seen_by_the_client(bucket: Bucket) -> None:
    """What the client computed itself is compared with what it is told."""
    bucket.storage.fail("upload_id", action="wrong_checksum")
    with pytest.raises(DataCorruption):
        upload_resumable(bucket, "a", b"content", 0)
    # The client takes a corrupted object away itself.
    assert bucket.blobs() == {}
    bucket.blob("a").upload_from_string(b"content")
    bucket.storage.fail("download", action="wrong_checksum")
    with pytest.raises(DataCorruption):
        bucket.blob("a").download_as_bytes()


def test_a_download_can_break_off(bucket: Bucket) -> None:
    """A reset comes after half of the bytes."""
    blob = bucket.blob("a")
    blob.upload_from_string(CONTENT)
    bucket.storage.fail("download", action="reset")
    with requests.get(blob.media_link, stream=True, timeout=TIMEOUT) as answer:
        assert int(answer.headers["Content-Length"]) == len(CONTENT)
        with pytest.raises(requests.exceptions.RequestException):
            list(answer.iter_content(UNIT))


def test_a_delay_holds_one_request_up(bucket: Bucket) -> None:
    """A delayed request waits, others go on."""
    bucket.storage.fail("slow", action="delay", seconds=0.5)
    done = []
    slow = threading.Thread(
        target=lambda: (upload_media(bucket, "slow", b"", 0), done.append("slow"))
    )
    slow.start()
    upload_media(bucket, "fast", b"", 0)
    done.append("fast")
    slow.join(TIMEOUT)
    assert done == ["fast", "slow"]
