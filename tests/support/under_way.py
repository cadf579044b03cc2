"""Requests that wait in the middle of a backup, for tests that break or repeat them."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import faults
import pytest
import requests
from conftest import Bucket, Bundle, Database


class Request(threading.Thread):
    """A request in a thread; `answer` stays None if the connection is lost."""

    def __init__(self, bundle: Bundle, path: str) -> None:
        super().__init__()
        self._bundle, self._path = bundle, path
        self.answer: requests.Response | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._bundle.get(self._path)
        except requests.ConnectionError:
            self.answer = None


def logged(bundle: Bundle, message: str) -> list[dict[str, Any]]:
    """The log lines with this message."""
    lines = [json.loads(line) for line in bundle.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["message"] == message]


@pytest.fixture
def under_way(bundle: Bundle, bucket: Bucket, database: Database) -> Iterator[Any]:
    """Starts a request, and returns once its backup waits for the upload of the employees."""
    begun: list[Request] = []

    def begin(path: str, seconds: float) -> Request:
        bundle.start()
        bucket.storage.fail(
            r"upload_id.*employees\.avro", method="PUT", action="delay", seconds=seconds
        )
        begun.append(Request(bundle, path))
        faults.wait_until(lambda: len(logged(bundle, "rows stored")) == 2)
        time.sleep(0.5)
        return begun[0]

    yield begin
    for request in begun:
        request.join(60)
        assert not request.is_alive()
