"""A kept answer always equals the one that would be rendered."""

import datetime
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from conftest import Database
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

import main
import reports
from pages import page
from pages.page import Found
from pages.query import ReportQuery
from pages.rendered import RenderedAnswers

pytestmark = pytest.mark.once

NAMES = st.sampled_from(["Sales", "قسم", 1, True, Decimal("1.5"), Decimal("1.50"), 1.5, "1", b"1"])
HIRES = st.integers(0, 1)
ROWS = st.lists(st.tuples(NAMES, NAMES, *[HIRES] * 4, st.just(1), st.just(1)), max_size=2)
"""Few values, so that equal ones, and equal ones that look different, often meet."""


@given(st.lists(st.tuples(st.sampled_from(list(main.SHOW.values())), ROWS), max_size=30))
def test_an_answer_is_that_of_its_rows(asked: list[tuple[Callable[..., str], Any]]) -> None:
    """An answer is the one rendered from its own rows, whatever rows were shown before."""
    kept = RenderedAnswers(most_bytes=2000)
    columns = ("department", "job", "Q1", "Q2", "Q3", "Q4", "id", "id")
    for show, rows in asked:
        assert kept.get(show, columns, rows) == show(columns, rows).encode()


QUERIES = st.builds(
    ReportQuery,
    st.just(reports.QUARTERLY_HIRED),
    st.sampled_from([2020, 2021]),
    chart=st.sampled_from(["stacked", "quarters"]),
    order=st.sampled_from(["", "name", "-name", "change"]),
    filter=st.sampled_from(["", "s", "sales"]),
    jobs=st.sampled_from(["shown", "folded"]),
)
PAGE_ROWS = st.lists(
    st.tuples(
        st.just("Sales"), st.just("Clerk"), st.just(1), HIRES, HIRES, HIRES, st.just(1), st.just(1)
    ),
    max_size=1,
)
YEARS = st.one_of(st.none(), st.just([2020]), st.just([2019, 2021]))
HOSTS = st.sampled_from(["", "localhost", "quarterly-hired-1.europe-west1.run.app"])
PAGES = st.tuples(QUERIES, st.builds(Found, PAGE_ROWS, PAGE_ROWS, YEARS), HOSTS)


@settings(max_examples=30)
@given(st.lists(PAGES, max_size=6))
def test_a_page_is_that_of_its_query(asked: list[tuple[ReportQuery, Found, str]]) -> None:
    """A page depends on its year, view, order, filter, the year before, its links and its host."""
    kept = RenderedAnswers()
    for query, found, host in [*asked, *asked]:
        assert kept.get(page.render, query, found, host) == page.render(query, found, host).encode()


rendered: list[object] = []
"""The arguments of each call of `shout`."""


def shout(word: str) -> str:
    rendered.append(word)
    return word.upper()


@pytest.fixture(autouse=True)
def _nothing_rendered() -> None:
    rendered.clear()


def test_nothing_is_rendered_twice() -> None:
    """An answer is rendered once for the same arguments, and again for others."""
    kept = RenderedAnswers()
    assert [kept.get(shout, word) for word in ("é", "é", "b", "é")] == [b"\xc3\x89"] * 2 + [
        b"B",
        b"\xc3\x89",
    ]
    assert rendered == ["é", "b"]


def test_the_kept_answers_have_no_more_bytes_than_allowed() -> None:
    """The least recently used answer is dropped first, and one beyond the bound is not kept."""
    kept = RenderedAnswers(most_bytes=5)
    for word in ("ab", "cd", "ab", "éé", "ab", "cd", "longer", "ab", "longer"):
        kept.get(shout, word)
    # `cd` and `ab` were dropped for the four bytes of `éé`.
    assert rendered == ["ab", "cd", "éé", "ab", "cd", "longer", "longer"]


@given(st.integers(0, 40), st.lists(st.text("aé", max_size=12), max_size=30))
def test_the_bound_holds(most_bytes: int, words: list[str]) -> None:
    """The kept answers never have more bytes than allowed, and their count is right."""
    kept = RenderedAnswers(most_bytes)
    for word in words:
        kept.get(shout, word)
        assert sum(map(len, kept._answers.values())) == kept._bytes <= most_bytes


def test_threads_get_their_own_answers() -> None:
    """Threads get the right answers although others ask and answers are dropped meanwhile."""
    kept = RenderedAnswers(most_bytes=40)
    wrong: list[str] = []
    together = threading.Barrier(8)

    def ask(first: int) -> None:
        together.wait()
        for number in range(first, first + 2000):
            word = f"word {number % 11}"
            if kept.get(shout, word) != word.upper().encode():
                wrong.append(word)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(map(len, kept._answers.values())) == kept._bytes <= 40


@pytest.mark.parametrize("wanted", ["text", "html", "json", "ndjson", "csv"])
@pytest.mark.parametrize("report", ["quarterly-hired", "hiring-by-department"])
def test_each_change_of_the_data_is_shown_at_once(
    client: Client, database: Database, report: str, wanted: str
) -> None:
    """A renamed department or one more hire changes the next answer and its ETag."""
    database.insert("departments", [(1, "Sales"), (2, "Support")])
    database.insert("jobs", [(1, "Clerk")])
    hires = [(n, "Ada", datetime.datetime(2021, 2, 3), n % 3 // 2 + 1, 1) for n in range(1, 6)]  # noqa: DTZ001
    database.insert("employees", hires)
    path = f"/{report}?format={wanted}"
    changes = (
        "UPDATE departments SET department = 'Trade' WHERE id = 1",
        "INSERT INTO employees VALUES (6, 'Eva', '2021-05-06', 1, 1)",
    )
    answers = [client.get(path)]
    for change in changes:
        same = client.get(path)
        assert (same.data, same.headers["ETag"]) == (answers[-1].data, answers[-1].headers["ETag"])
        database.execute(change)
        answers.append(client.get(path))
    assert len({answer.data for answer in answers}) == 3
    assert len({answer.headers["ETag"] for answer in answers}) == 3
