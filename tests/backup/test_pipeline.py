"""A stage runs a bounded number of tasks in order, and raises a failure once."""

import threading
import time
from collections.abc import Iterator

import pytest

from hiring import logs, pipeline
from hiring.deadline import Deadline
from hiring.errors import TimedOut
from hiring.pipeline import Stage


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Checks that all threads of a test have ended."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def nothing() -> None:
    pass


def test_work_is_done_in_order() -> None:
    """A stage runs its tasks in order, with the log fields of the request, and `drain` waits."""
    done: list[object] = []
    fields: dict[str, object] = {"function": "backup_data"}
    token = logs.request.set(fields)
    with Stage("test", Deadline(10)) as stage:
        for number in range(100):
            stage.submit(lambda number: done.append((number, logs.request.get())), number)
        stage.drain(nothing, 1)
        assert done == [(number, fields) for number in range(100)]
    logs.request.reset(token)


def test_submit_waits_for_a_slow_stage() -> None:
    """`submit` blocks while AHEAD tasks are unfinished."""
    started: list[int] = []
    go = threading.Semaphore(0)

    def work(number: int) -> None:
        started.append(number)
        go.acquire()

    with Stage("test", Deadline(0.3)) as stage:
        for number in range(pipeline.AHEAD):
            stage.submit(work, number)
        with pytest.raises(TimedOut):
            stage.submit(work, 99)
        go.release(pipeline.AHEAD)
    assert started in ([0], [0, 1])


def test_a_failure_arrives_once_and_stops_the_rest() -> None:
    """The first failure is raised, and no later task runs."""
    done: list[int] = []

    def work(number: int) -> None:
        if number == 1:
            raise ValueError(number)
        done.append(number)

    def submit_all() -> None:
        with Stage("test", Deadline(10)) as stage:
            for number in range(10):
                stage.submit(work, number)
            stage.drain(nothing, 1)

    with pytest.raises(ValueError, match="1"):
        submit_all()
    assert done == [0]


def test_a_failure_passes_through_a_chain() -> None:
    """An error of the last stage reaches the caller of the first stage unchanged."""
    error = OSError("full")

    def fail() -> None:
        raise error

    def submit_all() -> None:
        deadline = Deadline(10)
        with Stage("last", deadline) as last, Stage("first", deadline) as first:
            for _ in range(10):
                first.submit(last.submit, fail)
            first.drain(nothing, 1)

    with pytest.raises(OSError, match="full") as caught:
        submit_all()
    assert caught.value is error


def test_drain_calls_back_while_it_waits() -> None:
    """`drain` calls its callback at its interval while it waits."""
    calls: list[float] = []
    with Stage("test", Deadline(10)) as stage:
        stage.submit(time.sleep, 0.5)
        stage.drain(lambda: calls.append(time.monotonic()), 0.1)
    assert 2 <= len(calls) <= 5
