"""How large an answer may be, and how long it may take."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import tabulate
import wcwidth
from conftest import Database
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client

import db
import pages.page
import reports
from local.database import DatabaseServer
from pages import found
from pages.found import Found
from pages.names import isolated, visible
from pages.text import as_text
from pages.view import PageTable

QUARTERLY = "/quarterly-hired"
HELP = (
    "at most 5,000 rows as text, 100,000 rows and 16 MB in any other format;"
    " ask for fewer years or for another format, or read the reports that every backup stores"
)


def fill(database: Database, departments: int, jobs: int) -> None:
    """Inserts a hire of each pair of a department and a job in 2021."""
    database.insert("departments", [(n, f"D{n}") for n in range(1, departments + 1)])
    database.insert("jobs", [(n, f"営業 {n}") for n in range(1, jobs + 1)])
    database.execute(
        "INSERT INTO employees (name, datetime, department_id, job_id)"
        " SELECT 'x', '2021-05-06', departments.id, jobs.id FROM departments JOIN jobs"
    )


def refusal(client: Client, path: str) -> tuple[int, str, str]:
    response = client.get(path)
    error = response.get_json()["error"]
    return response.status_code, error["code"], error["message"]


def test_text_has_at_most_5000_rows(client: Client, database: Database) -> None:
    """A report of 5,001 rows is refused as text, with their number, and answered as CSV."""
    fill(database, 50, 100)
    text = client.get(QUARTERLY).get_data(as_text=True)
    assert text.count("| D") == 5000
    database.execute("INSERT INTO departments VALUES (51, 'D51')")
    database.execute(
        "INSERT INTO employees (name, datetime, department_id, job_id)"
        " VALUES ('x', '2021-12-31', 51, 1)"
    )
    assert refusal(client, QUARTERLY) == (
        400,
        "too_many_rows",
        f"the report, 5,001 rows, is too large for an answer: {HELP}",
    )
    lines = client.get(f"{QUARTERLY}?format=csv").get_data(as_text=True).splitlines()
    assert len(lines) == 5002
    # The kept connection still answers.
    assert client.get(f"{QUARTERLY}?year=2020").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["json", "ndjson", "csv"])
def test_an_answer_has_at_most_100000_rows(client: Client, database: Database, wanted: str) -> None:
    """A report of 100,000 rows is answered whole; with one more it is refused with their number."""
    fill(database, 250, 400)
    answer = client.get(f"{QUARTERLY}?format={wanted}").get_data(as_text=True)
    assert answer.count("\n") == 100_000 + (wanted == "csv")
    database.execute("INSERT INTO jobs VALUES (401, 'J')")
    database.execute(
        "INSERT INTO employees (name, datetime, department_id, job_id)"
        " VALUES ('x', '2021-12-31', 1, 401)"
    )
    assert refusal(client, f"{QUARTERLY}?format={wanted}") == (
        400,
        "too_many_rows",
        f"the report, 100,001 rows, is too large for an answer: {HELP}",
    )


def test_the_number_of_rows_is_left_out_where_it_takes_long(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A report whose rows cannot be counted in time is refused without their number."""
    fill(database, 60, 100)
    environment.setattr(reports, "COUNT_SECONDS", 0.001)
    status, code, message = refusal(client, QUARTERLY)
    assert (status, code) == (400, "too_many_rows")
    # A fast server counts them within the millisecond.
    assert message in (
        f"the report{rows} is too large for an answer: {HELP}" for rows in ("", ", 6,000 rows,")
    )


FORMATS = ["text", "json", "ndjson", "csv", "html"]


@pytest.mark.parametrize("wanted", FORMATS)
def test_an_answer_is_no_longer_than_16_mb(
    client: Client, database: Database, environment: pytest.MonkeyPatch, wanted: str
) -> None:
    """An answer that is longer than allowed is refused, however few rows it has."""
    fill(database, 20, 20)
    assert reports.ANSWER_BYTES == 16_000_000
    environment.setattr(reports, "ANSWER_BYTES", 2000)
    response = client.get(f"{QUARTERLY}?format={wanted}")
    assert response.status_code == 400
    assert "too_many_rows" in response.text
    # What was not read of the server's answer disturbs no later one.
    environment.setattr(reports, "ANSWER_BYTES", 16_000_000)
    assert client.get(f"{QUARTERLY}?format={wanted}").status_code == 200


@pytest.mark.parametrize("wanted", FORMATS)
def test_rendering_is_bounded_too(
    client: Client, database: Database, environment: pytest.MonkeyPatch, wanted: str
) -> None:
    """An answer that is read in time but rendered too slowly is 504 at the limit."""
    fill(database, 10, 20)
    environment.setattr(db, "REPORT_SECONDS", 1)
    run = reports.run

    def slow_rows(*arguments: Any, **options: Any) -> Iterator[Any]:
        for row in run(*arguments, **options):
            time.sleep(0.05)
            yield row

    def slow_table(shown: Found) -> PageTable:
        time.sleep(1)
        return PageTable(shown)

    if wanted == "html":
        environment.setattr(pages.page, "PageTable", slow_table)
    else:
        environment.setattr(reports, "run", slow_rows)
    started = time.monotonic()
    assert client.get(f"{QUARTERLY}?format={wanted}").status_code == 504
    assert time.monotonic() - started < 12


@pytest.mark.slow
def test_a_report_that_is_too_large_is_refused_in_time(client: Client, database: Database) -> None:
    """A report of 400,000 rows is refused within the limit, counted or not."""
    fill(database, 800, 500)
    started = time.monotonic()
    status, _, message = refusal(client, f"{QUARTERLY}?format=json")
    assert (status, "too large for an answer" in message) in ((400, True), (504, False))
    assert time.monotonic() - started < db.REPORT_SECONDS + 2


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Mn", "Me", "Mc", "Cf"], exclude_characters="\u115f")
    | st.sampled_from("aé営🚧 ق"),
    max_size=12,
)


