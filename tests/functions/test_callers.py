"""Whatever a caller sends, no answer is a 500, no table changes and no secret is shown."""

import json
import re
import socket
import time
import urllib.parse
from pathlib import Path
from typing import Any

import faults
import pytest
from conftest import ACCOUNT, PASSWORD, Bucket, Bundle, Database
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import count
from werkzeug.test import Client

from hiring.request import BODY_SECONDS

REPORTS = ("/quarterly-hired", "/hiring-by-department")
CHANGES = ("/backup-data", "/truncate-tables")
FULL = {"departments": 1, "jobs": 1, "employees": 1}
REFUSALS = {400, 403, 404, 405}
NEVER_TOLD = (PASSWORD, ACCOUNT, "SELECT", "FROM ", "Traceback", "pymysql", "/work", ".py", ".sock")

WORDS = st.sampled_from(
    ["year", "format", "dry_run", "backup_first", "true", "false", "json", "2021", "", "0", "'--"]
)
TEXTS = st.text(max_size=30) | WORDS | st.integers().map(str) | st.just("9" * 5000)
QUERIES = st.lists(st.tuples(TEXTS, TEXTS), max_size=4).map(urllib.parse.urlencode) | st.binary(
    max_size=40
).map(urllib.parse.quote_from_bytes)
METHODS = st.sampled_from(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get"]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Accept",
            "If-None-Match",
            "If-Modified-Since",
            "Range",
            "Content-Type",
            "Cookie",
            "User-Agent",
            "X-Forwarded-For",
            "X-Cloud-Trace-Context",
            "X-HTTP-Method-Override",
            "Purpose",
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
    | st.sampled_from(["*/*;q=x", "text/html;q=9e99", '"', "W/", "bytes=-", "x" * 9000]),
    max_size=4,
)
BODIES = st.binary(max_size=50) | st.just(b"dry_run=true") | st.just(b"x" * 100_000)

FUZZING = settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def rows(database: Database) -> None:
    """Inserts one row into each table."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    database.insert("employees", [(1, "Ada", "2021-02-03 04:05:06", 1, 1)])


def check_refusal(response: Any) -> None:
    """Checks that a refusal is an error's JSON and shows no secret, SQL or path."""
    text = response.get_data(as_text=True)
    if response.status_code in REFUSALS and response.request.method != "HEAD":
        error = json.loads(text)["error"]
        assert list(error) == ["code", "message"]
        for secret in NEVER_TOLD:
            assert secret not in text


