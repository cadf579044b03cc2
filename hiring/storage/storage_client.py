"""The Cloud Storage client: its patience, its errors, and the only uses of its private attributes.

Checked with google-cloud-storage 3.17.1, which `requirements.txt` pins.
`tests/project/test_private.py` fails where one of these names is gone:

    Client._http                       to mount an adapter whose answers end in time, however slowly
                                       their bytes arrive: the client's timeouts bound each read.
    BlobWriter._buffer                 drops what a writer holds. A writer that is left open stores
                                       its bytes when it is collected, and no method discards them.
    BlobWriter._upload_and_transport   the address of the upload session, to cancel it. The writer's
                                       `terminate` asks the address where uploads begin instead,
                                       and waits for two minutes.
"""

import contextlib
import contextvars
import functools
import http.client
import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from hiring.bounded import BoundedReader
from hiring.deadline import Deadline
from hiring.errors import NoCredentials, StorageFailed, TimedOut
from hiring.progress import status

TIMEOUT_SECONDS = (10, 15)
"""Limits of one request: connecting, and each wait for an answer."""
RETRY_SECONDS = 60
"""How long the client repeats a request that failed for a passing reason."""
RETRY_WAIT_SECONDS = 5
"""The longest wait before a repetition."""
CONNECTIONS = 16
"""Requests at the same time, such as for manifests; the client keeps their connections."""
CLEAN_UP_SECONDS = 5
"""How long removing the objects of a failed backup may take."""
CANCEL_SECONDS = 3
"""How long cancelling an upload may take; it is tried once."""
CANCELLED = (204, 404, 410, 499)
"""Statuses of a cancellation's answer after which the upload's session is gone."""

ERRORS = (
    GoogleAPIError,
    GoogleAuthError,
    InvalidResponse,
    DataCorruption,
    requests.RequestException,
    ConnectionError,
    TimeoutError,
)
UNREACHABLE = (requests.ConnectionError, requests.Timeout, ConnectionError, TimeoutError)
"""Errors that occur before an answer arrives."""

CAUSES: dict[type[BaseException], str] = {
    ConnectionRefusedError: "connection refused",
    socket.gaierror: "no such name",
    TimeoutError: "no answer",
    ConnectionError: "connection lost",
}
"""Why an answer did not arrive; the first kind that an error belongs to decides."""

NONSENSE = (AttributeError, LookupError, TypeError, ValueError)
"""Errors that the client raises for an unexpected answer, such as a list instead of an object."""

# Otherwise the client looks at the bucket in a thread of its own, for traces that are not recorded:
# a request that the functions' account may not send, and that outlives the function's answer.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

_deadline: contextvars.ContextVar[Deadline | None] = contextvars.ContextVar(
    "deadline", default=None
)
"""Ends the request that this thread sends."""


class _Response(http.client.HTTPResponse):
    """An answer that has to be complete when the deadline of its request has come."""

    def __init__(self, connected: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(connected, *arguments, **options)
        patience = connected.gettimeout()

        def seconds() -> float | None:
            deadline = _deadline.get()
            if deadline is None:
                return patience
            return min(patience or deadline.remaining(), deadline.remaining())

        raw = self.fp.detach()
        self.fp = io.BufferedReader(BoundedReader(raw, connected, seconds))


def _bounded(pool: Any) -> Any:
    """A class of connection pools whose answers are `_Response`s."""
    connection = type(
        pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"response_class": _Response}
    )
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _BoundedAdapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {
            scheme: _bounded(pool)
            for scheme, pool in self.poolmanager.pool_classes_by_scheme.items()
        }