@given(st.lists(st.tuples(NAMES, NAMES, *[st.integers(0, 99_999)] * 4), max_size=4))
def test_the_grid_is_that_of_tabulate(rows: list[tuple[Any, ...]]) -> None:
    """The grid is exactly the one that tabulate draws."""
    columns = reports.QUARTERLY_HIRED.columns
    shown = [[isolated(visible(cell)) for cell in row] for row in rows]
    drawn = tabulate.tabulate(
        shown, columns, "grid", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 4
    )
    assert "".join(as_text(columns, rows)) == drawn + "\n"


def test_a_filter_finds_at_most_10000_names(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """A filter that finds more names than the server can be asked for is refused, and says so."""
    fill(database, 2, 12)
    assert found.FILTERED_NAMES == 10_000
    environment.setattr(found, "FILTERED_NAMES", 11)
    assert client.get(f"{QUARTERLY}?format=html&filter=1").status_code == 200
    response = client.get(f"{QUARTERLY}?format=html&filter=営業")
    assert response.status_code == 400
    assert "the filter finds more than 11 jobs; give more of the name" in response.text


@pytest.mark.parametrize("wanted", FORMATS)
def test_a_row_has_at_most_a_megabyte(
    client: Client, database: Database, environment: pytest.MonkeyPatch, wanted: str
) -> None:
    """A row with a longer name is refused before it is in memory, and disturbs no later answer."""
    assert reports.ROW_BYTES == 1_000_000
    environment.setattr(reports, "ROW_BYTES", 1000)
    database.execute("ALTER TABLE departments MODIFY department LONGTEXT")
    fill(database, 3, 1)
    database.execute("UPDATE departments SET department = REPEAT('x', 1000) WHERE id = 2")
    response = client.get(f"{QUARTERLY}?format={wanted}")
    assert response.status_code == 400
    assert "too_many_rows" in response.text
    assert "the report has a row of more than 1,000 bytes" in response.text
    database.execute("UPDATE departments SET department = REPEAT('x', 900) WHERE id = 2")
    assert client.get(f"{QUARTERLY}?format={wanted}").status_code == 200


@pytest.mark.parametrize(
    ("wanted", "status"),
    [("text", 400), ("json", 200), ("ndjson", 200), ("csv", 200), ("html", 400)],
)
def test_names_that_are_held_at_once_are_few(
    client: Client, database: Database, environment: pytest.MonkeyPatch, wanted: str, status: int
) -> None:
    """Text and page, which need all rows at once, refuse names of more than 8 MB together."""
    assert reports.HELD_BYTES == 8_000_000
    environment.setattr(reports, "HELD_BYTES", 80_000)
    database.execute("ALTER TABLE departments MODIFY department LONGTEXT")
    fill(database, 10, 1)
    # In UTF-8 these have 25 kB, in memory 100 kB: one wide character makes all take four bytes.
    database.execute("UPDATE departments SET department = CONCAT('🚧', REPEAT('x', 2500))")
    assert client.get(f"{QUARTERLY}?format={wanted}").status_code == status


def test_a_page_reads_at_most_10000_departments(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """The page of more departments is refused; the CSV has them."""
    fill(database, 12, 1)
    assert found.PAGE_DEPARTMENTS == 10_000
    environment.setattr(found, "PAGE_DEPARTMENTS", 11)
    assert client.get(f"{QUARTERLY}?format=html").status_code == 400
    assert client.get(f"{QUARTERLY}?format=csv").status_code == 200


@pytest.mark.parametrize("name", ["営" * 20_000, "x" * 200_000, "e\u0301" * 50_000, "営 業" * 999])
def test_a_long_name_is_wrapped_in_time(name: str) -> None:
    """Wrapping takes a time that grows with the name, not with its square, and loses nothing."""
    started = time.monotonic()
    grid = "".join(as_text(("id", "department", "hired"), [(1, name, 2)]))
    assert time.monotonic() - started < 5
    shown = [line.split("|")[2].strip(" \u2068\u2069") for line in grid.splitlines() if "|" in line]
    assert "".join(shown[1:]).replace(" ", "") == name.replace(" ", "")


@given(st.text(st.sampled_from("aé営🚧 ق\u0301\u200b"), max_size=90))
def test_each_line_of_a_wrapped_name_is_as_wide(name: str) -> None:
    """Every line of the grid has the same width, however a name is wrapped; none is lost."""
    grid = "".join(as_text(("department", "job"), [(name, "x" * 80)]))
    assert len(set(map(wcwidth.width, grid.splitlines()))) == 1
    assert wcwidth.width(grid.splitlines()[0]) <= 80
    cells = [line.split("|")[1].strip(" \u2068\u2069") for line in grid.splitlines() if "|" in line]
    assert "".join(cells[1:]).replace(" ", "") == name.replace(" ", "")


def test_names_that_the_server_cannot_sort(
    client: Client, database: Database, server: DatabaseServer
) -> None:
    """Where MySQL's memory is too small to sort long names, the answer says which setting helps."""
    database.execute("ALTER TABLE departments MODIFY department LONGTEXT")
    fill(database, 3, 1)
    database.execute("UPDATE departments SET department = REPEAT('x', 900000)")
    response = client.get(f"{QUARTERLY}?format=csv")
    if server.is_mariadb:
        assert response.status_code == 200
    else:
        assert response.status_code == 500
        error = response.get_json()["error"]
        assert error["code"] == "misconfigured"
        assert "sort buffer size" in error["message"]