@FUZZING
@given(st.sampled_from(REPORTS), METHODS, QUERIES, HEADERS, BODIES | st.just(b""))
@example(REPORTS[0], "GET", "year=%00", {}, b"")
@example(REPORTS[0], "GET", "year=2021&year", {}, b"")
@example(REPORTS[1], "GET", "&&==&", {}, b"")
@example(REPORTS[1], "GET", "year=" + "%ED%A0%80", {}, b"")
def test_any_request_for_a_report_is_answered_or_refused(
    client: Client,
    database: Database,
    url: str,
    method: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    """Any request for a report is answered or refused with a reason, never a 500."""
    response = client.open(url, method=method, query_string=query, headers=headers, data=body)
    assert response.status_code in {200, 304, *REFUSALS}
    check_refusal(response)


@FUZZING
@given(st.sampled_from(CHANGES), METHODS, QUERIES, HEADERS, BODIES)
def test_a_wrong_request_changes_nothing(
    client: Client,
    database: Database,
    bucket: Bucket,
    url: str,
    method: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    """A request for a change with a body or an unknown parameter is refused and changes nothing."""
    if not body:
        query = f"{query}&unknown=true"
    response = client.open(url, method=method, query_string=query, headers=headers, data=body)
    assert response.status_code in REFUSALS
    check_refusal(response)
    assert (count(database), bucket.blobs()) == (FULL, {})


@settings(FUZZING, max_examples=25)
@given(METHODS, QUERIES, HEADERS, st.booleans())
def test_a_dry_run_never_truncates(
    client: Client,
    database: Database,
    bucket: Bucket,
    method: str,
    query: str,
    headers: dict[str, str],
    first: bool,
) -> None:
    """A request with `dry_run=true` never truncates, whatever else it holds."""
    query = f"dry_run=true&{query}" if first else f"{query}&dry_run=true"
    response = client.open("/truncate-tables", method=method, query_string=query, headers=headers)
    assert response.status_code in {200, *REFUSALS}
    check_refusal(response)
    assert (count(database), bucket.blobs()) == (FULL, {})


def raw(bundle: Bundle, request: bytes) -> bytes:
    """Sends these bytes to the server; returns its answer."""
    port = int(bundle.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            try:
                received = connection.recv(65536)
            except ConnectionResetError:
                return answer
            if not received:
                return answer
            answer += received


LINE = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /truncate-tables HTTP/1.1\r\nHost: x\r\n"
MALFORMED = [
    b"GET /truncate-tables?dry_run=\x00true" + LINE,
    b"GET /truncate-tables?\xff\xfe\xfd" + LINE,
    b"GET /truncate-tables?a=b c" + LINE,
    b"POST /truncate-tables#?dry_run=true" + LINE,
    b"POST /truncate-tables?#dry_run=true" + LINE,
    b"GET /truncate-tables?" + b"a=b&" * 20_000 + LINE,
    POST + b"Content-Length: 5\r\n\r\nab",
    POST + b"Content-Length: -1\r\n\r\n",
    POST + b"Content-Length: 1\r\nContent-Length: 0\r\n\r\na",
    POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"GET /truncate-tables HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX: a\x00b\r\n\r\n",
    b"GET /truncate-tables HTTP/9.9\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


def test_malformed_requests_are_refused(bundle: Bundle, database: Database) -> None:
    """Malformed requests are refused or not answered; no row changes and the server still works."""
    bundle.start()
    for request in MALFORMED:
        answer = raw(bundle, request)
        status = answer.split(b" ", 2)[1:2]
        assert not status or status[0][:1] == b"4", (request[:80], answer[:200])
        assert count(database) == FULL, request[:80]
    assert bundle.get("/quarterly-hired").status_code == 200
    assert "Traceback" not in bundle.log()


STALLED = {
    "dripping": [POST + b"Transfer-Encoding: chunked\r\n\r\n", *20 * [b"0"]],
    "length": [POST + b"Content-Length: 100\r\n\r\na"],
    "refused": [b"PUT" + POST.removeprefix(b"POST") + b"Content-Length: 9\r\n\r\na"],
}


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", STALLED)
def test_a_body_that_never_ends_holds_no_thread(bundle: Bundle, kind: str) -> None:
    """Callers who stall in a body, more than there are threads, are refused within seconds."""
    bundle.start(THREADS="2")
    port = int(bundle.url.rpartition(":")[2])
    callers = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(3)]
    for part in STALLED[kind]:
        for caller in callers:
            caller.send(part)
        time.sleep(0.2 if len(STALLED[kind]) > 1 else 0)
    started = time.monotonic()
    assert bundle.get("/quarterly-hired").status_code == 200
    for caller in callers:
        answer = caller.recv(65536)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 405")), answer
        caller.close()
    assert time.monotonic() - started < 3 * BODY_SECONDS


@pytest.mark.slow
@pytest.mark.once
def test_a_large_body_is_refused(bundle: Bundle, database: Database) -> None:
    """A body of any size is refused with an answer, and nobody keeps it in memory."""
    assert bundle.get("/truncate-tables?dry_run=true").status_code == 200
    before = peak_kilobytes(faults.worker(bundle))
    for body in (b"x" * 50_000_000, iter([b"x" * 1_000_000] * 50)):
        response = bundle.request("POST", "/truncate-tables", data=body)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_parameter")
    assert count(database) == FULL
    assert peak_kilobytes(faults.worker(bundle)) - before < 20_000


def peak_kilobytes(process_id: int) -> int:
    """The most memory that a process has had."""
    (found,) = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{process_id}/status").read_text())
    return int(found)
