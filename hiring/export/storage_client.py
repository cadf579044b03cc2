"""The Cloud Storage client: its patience, its errors, and the only uses of its private attributes.

Checked with google-cloud-storage 3.17.1, which `requirements.txt` pins. `tests/test_private.py`
fails where one of these names is gone:

    BlobWriter._buffer                 drops what a writer holds. A writer that is left open stores
                                       its bytes when it is collected, and no method discards them.
    BlobWriter._upload_and_transport   the address of the upload session, to cancel it. The writer's
                                       `terminate` asks the address where uploads begin instead,
                                       and waits for two minutes.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import requests
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from hiring.core.deadline import Deadline
from hiring.core.errors import NoCredentials, StorageFailed

TIMEOUT_SECONDS = (10, 15)
"""Limits of one request: connecting, and each wait for an answer.

A thread that waits cannot be stopped: at the deadline this time and one wait before a repetition
must fit into the seconds that a function keeps for cleaning up.
"""
RETRY_SECONDS = 60
"""How long the client repeats a request that failed for a passing reason."""
RETRY_WAIT_SECONDS = 5
"""The longest wait before a repetition."""
CLEAN_UP_SECONDS = 5
CLEAN_UP_LIMITS: dict[str, Any] = {
    "retry": DEFAULT_RETRY.with_timeout(CLEAN_UP_SECONDS),
    "timeout": CLEAN_UP_SECONDS,
}
CANCEL_SECONDS = 3
"""How long cancelling an upload may take; it is tried once."""

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
"""Errors that come before an answer."""


@functools.cache
def client() -> storage.Client:
    """This process's client, made at the first call.

    Raises:
        NoCredentials: there are none; the next call looks again.
    """
    try:
        return storage.Client()
    except GoogleAuthError as error:
        raise NoCredentials(
            "there are no usable Google credentials for Cloud Storage: run"
            " `gcloud auth application-default login`, or let GOOGLE_APPLICATION_CREDENTIALS name a"
            " file of credentials"
        ) from error


def storage_failed(bucket: str, error: BaseException) -> StorageFailed:
    """The error that a caller sees for an error of the client."""
    return StorageFailed(f"Cloud Storage bucket {bucket} refused or failed: {reason(error)}")


def reason(error: BaseException) -> str:
    """An error of the client in a few words, with what to do where that is known."""
    # Only the status and the kind of error: the texts hold addresses of upload sessions, and
    # anyone who has such an address may write to it.
    if isinstance(error, RetryError) and error.cause:
        error = error.cause
    kind = type(error).__name__
    if isinstance(error, GoogleAPICallError):
        return f"{error.code} {kind}"
    if isinstance(error, InvalidResponse):
        return f"status {error.response.status_code}"
    if isinstance(error, UNREACHABLE):
        return f"it can't be reached ({kind}); look at this machine's network"
    if isinstance(error, GoogleAuthError):
        return (
            f"the Google credentials do not work ({kind});"
            " run `gcloud auth application-default login`, or look at the service account"
        )
    return kind


def limits(deadline: Deadline) -> dict[str, Any]:
    """The `retry` and `timeout` of a request: no attempt starts after the deadline.

    Raises:
        TimedOut: the deadline has passed.
    """
    seconds = min(RETRY_SECONDS, deadline.remaining())
    retry = DEFAULT_RETRY.with_timeout(seconds).with_delay(maximum=RETRY_WAIT_SECONDS)

    def retry_until(send: Callable[[], Any]) -> Callable[[], Any]:
        def attempt() -> Any:
            deadline.remaining()
            return send()

        return retry(attempt)  # type: ignore[no-any-return]

    return {"retry": retry_until, "timeout": TIMEOUT_SECONDS}


def cancel(stream: Any) -> None:
    """Cancels an upload; a request still in flight cannot create the object.

    https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload
    """
    if stream.closed:
        return
    stream._buffer.close()
    if stream._upload_and_transport:
        upload, transport = stream._upload_and_transport
        with contextlib.suppress(*ERRORS):
            transport.delete(upload.resumable_url, timeout=CANCEL_SECONDS)
