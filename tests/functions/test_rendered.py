"""A kept answer always equals the one that would be rendered, and the kept ones stay small."""

import functools
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from conftest import Database
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client

from pages import rendered
from pages.rendered import SHOW, KeptAnswers

pytestmark = pytest.mark.once

COLUMNS = ("department", "job", "Q1")
NAMES = st.sampled_from(["Sales", "قسم", 1, True, Decimal("1.5"), Decimal("1.50"), 1.5, "1", b"1"])
ROWS = st.lists(st.tuples(NAMES, NAMES, st.integers(0, 1)), max_size=2)
"""Few values, so that equal ones, and equal ones that look different, often meet."""
FORMATS = st.sampled_from([media_type for media_type in SHOW if media_type != "text/html"])


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> KeptAnswers:
    """Nothing is kept at first."""
    kept = KeptAnswers()
    monkeypatch.setattr(rendered, "_kept", kept)
    return kept


@given(st.lists(st.tuples(FORMATS, ROWS), max_size=30))
def test_an_answer_is_that_of_its_rows(asked: list[tuple[str, Any]]) -> None:
    """An answer is the one rendered from its own rows, whatever rows were shown before."""
    kept = KeptAnswers()
    for media_type, rows in asked:
        shown = "".join(SHOW[media_type](COLUMNS, rows)).encode()
        render = functools.partial(bytes, shown)
        assert kept.get((media_type, COLUMNS, rows), render) == shown


def addresses() -> Iterator[str]:
    """Requests that differ in one thing each, for every parameter and format."""
    for report, year in itertools.product(
        ("quarterly-hired", "hiring-by-department"), ("2020", "2021", "2020-2021", "2019-2021")
    ):
        for name in ("text", "json", "ndjson", "csv", "html"):
            yield f"/{report}?year={year}&format={name}"
        for more in ("order=name", "order=-name", "filter=a", "filter=b"):
            yield f"/{report}?year={year}&format=html&{more}"
    for more in ("chart=quarters", "jobs=shown", "open=1", "open=2", "open=1,2", "open=2,1"):
        yield f"/quarterly-hired?format=html&{more}"


def test_an_answer_is_that_of_its_request(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """Whatever was asked before, a request gets what a function that keeps nothing answers."""
    database.insert("departments", [(1, "a"), (2, "b")])
    database.insert("jobs", [(1, "a"), (2, "c")])
    hires = [("2020-05-06", 1, 1), ("2021-01-02", 1, 2), ("2021-08-09", 2, 1), ("2021-09-09", 2, 1)]
    database.insert("employees", [(n, "x", *hire) for n, hire in enumerate(hires, 1)])

    def ask() -> list[tuple[str, bytes]]:
        requests = itertools.product(addresses(), ["localhost", "quarterly-hired-1.run.app"])
        answers = [client.get(path, headers={"Host": host}) for path, host in requests]
        assert {answer.status_code for answer in answers} == {200}
        return [
            (answer.headers["ETag"], re.sub(b"<time.*?</time>", b"", answer.data))
            for answer in answers
        ]

    first, again = ask(), ask()
    environment.setattr(rendered, "KEPT_ROWS", -1)
    assert ask() == first == again
    assert len(set(first)) > len(first) / 3


rendered_words: list[str] = []


def get(kept: KeptAnswers, word: str) -> bytes:
    """Asks for a word, which is rendered in capitals."""

    def render() -> bytes:
        rendered_words.append(word)
        return word.upper().encode()

    return kept.get(word, render)


def test_nothing_is_rendered_twice(kept: KeptAnswers) -> None:
    """An answer is rendered once for what it shows, and again for something else."""
    rendered_words.clear()
    assert [get(kept, word).decode() for word in ("é", "é", "b", "é")] == ["É", "É", "B", "É"]
    assert rendered_words == ["é", "b"]


def test_the_answer_used_longest_ago_is_dropped_first(
    kept: KeptAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept answers have no more bytes than allowed; one that is longer is not kept."""
    monkeypatch.setattr(rendered, "KEPT_BYTES", 5)
    rendered_words.clear()
    for word in ("ab", "cd", "ab", "éé", "ab", "longer", "longer"):
        assert get(kept, word) == word.upper().encode()
    # `cd` and `ab` were dropped for the four bytes of `éé`.
    assert rendered_words == ["ab", "cd", "éé", "ab", "longer", "longer"]
    # The answer that is too long to be kept dropped no other one.
    get(kept, "ab")
    assert rendered_words[6:] == []


@given(st.lists(st.text("aé", max_size=12), max_size=30))
def test_the_bound_holds(words: list[str]) -> None:
    """The kept answers never have more bytes than allowed."""
    kept = KeptAnswers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered, "KEPT_BYTES", 20)
        for word in words:
            assert get(kept, word) == word.upper().encode()
            assert sum(map(len, kept._answers.values())) <= 20


def test_threads_get_their_own_answers(kept: KeptAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads get the right answers although others ask and answers are dropped meanwhile."""
    monkeypatch.setattr(rendered, "KEPT_BYTES", 40)
    wrong: list[str] = []
    together = threading.Barrier(8)

    def ask(first: int) -> None:
        together.wait()
        for number in range(first, first + 2000):
            word = f"word {number % 11}"
            if get(kept, word) != word.upper().encode():
                wrong.append(word)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(map(len, kept._answers.values())) <= 40


@pytest.mark.parametrize(
    ("wanted", "rows", "name", "count"),
    [
        ("application/json", 3, "D", 1),
        ("application/json", 4, "D", 2),
        ("application/json", 3, "D" * 700, 2),
        ("text/html", 3, "D", 1),
        ("text/html", 4, "D", 2),
    ],
)
def test_only_small_answers_are_kept(
    client: Client,
    database: Database,
    environment: pytest.MonkeyPatch,
    wanted: str,
    rows: int,
    name: str,
    count: int,
) -> None:
    """A short report is rendered once; one of many rows or long names at each request."""
    environment.setattr(rendered, "KEPT_ROWS", 3)
    environment.setattr(rendered, "KEPT_NAMES", 2000)
    database.execute("ALTER TABLE departments MODIFY department TEXT")
    database.insert("departments", [(n, f"{name}{n}") for n in range(1, rows + 1)])
    database.insert("jobs", [(1, "J")])
    database.insert("employees", [(n, "x", "2021-05-06", n, 1) for n in range(1, rows + 1)])
    calls = []
    show: Callable[..., Iterator[str]] = SHOW[wanted]

    def counted(*shown: Any) -> Iterator[str]:
        calls.append(1)
        return show(*shown)

    environment.setitem(SHOW, wanted, counted)
    first, second = (client.get("/quarterly-hired", headers={"Accept": wanted}) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.headers["ETag"] == second.headers["ETag"]
    assert len(calls) == count