@functools.cache
def client() -> storage.Client:
    """This process's client; NoCredentials if there are none, for which the next call looks."""
    try:
        made = storage.Client()
    except GoogleAuthError as error:
        raise NoCredentials(
            "there are no usable Google credentials for Cloud Storage: run"
            " `gcloud auth application-default login`, or let GOOGLE_APPLICATION_CREDENTIALS name a"
            " file of credentials"
        ) from error
    for scheme in ("http://", "https://"):
        made._http.mount(scheme, _BoundedAdapter(pool_maxsize=CONNECTIONS))
    return made


@contextlib.contextmanager
def translated(bucket: str) -> Iterator[None]:
    """Raises StorageFailed for what the client raises: a refusal, a failure, or nonsense."""
    try:
        yield
    except (*ERRORS, *NONSENSE) as error:
        message = f"Cloud Storage bucket {bucket} refused or failed: {reason(error)}"
        raise StorageFailed(message) from error


def reason(error: BaseException) -> str:
    """An error of the client in a few words, with what to do where that is known."""
    while isinstance(error, (StorageFailed, RetryError)) and error.__cause__:
        error = error.__cause__
    # Only the status and the kind of error: the texts hold addresses of upload sessions, and
    # anyone who has such an address may write to it.
    kind = type(error).__name__
    if isinstance(error, GoogleAPICallError):
        return f"{error.code} {kind}"
    if isinstance(error, InvalidResponse):
        return f"status {error.response.status_code}"
    if isinstance(error, UNREACHABLE):
        return (
            f"{_server(error)} can't be reached ({_cause(error)}); look at this machine's network"
        )
    if isinstance(error, GoogleAuthError):
        return (
            f"the Google credentials do not work ({kind});"
            " run `gcloud auth application-default login`, or look at the service account"
        )
    if isinstance(error, (*ERRORS, TimedOut)):
        return kind
    return f"an answer that makes no sense ({kind})"


def _server(error: BaseException) -> str:
    request = getattr(error, "request", None)
    return urlsplit(request.url).netloc if request else "it"


def _cause(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause:
        for kind, words in CAUSES.items():
            if isinstance(cause, kind):
                return words
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


@functools.lru_cache(maxsize=64)
def _tell_repetition(_deadline: Deadline, why: str, _hour: int) -> None:
    """Says why requests under a deadline are repeated: once an hour, however many of them."""
    status("storage request repeated", "WARNING", reason=why)


def limits(deadline: Deadline) -> dict[str, Any]:
    """The `retry` and `timeout` of a request: it ends at the deadline, repetitions included.

    Raises:
        TimedOut: the deadline has passed.
    """
    left = deadline.remaining()
    retry = DEFAULT_RETRY.with_timeout(min(RETRY_SECONDS, left))
    retry = retry.with_delay(maximum=RETRY_WAIT_SECONDS)

    def tell(error: Exception) -> None:
        _tell_repetition(deadline, reason(error), int(time.monotonic() // 3600))

    def retry_until(send: Callable[[], Any]) -> Callable[[], Any]:
        def attempt() -> Any:
            deadline.remaining()
            before = _deadline.set(deadline)
            try:
                return send()
            finally:
                _deadline.reset(before)

        def repeat() -> Any:
            try:
                return retry(attempt, on_error=tell)()
            except ERRORS:
                deadline.remaining()  # past the limit, a failure is its consequence
                raise

        return repeat

    connecting, waiting = TIMEOUT_SECONDS
    return {"retry": retry_until, "timeout": (min(connecting, left), min(waiting, left))}


def cancel(stream: Any) -> bool:
    """Cancels an upload, and tells whether it is known that no later request can complete it.

    https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload
    """
    if not stream.closed:
        stream._buffer.close()
    if not stream._upload_and_transport:
        return True
    upload, transport = stream._upload_and_transport
    deadline = _deadline.set(Deadline(CANCEL_SECONDS))
    try:
        answer = transport.delete(upload.resumable_url, timeout=CANCEL_SECONDS)
    except (*ERRORS, TimedOut):
        return False
    finally:
        _deadline.reset(deadline)
    return answer.status_code in CANCELLED
