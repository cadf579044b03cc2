"""The reports in each format, whatever the tables hold."""

import base64
import csv
import datetime
import functools
import hashlib
import html
import io
import itertools
import json
import re
from typing import Any
from urllib.parse import urljoin

import pytest
import wcwidth
import werkzeug.test
from conftest import Bundle, Database
from hypothesis import example, given
from hypothesis import strategies as st

import pages.page
import reports
from pages import drawing
from pages.found import Found
from pages.names import visible
from pages.page import TEMPLATES, render
from pages.query import ReportQuery
from pages.spreadsheet import as_csv
from pages.text import TERMINAL_COLUMNS, as_text

pytestmark = pytest.mark.once

QUARTERLY, ABOVE_MEAN = "/quarterly-hired", "/hiring-by-department"
HOSTILE = {
    "markup": "<script>alert(1)</script>",
    "entity": "&lt;b&gt; & \"q\" 'a'",
    "template": "{{ 7 * 7 }}{% raw %}",
    "emoji": "Growth 🚀 👩‍🚀",
    "scripts": "営業部 قسم",
    "formula": "=1+1",
    "command": "@cmd",
    "plus": "+1",
    "minus": "-1",
    "tab": "\t=1+1",
    "return": "\r=1+1",
    "newline": "two\nlines",
    "escape": "\x1b[31mred",
    "turning": "\u202eklerC\u202c \u2067a",
    "number": "007",
    "comma": 'a, "b"',
    "long": "W" * 255,
    "empty": "",
}


def hire(database: Database, hires: list[tuple[str, str, str]]) -> None:
    """Inserts hires, each a department, a job and a time, with their departments and jobs."""
    departments = list(dict.fromkeys(department for department, _, _ in hires))
    jobs = list(dict.fromkeys(job for _, job, _ in hires))
    database.insert("departments", list(enumerate(departments, start=1)))
    database.insert("jobs", list(enumerate(jobs, start=1)))
    database.insert(
        "employees",
        [
            (number, "Ada", at, departments.index(department) + 1, jobs.index(job) + 1)
            for number, (department, job, at) in enumerate(hires, start=1)
        ],
    )


def get(client: werkzeug.test.Client, path: str, **options: Any) -> Any:
    response = client.get(path, **options)
    assert response.status_code == 200, response.text
    return response


def csv_rows(text: str) -> list[list[str]]:
    """The cells of a CSV file, which must begin with a byte-order mark."""
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:], newline="")))


def page_rows(page: str) -> list[list[str]]:
    """The cells of each row in the table's bodies."""
    bodies = re.findall(r"<tbody(?! class=\"total)[^>]*>(.*?)</tbody>", page, re.DOTALL)
    rows = re.findall(r"<tr(?! class=\"heading)[^>]*>(.*?)</tr>", "".join(bodies), re.DOTALL)
    return [row_cells(row) for row in rows]


def row_cells(row: str) -> list[str]:
    """The text of each cell of a row."""
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]*>", "", cell)).strip(" ") for cell in cells]


# Names


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_any_name_is_shown_in_every_format(
    client: werkzeug.test.Client, database: Database, name: str
) -> None:
    """A name is exact in JSON, harmless in CSV, visible in text, and plain text in the page."""
    hire(database, [(name, name, "2021-02-03"), (name, name, "2021-11-30")])
    shown = visible(name)

    assert get(client, QUARTERLY + "?format=json").json == [
        {"department": name, "job": name, "Q1": 1, "Q2": 0, "Q3": 0, "Q4": 1}
    ]

    # A spreadsheet may split at the tab or the line break, too.
    harmless = re.sub(r"^(?=[=+@\t\r-])|(?<=[\t\r])(?==)", "'", name)
    assert csv_rows(get(client, QUARTERLY + "?format=csv").text) == [
        ["department", "job", "Q1", "Q2", "Q3", "Q4"],
        [harmless, harmless, "1", "0", "0", "1"],
    ]

    page = get(client, QUARTERLY + "?format=html&jobs=shown").text
    in_table = (shown or "no name").strip(" ")
    assert page_rows(page) == [[in_table, "1", "0", "0", "1", "2"]] * 2
    assert "<script" not in page

    grid = get(client, QUARTERLY).text
    letters = "".join(line.split("|")[1].strip() for line in grid.splitlines()[3:] if "|" in line)
    assert re.sub("[ \u2068\u2069]", "", letters) == shown.replace(" ", "")
    assert re.search(r"\|\s+1 \|\s+0 \|\s+0 \|\s+1 \|\n", grid)


def test_a_name_may_be_null_or_not_text(client: werkzeug.test.Client, database: Database) -> None:
    """Names that are NULL or binary, and ids that are text, are shown in every format."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    database.execute("ALTER TABLE departments MODIFY id VARCHAR(9), MODIFY department BLOB NULL")
    database.execute("ALTER TABLE employees MODIFY department_id VARCHAR(9)")
    database.insert("jobs", [(1, "Nurse")])
    database.insert("departments", [("=a", b"\xff\x00"), ("b", None)])
    database.insert("employees", [(1, "Ada", "2021-01-01", "=a", 1)])
    database.insert(
        "employees", [(2, "Eve", "2021-01-01", "b", 1), (3, "Mo", "2021-05-01", "b", 1)]
    )

    assert get(client, ABOVE_MEAN + "?format=json").json == [
        {"id": "b", "department": None, "hired": 2}
    ]
    assert get(client, ABOVE_MEAN + "?format=csv").text == "\ufeffid,department,hired\r\nb,,2\r\n"
    assert page_rows(get(client, ABOVE_MEAN + "?format=html").text) == [
        ["b", "no name", "2", "66.7\u00a0%", "+0.5"],
        ["=a", "ff00", "1", "33.3\u00a0%", "−0.5"],
    ]
    assert [row["department"] for row in get(client, QUARTERLY + "?format=json").json] == [
        None,
        "ff00",
    ]
    assert get(client, QUARTERLY + "?format=csv").text.splitlines()[1:] == [
        ",Nurse,1,1,0,0",
        "ff00,Nurse,1,0,0,0",
    ]
    page = get(client, QUARTERLY + "?format=html&filter=F00").text
    assert page_rows(page) == [["ff00", "1", "0", "0", "0", "1"]]
    (link,) = re.findall(r'<a href="(\?[^"#]*)#d-%3Da" aria-expanded="false">', page)
    assert page_rows(get(client, QUARTERLY + html.unescape(link)).text) == [
        ["ff00", "1", "0", "0", "0", "1"],
        ["Nurse", "1", "0", "0", "0", "1"],
    ]


def test_departments_of_one_name_stay_apart_in_the_page(
    client: werkzeug.test.Client, database: Database
) -> None:
    """Two departments called Sales are two groups, although their jobs alternate in the report."""
    database.insert("departments", [(1, "Sales"), (2, "Sales")])
    database.insert("jobs", [(1, "Agent"), (2, "Buyer")])
    pairs = itertools.product((1, 2), (1, 2))
    database.insert(
        "employees",
        [(number, "Ada", "2021-07-01", *pair) for number, pair in enumerate(pairs, start=1)],
    )
    assert page_rows(get(client, QUARTERLY + "?format=html&open=2,1").text) == [
        row
        for number in (1, 2)
        for row in (
            [f"Sales (id {number})", "0", "0", "2", "0", "2"],
            ["Agent", "0", "0", "1", "0", "1"],
            ["Buyer", "0", "0", "1", "0", "1"],
        )
    ]


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=255)
counts = st.integers(0, 9_999_999)


signs = st.text(st.sampled_from("=+-@;,'\" x\t\r\n\0＝－"), max_size=12)
FORMULA_STARTS = ("=", "+", "-", "@", "\0", "＝", "＋", "－", "＠")


@given(st.lists(st.tuples(*2 * [names | signs], *4 * [counts]), max_size=4))
@example([("x;=1", 'y;"=1"', 0, 0, 0, 0), ("\t=1", 'z,\n"-1', 0, 0, 0, 0)])
def test_no_csv_cell_is_a_formula(rows: list[tuple[Any, ...]]) -> None:
    """No cell begins like a formula, wherever a spreadsheet splits; only apostrophes are added."""
    text = "".join(as_csv(reports.QUARTERLY_HIRED.columns, rows))
    _, *cells = csv_rows(text)
    for row, shown in zip(rows, cells, strict=True):
        for value, cell in zip(row, shown, strict=True):
            assert cell.replace("'", "") == str(value).replace("'", "")
    for separator in (",", ";", "\t"):
        for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            assert not [cell for cell in line if cell.startswith(FORMULA_STARTS)]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=1+2", "'=1+2"),
        ("x;=1+2;y", "x;'=1+2;y"),
        ('x;"=1+2"', 'x;\'"=1+2"'),
        ("x\t@y", "x\t'@y"),
        ("x\n-1", "x\n'-1"),
        ("R&D; - 1 = 2", "R&D; - 1 = 2"),
        ("a-b=c", "a-b=c"),
    ],
)
def test_a_name_in_csv(name: str, shown: str) -> None:
    """An apostrophe precedes a formula, also one after a separator, and nothing else."""
    text = "".join(as_csv(reports.HIRING_BY_DEPARTMENT.columns, [(1, name, 2)]))
    assert csv_rows(text)[1] == ["1", shown, "2"]


@given(st.lists(st.tuples(names, names, counts, counts, counts, counts), max_size=4))
def test_the_grid_fits_a_terminal(rows: list[tuple[Any, ...]]) -> None:
    """No line of the grid is wider than 80 columns or moves the cursor, whatever the names."""
    for line in "".join(as_text(reports.QUARTERLY_HIRED.columns, rows)).splitlines():
        assert 0 < wcwidth.wcswidth(line) <= TERMINAL_COLUMNS


# Sizes


def test_no_hires_are_an_empty_report(client: werkzeug.test.Client) -> None:
    """A report without hires has no rows in any format, and the page says so in words."""
    assert get(client, QUARTERLY + "?format=json").text == "[]\n"
    assert get(client, QUARTERLY + "?format=csv").text == "\ufeffdepartment,job,Q1,Q2,Q3,Q4\r\n"
    assert get(client, QUARTERLY).text.splitlines()[1].split("|")[1:-1] == [
        " department   ",
        " job   ",
        " Q1   ",
        " Q2   ",
        " Q3   ",
        " Q4   ",
    ]
    for path in (QUARTERLY, ABOVE_MEAN):
        for query in ("?format=html", "?format=html&year=2010-2020"):
            page = get(client, path + query).text
            assert "The database has no hires: its table employees is empty." in page
            assert "<svg" not in page
            assert "<table" not in page


def test_a_year_without_hires_is_named(client: werkzeug.test.Client, database: Database) -> None:
    """The page of a year without hires says so, and so does one whose hires have no department."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    hire(database, [("Legal", "Lawyer", "2020-12-31"), ("Care", "Nurse", "2022-12-31")])
    database.execute("DELETE FROM departments WHERE department = 'Care'")
    for path in (QUARTERLY, ABOVE_MEAN):
        page = get(client, path + "?format=html").text
        assert "Nobody was hired in 2021." in page
        assert years_linked(page) == ["2020", "2021", "2022"]
        page = get(client, path + "?format=html&year=1976-1990").text
        assert "Nobody was hired between 1976 and 1990." in page
        assert years_linked(page) == ["2020", "2022"]
        page = get(client, path + "?format=html&year=2022").text
        assert "No hire of 2022 has a department" in page


def test_one_hire_is_a_report(client: werkzeug.test.Client, database: Database) -> None:
    """A report of one hire has one row, which equals the mean, and the page says so in words."""
    hire(database, [("Legal", "Lawyer", "2021-12-31 23:59:59")])
    page = get(client, QUARTERLY + "?format=html&jobs=shown").text
    assert "1 hire in <bdi>Legal</bdi>. Busiest quarter: Q4, with 1." in page
    assert page_rows(page) == [
        ["Legal", "0", "0", "0", "1", "1"],
        ["Lawyer", "0", "0", "0", "1", "1"],
    ]
    assert get(client, ABOVE_MEAN + "?format=json").json == []
    page = get(client, ABOVE_MEAN + "?format=html").text
    assert "No department hired more than the mean of 1.0 in 2021." in page
    assert page_rows(page) == [["1", "Legal", "1", "100\u00a0%", "0"]]


def test_a_hire_in_month_0_is_in_no_quarter(
    client: werkzeug.test.Client, database: Database
) -> None:
    """A page whose only hire has a date in month 0 shows a department without a bar."""
    hire(database, [("Legal", "Lawyer", "2021-01-01")])
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("UPDATE employees SET datetime = '2022-00-15'")
    for query in ("", "&chart=quarters", "&jobs=shown"):
        page = get(client, f"{QUARTERLY}?format=html{query}").text
        assert page_rows(page)[0] == ["Legal", "0", "0", "0", "0", "0"]
        assert rectangles(page) == []
    page = get(client, f"{QUARTERLY}?format=html&year=2020-2021").text
    assert page_rows(page) == [["Legal", "0", "0", "0"]]
    page = get(client, f"{ABOVE_MEAN}?format=html").text
    assert page_rows(page)[0][:3] == ["1", "Legal", "1"]


def test_two_thousand_jobs_are_a_report(client: werkzeug.test.Client, database: Database) -> None:
    """A report of 2,000 jobs in 40 departments has all of them, its page one department's."""
    rows = [(f"Department {n % 40:02}", f"Job {n:04}", "2021-05-05") for n in range(2000)]
    hire(database, [*rows, ("Department 39", "Job 0039", "2021-05-05")])
    objects = get(client, QUARTERLY + "?format=json").json
    assert len(objects) == 2000
    assert len(get(client, QUARTERLY + "?format=csv").text.splitlines()) == 2001
    assert get(client, QUARTERLY).text.count("| Department ") == 2000
    page = get(client, QUARTERLY + "?format=html&jobs=shown").text
    assert len(page_rows(page)) == 40
    assert "the table would have 2,040 rows" in page
    everyone = ",".join(map(str, range(1, 41)))
    page = get(client, f"{QUARTERLY}?format=html&open={everyone}").text
    assert len(page_rows(page)) == 40 + 50
    page = get(client, f"{QUARTERLY}?format=html&jobs=shown&filter=job 1").text
    assert len(page_rows(page)) == 40 + 1000
    page = get(client, f"{QUARTERLY}?format=html").text
    assert "2,001 hires in 40 departments; <bdi>Department 39</bdi> hired most (51)." in page


def test_more_departments_than_a_table_has_rows(
    client: werkzeug.test.Client, database: Database
) -> None:
    """A page of 2,003 departments says how many it leaves out, and that jobs are only if asked."""
    hire(database, [(f"Department {n}", "Nurse", "2021-05-05") for n in range(2003)])
    folded = get(client, QUARTERLY + "?format=html").text
    assert len(page_rows(folded)) == 2000
    assert "3 more departments are not shown. <a" in folded
    assert "With these jobs" not in folded
    opened = get(client, QUARTERLY + "?format=html&open=7").text
    assert len(page_rows(opened)) == 2001
    assert "With these jobs" not in opened
    shown = get(client, QUARTERLY + "?format=html&jobs=shown").text
    assert "With these jobs the table would have 4,006 rows, more than 2,000" in shown


def test_more_jobs_than_a_table_has_rows(client: werkzeug.test.Client, database: Database) -> None:
    """A page that opens a department of 2,002 jobs says how many of them it leaves out."""
    hire(database, [("Care", f"Job {n}", "2021-05-05") for n in range(2002)])
    page = get(client, QUARTERLY + "?format=html&open=1").text
    assert len(page_rows(page)) == 2001
    assert "2 more jobs are not shown. <a" in page


def test_the_page_shows_sums_and_the_mean(client: werkzeug.test.Client, database: Database) -> None:
    """The page shows the totals, and the mean as a line in the scale of the bars."""
    hire(
        database,
        [("Care", "Nurse", f"2021-0{month}-01") for month in (1, 2, 4, 7)]
        + [("Legal", "Lawyer", "2021-08-01")],
    )
    page = get(client, QUARTERLY + "?format=html").text
    total = re.search('<tbody class="total">(.*?)</tbody>', page, re.DOTALL)
    assert total
    assert row_cells(total[1]) == ["Total", "2", "1", "2", "0", "5"]
    page = get(client, ABOVE_MEAN + "?format=html").text
    assert (
        "1 of 2 departments hired more than the mean of 2.5 in 2021; together 4 of 5 hires." in page
    )
    assert page.count('<rect class="mean" x="62.5%"') == 2
    assert page_rows(page) == [
        ["1", "Care", "4", "80.0\u00a0%", "+1.5"],
        ["2", "Legal", "1", "20.0\u00a0%", "−1.5"],
    ]


def rectangles(page: str) -> list[tuple[str, ...]]:
    """Class, place, width and height of each bar."""
    pattern = r'<rect class="(\w+)" x="([^"]*)" width="([^"]*)" height="([^"]*)"/>'
    return re.findall(pattern, page)


def test_bars_have_one_scale(client: werkzeug.test.Client, database: Database) -> None:
    """The longest bar fills its place; parts follow each other; a small one is a pixel too."""
    hire(
        database,
        [("A", "a", "2021-01-01")] * 50
        + [("A", "a", "2021-04-01")] * 49
        + [("A", "a", "2021-12-01")]
        + [("B", "a", "2021-07-01")] * 25,
    )
    page = get(client, QUARTERLY + "?format=html").text
    assert rectangles(page) == [
        ("q4", "99%", "1", "100%"),
        ("q4", "99%", "1%", "100%"),
        ("q2", "50%", "49%", "100%"),
        ("q1", "0%", "50%", "100%"),
        ("q3", "0%", "25%", "100%"),
    ]
    page = get(client, QUARTERLY + "?format=html&chart=quarters").text
    assert rectangles(page.partition("<table")[2]) == [
        ("q1", "2.5%", "20%", "100%"),
        ("q2", "27.5%", "20%", "98%"),
        ("q4", "77.5%", "20%", "2%"),
        ("q4", "77.5%", "20%", "1"),
        ("q3", "52.5%", "20%", "50%"),
    ]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_all_columns_have_a_number_or_none_has(numbers: list[int]) -> None:
    """Either each column has its number or none has, and they fit beside each other."""
    years = [str(1976 + place) for place in range(len(numbers))]
    on_a_phone, labels = drawing.labelled(numbers, years, max(*numbers, 1))
    texts = [number for _, _, number, _ in labels]
    assert all(texts) or not any(texts)
    # A digit of DejaVu Sans, a wide font, has 8.3 px; a phone 358 px, a desktop 928 px.
    pixels = max(8.3 * len(text) - 4.1 * text.count(",") for text in texts)
    assert pixels + 2 < (358 if on_a_phone else 928) / len(texts)
    assert sum(bool(heading) for *_, heading in labels) in range(1, 11)


def test_the_page_compares_with_the_year_before(
    client: werkzeug.test.Client, database: Database
) -> None:
    """The page compares departments with the year before, in the table, the chart and in words."""
    hire(
        database,
        [
            ("Care", "Nurse", f"{year}-0{month}-01")
            for year, month in ((2020, 1), (2021, 2), (2021, 3))
        ]
        + [("Legal", "Lawyer", "2020-08-01")] * 4
        + [("Legal", "Lawyer", "2021-08-01")]
        + [("Sales", "Agent", "2021-08-01")] * 3
        + [("<b>", "Agent", "2020-08-01")],
    )
    changes = {"Sales": "new", "Care": "+1", "Legal": "−3"}
    for path in (QUARTERLY, ABOVE_MEAN):
        page = get(client, path + "?format=html").text
        assert "As many as in 2020." in page
        assert "Hired in 2020 only: <bdi>&lt;b&gt;</bdi> (1)." in page
        rows = {cell: row[-1] for row in page_rows(page) for cell in row if cell in changes}
        assert rows == changes
    page = get(client, QUARTERLY + "?format=html&year=2020").text
    assert "vs 2019" not in page


@pytest.mark.parametrize("order", ["name", "-name", "q2", "-q2", "hires", "-change", ""])
def test_the_table_is_sorted_by_any_column(
    client: werkzeug.test.Client, database: Database, order: str
) -> None:
    """The departments are sorted by the column in the address, in either direction."""
    hire(
        database,
        [(f"D{n % 5}", f"J{n % 7}", f"{2020 + n % 2}-{1 + n * 7 % 12:02}-01") for n in range(300)],
    )
    page = get(client, f"{QUARTERLY}?format=html&order={order}").text
    column = (order or "-hires").removeprefix("-")
    descending = (order or "-hires").startswith("-")
    place = ["name", "q1", "q2", "q3", "q4", "hires", "change"].index(column)
    shown = [cells[place] for cells in page_rows(page)]
    values = [cell if place == 0 else int(cell.replace("−", "-")) for cell in shown]
    assert values == sorted(values, reverse=descending)
    (sorted_column,) = re.findall(r'<th[^>]* aria-sort="(\w+)"', page)
    assert sorted_column == ("descending" if descending else "ascending")


def test_parameters_of_the_page_are_for_the_page_only(client: werkzeug.test.Client) -> None:
    """A parameter of the page is refused if its value is unknown or another format is asked for."""
    for query in (
        "format=csv&filter=x",
        "format=html&order=size",
        "format=html&order=2021",
        "format=html&chart=pie",
        "format=html&jobs=1",
        "format=html&filter=" + "x" * 201,
        "format=json&open=1",
    ):
        assert client.get(f"{QUARTERLY}?{query}").status_code == 400, query
    assert client.get(f"{QUARTERLY}?format=html&year=2019-2021&order=-2020").status_code == 200


def test_the_page_shows_years_side_by_side(
    client: werkzeug.test.Client, database: Database
) -> None:
    """Several years have a column each and one for their sum, with values above the mean marked."""
    hire(
        database,
        [("Care", "Nurse", "2019-01-01")] * 3
        + [("Care", "Nurse", "2021-01-01")]
        + [("Legal", "Lawyer", "2021-01-01")] * 2,
    )
    page = get(client, QUARTERLY + "?format=html&year=2010-2025&jobs=shown").text
    assert page_rows(page) == [
        ["Care", "4", "3", "0", "1"],
        ["Nurse", "4", "3", "0", "1"],
        ["Legal", "2", "0", "0", "2"],
        ["Lawyer", "2", "0", "0", "2"],
    ]
    assert "None before 2019 and after 2021." in page
    page = get(client, ABOVE_MEAN + "?format=html&year=2019-2021").text
    assert page_rows(page) == [
        ["Care", "4", "3", "0", "1"],
        ["Legal", "2", "0", "0", "2 above the mean"],
    ]
    mean = re.search("<tfoot>(.*?)</tfoot>", page, re.DOTALL)
    assert mean
    assert row_cells(mean[1]) == ["Mean", "", "3.0", "", "1.5"]


def test_the_filter_counts_everywhere(client: werkzeug.test.Client, database: Database) -> None:
    """Table, chart, summary and comparison show what the filter finds, and nothing else."""
    hire(
        database,
        [("Care", "Nurse", "2020-01-01")] * 2
        + [("Care", "Nurse", "2021-01-01")] * 3
        + [("Care", "Übersetzer", "2021-05-01")]
        + [("Überlingen", "Nurse", "2021-09-01")] * 5,
    )
    address = QUARTERLY + "?format=html&jobs=shown&filter="
    page = get(client, address + "uberSETZER").text
    assert page_rows(page) == [
        ["Care", "0", "1", "0", "0", "1"],
        ["Übersetzer", "0", "1", "0", "0", "1"],
    ]
    assert "<bdi>uberSETZER</bdi>”: 1 hire in <bdi>Care</bdi>. Busiest quarter: Q2, with 1." in page
    page = get(client, address + "nurse&chart=quarters").text
    assert page_rows(page) == [
        ["Überlingen", "0", "0", "5", "0", "5", "new"],
        ["Nurse", "0", "0", "5", "0", "5", ""],
        ["Care", "3", "0", "0", "0", "3", "+1"],
        ["Nurse", "3", "0", "0", "0", "3", ""],
    ]
    assert "6 more than in 2020 (+300" in page
    assert re.findall(r'<text x="[^"]*" y="[^"]*" dy="-5">(\d+)<', page) == ["3", "0", "5", "0"]
    page = get(client, ABOVE_MEAN + "?format=html&filter=care").text
    assert page_rows(page) == [["1", "Care", "4", "44.4\u00a0%", "−0.5", "+2"]]
    page = get(client, ABOVE_MEAN + "?format=html&year=2020-2021&filter=care").text
    assert page_rows(page) == [["Care", "6", "2", "4"]]
    for path in (QUARTERLY, ABOVE_MEAN):
        page = get(client, path + "?format=html&filter=%3Cb%3E").text
        assert page.count("Nothing in 2021 contains “<bdi>&lt;b&gt;</bdi>”.") == 1
        assert page_rows(page) == []


def test_a_page_says_when_it_was_read(client: werkzeug.test.Client, database: Database) -> None:
    """A page has its time, zone and database; the ETag leaves the time out."""
    hire(database, [("Care", "Nurse", "2021-01-01")])
    for path in (QUARTERLY, ABOVE_MEAN, QUARTERLY + "?year=1999"):
        first = get(client, path, headers={"Accept": "text/html"})
        (time,) = re.findall(r'<time datetime="(.*?)">', first.text)
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(time)
        assert abs(age.total_seconds()) < 30
        assert f"{time[:10]} {time[11:19]} UTC</time>, database <bdi>" in first.text
        assert f"<bdi>{database.name}</bdi>" in first.text
        with pytest.MonkeyPatch.context() as later:
            later.setattr(pages.page, "dated", lambda page, _: page + b"later")
            second = get(client, path, headers={"Accept": "text/html"})
        assert second.text.endswith("later")
        assert second.headers["ETag"] == first.headers["ETag"]


def test_an_error_in_a_browser_is_a_page(client: werkzeug.test.Client) -> None:
    """A browser gets an error's status and message as a page, a program gets them as JSON."""
    path = QUARTERLY + "?year=<b>"
    message = client.get(path).get_json()["error"]["message"]
    response = client.get(path, headers={"Accept": "text/html"})
    assert (response.status_code, response.mimetype) == (400, "text/html")
    assert html.escape(message) in response.text
    assert "bad_parameter" in response.text
    assert '<a href="?format=html">Back to the report</a>' in response.text
    assert response.headers["Content-Security-Policy"]
    # The way back from a path that was refused is the report, not that path again.
    for refused, back in (("/x", "./"), ("/x/y", "./../"), ("/x/", "./../")):
        response = client.get(QUARTERLY + refused, headers={"Accept": "text/html"})
        assert response.status_code == 400
        assert f'<a href="{back}?format=html">' in response.text
        address = urljoin(f"http://localhost{QUARTERLY}{refused}", f"{back}?format=html")
        assert address == f"http://localhost{QUARTERLY}/?format=html"
    assert get(client, QUARTERLY + "/?format=html")
    response = client.get(path + "&format=json", headers={"Accept": "text/html"})
    assert response.mimetype == "application/json"
    response = client.put("/truncate-tables", headers={"Accept": "text/html"})
    assert (response.status_code, response.mimetype) == (405, "text/html")
    assert "<a " not in response.text  # which would empty the tables


def test_the_reports_link_to_each_other(client: werkzeug.test.Client) -> None:
    """The reports link to each other with the same years; on Cloud Run the host differs."""
    page = get(client, QUARTERLY + "?format=html&year=2020").text
    assert 'href="hiring-by-department?year=2020&amp;format=html"' in page
    query = ReportQuery(reports.HIRING_BY_DEPARTMENT, 2019, 2021)
    page = "".join(render(Found(query, []), "hiring-by-department-123.europe-west1.run.app"))
    address = "https://quarterly-hired-123.europe-west1.run.app/?year=2019-2021&amp;format=html"
    assert f'href="{address}"' in page


@pytest.mark.parametrize("name", ["\u202eabc", "\u2069\u202eabc", "قسم", "מכירות"])
def test_a_name_does_not_reorder_digits(
    client: werkzeug.test.Client, database: Database, name: str
) -> None:
    """A right-to-left name or a control character reorders no digits, and no letters of a name."""
    hire(database, [(name, "a", "2021-01-01")] * 279)
    page = get(client, QUARTERLY + "?format=html").text
    assert f"279 hires in <bdi>{visible(name)}</bdi>." in page
    assert not re.search("[\u202a-\u202e\u2066\u2067]", html.unescape(page))
    for text in (get(client, QUARTERLY).text, re.sub(r"<bdi>.*?</bdi>|value=\".*?\"", "", page)):
        assert not re.search("[\u202a-\u202e]", text)
        for letter in "قמ":
            for place in re.finditer(f"[{letter}]", text):
                assert "\u2068" in text[: place.start()]


# Years


def years_linked(page: str) -> list[str]:
    return re.findall(r'<a href="\?year=(\d+)&amp;format=html"[^>]*>\d+</a>', page)


def test_the_page_links_to_years_with_hires(
    client: werkzeug.test.Client, database: Database
) -> None:
    """The page links to the year it shows and to years with hires, and to no others.

    Hires may be dated next year; a later date is a typo, and its year is not linked.
    """
    next_year = datetime.datetime.now(datetime.UTC).year + 1
    database.execute("ALTER TABLE employees MODIFY datetime DATETIME NULL")
    with database.connect(init_command="SET sql_mode = ''") as connection:
        times = ["2015-12-31 23:59:59", "2017-01-01", "2022-06-01", "0000-00-00", None]
        times += ["1900-01-01", "9999-12-31", "2046-12-31", f"{next_year}-12-31"]
        hires = [("A", "a", time) for time in times]
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO departments VALUES (1, 'A')")
            cursor.execute("INSERT INTO jobs VALUES (1, 'a')")
            rows = [(number, time) for number, (_, _, time) in enumerate(hires, start=1)]
            cursor.executemany("INSERT INTO employees VALUES (%s, 'Ada', %s, 1, 1)", rows)
        connection.commit()
    for path in (QUARTERLY, ABOVE_MEAN):
        page = get(client, path + "?format=html").text
        assert years_linked(page) == ["2015", "2017", "2021", "2022", str(next_year)]
        assert '<a href="?year=2021&amp;format=html" aria-current="page">2021</a>' in page
    beyond = get(client, QUARTERLY + "?format=html&year=9998").text
    assert years_linked(beyond) == ["2017", "2022", str(next_year), "9998"]
    before = get(client, QUARTERLY + "?format=html&year=1000").text
    assert years_linked(before) == ["1000", "1900"]
    links = re.findall('href="([^"]*)"', page)
    assert [link for link in links if not link.startswith("?")] == [
        "data:,",
        "quarterly-hired?year=2021&amp;format=html",
    ]
    assert [link for link in links if "html" not in link][1:] == [
        f"?year=2021&amp;format={name}" for name in ("csv", "json", "ndjson", "text")
    ]


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP NULL", "DATETIME(6)"])
def test_years_are_found_in_columns_of_any_time_type(
    client: werkzeug.test.Client, database: Database, kind: str
) -> None:
    """The years with hires are found in a DATE, TIMESTAMP or DATETIME column without an index."""
    database.execute("ALTER TABLE employees DROP KEY employees_hired")
    database.execute(f"ALTER TABLE employees MODIFY datetime {kind}")
    hire(database, [("A", "a", f"{year}-03-03") for year in (2019, 2021, 2023)])
    assert years_linked(get(client, QUARTERLY + "?format=html").text) == ["2019", "2021", "2023"]


def test_finding_the_years_reads_a_few_rows_of_the_index(database: Database) -> None:
    """Finding the years with hires reads a few index rows a year, however many hires it has."""
    hire(
        database,
        [("A", "a", f"{year}-{month}-01") for year in range(2011, 2022) for month in range(1, 13)],
    )
    database.execute(
        "INSERT INTO employees"
        " SELECT id + 1000, name, datetime, department_id, job_id FROM employees"
    )
    database.execute("ANALYZE TABLE employees")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH STATUS")
        assert reports.years_with_hires(connection, 2021, 2021) == list(range(2011, 2022))
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        reads = sum(int(count) for name, count in cursor.fetchall() if "retry" not in name)
    assert reads < 60


@pytest.mark.slow
def test_the_page_omits_years_that_take_too_long(
    client: werkzeug.test.Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """The page omits the links to years if finding them takes too long, and shows the rest."""
    hire(database, [("A", "a", f"2021-01-01 00:00:{second:02}") for second in range(40)])
    tables = ", ".join(f"employees AS e{number}" for number in range(6))
    endless = f"SELECT SUM(e1.id + e5.id), %(start)s, %(end)s FROM {tables}"
    environment.setattr(reports, "NEAREST_YEARS", endless)
    page = get(client, QUARTERLY + "?format=html").text
    assert "40 hires in <bdi>A</bdi>." in page
    assert years_linked(page) == []
    assert get(client, QUARTERLY + "?format=json").json[0]["Q1"] == 40


# Answers


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain"),
        ("*/*", "text/plain"),
        ("image/png", "text/plain"),
        ("nonsense", "text/plain"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("text/csv;header=present", "text/csv"),
        ("text/html;q=0.5, application/json;q=0.9", "application/json"),
        ("text/csv;q=0.4, application/*;q=0.3, */*;q=0.1", "text/csv"),
        ("text/html;q=0, image/*", "text/plain"),
        ("text/plain;q=0, text/html;q=0, */*", "application/json"),
    ],
)
def test_q_values_of_accept_pick_the_format(
    client: werkzeug.test.Client, accept: str | None, kind: str
) -> None:
    """`Accept` picks the format by its q-values; without a known type the answer is text."""
    response = get(client, QUARTERLY, headers={"Accept": accept} if accept else {})
    assert response.mimetype == kind
    assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("name", "content_type", "disposition"),
    [
        ("text", "text/plain; charset=utf-8", None),
        ("html", "text/html; charset=utf-8", None),
        ("json", "application/json", None),
        ("ndjson", "application/x-ndjson", None),
        ("csv", "text/csv; charset=utf-8", "attachment; filename=quarterly-hired-1999.csv"),
    ],
)
def test_format_decides_the_headers(
    client: werkzeug.test.Client, name: str, content_type: str, disposition: str | None
) -> None:
    """`format` overrides `Accept` and decides the headers for type, file name and caching."""
    response = get(client, f"{QUARTERLY}?year=1999&format={name}", headers={"Accept": "image/png"})
    assert response.headers["Content-Type"] == content_type
    assert response.headers.get("Content-Disposition") == disposition
    assert response.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("name", ["text", "html", "json", "ndjson", "csv"])
def test_the_etag_changes_with_what_is_shown(
    client: werkzeug.test.Client, database: Database, name: str
) -> None:
    """The same data is answered with 304 and no body; one more hire changes the ETag."""
    hire(database, [("A", "a", "2021-01-01"), ("A", "a", "2021-05-01"), ("B", "a", "2021-01-01")])
    for path in (f"{QUARTERLY}?format={name}", f"{ABOVE_MEAN}?format={name}"):
        first = get(client, path)
        known = {"If-None-Match": first.headers["ETag"]}
        again = client.get(path, headers=known)
        assert (again.status_code, again.data) == (304, b"")
        for header in ("ETag", "Vary", "Cache-Control"):
            assert again.headers[header] == first.headers[header]
        # A proxy that compresses an answer makes its ETag a weak one.
        weak = client.get(path, headers={"If-None-Match": f"W/{first.headers['ETag']}"})
        assert weak.status_code == 304
        database.execute("INSERT INTO employees VALUES (NULL, 'Eve', '2021-01-02', 1, 1)")
        changed = get(client, path, headers=known)
        assert changed.headers["ETag"] != first.headers["ETag"]
        assert changed.data != first.data


@pytest.mark.parametrize("name", ["text", "html", "json", "ndjson", "csv"])
def test_head_answers_the_same_headers(
    client: werkzeug.test.Client, database: Database, name: str
) -> None:
    """HEAD is answered with all headers of GET but its date, including the length, and no body."""
    hire(database, [("A", "a", "2021-01-01")])
    path = f"{QUARTERLY}?format={name}"
    head, whole = client.head(path), get(client, path)
    assert (head.status_code, head.data) == (200, b"")
    for answer in (head, whole):
        del answer.headers["Date"]
    assert dict(head.headers) == dict(whole.headers)


def test_the_page_allows_only_its_own_style(
    client: werkzeug.test.Client, database: Database
) -> None:
    """The page's policy allows its own style by its hash, its own form, and no script."""
    hire(database, [("A", "a", "2021-01-01"), ("A", "a", "2021-05-01"), ("B", "a", "2021-01-01")])
    for path in (QUARTERLY, ABOVE_MEAN):
        response = get(client, path + "?format=html")
        (style,) = re.findall("<style>(.*?)</style>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = dict(
            part.strip().split(" ", 1)
            for part in response.headers["Content-Security-Policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "style-src": f"'sha256-{digest}'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'self'",
            "frame-ancestors": "'none'",
        }
        assert "<script" not in response.text
        assert not re.findall(r"<[^>]*\s(?:style|on\w+)=", response.text)
        assert not re.findall(r"https?:", response.text)


@pytest.mark.parametrize(
    "path",
    [QUARTERLY, ABOVE_MEAN + "?format=html", QUARTERLY + "?nonsense=1", "/truncate-tables?x"],
)
def test_no_answer_lets_a_browser_guess_its_type(client: werkzeug.test.Client, path: str) -> None:
    """Each answer, even an error, forbids browsers to guess its type or to send its address."""
    response = client.get(path)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"


# Colours


def luminance(colour: str) -> float:
    """The relative luminance of a colour: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_has_enough_contrast(scheme: int) -> None:
    """Text has a contrast of at least 4.5:1 and bars of 3:1, as WCAG's level AA requires."""
    style = (TEMPLATES / "report.css").read_text()
    root = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", root))
    pairs = list(itertools.product(("text", "quiet", "zero", "link", "mean"), ("page", "band")))
    for text, behind in pairs:
        assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    for quarter in ("q1", "q2", "q3", "q4", "rest"):
        assert contrast(colours[quarter], colours["page"]) >= 3, quarter


# Analysts


@pytest.mark.slow
def test_pandas_reads_every_format_for_programs(bundle: Bundle, database: Database) -> None:
    """pandas reads JSON, NDJSON and CSV from their addresses: names as text, counts as integers."""
    # Here, because it takes long to import, and each process of the tests imports this file.
    import pandas

    hire(
        database,
        [("Care", "Nurse", f"2021-0{month}-01") for month in (1, 2, 4, 7)]
        + [("Straßenbau 🚧", "Ingénieur, Senior", "2021-08-01")],
    )
    url = bundle.url
    lines = functools.partial(pandas.read_json, lines=True)
    formats = {"json": pandas.read_json, "ndjson": lines, "csv": pandas.read_csv}
    for name, read in formats.items():
        quarterly = read(f"{url}{QUARTERLY}?format={name}")
        assert quarterly.to_dict("split", index=False) == {
            "columns": ["department", "job", "Q1", "Q2", "Q3", "Q4"],
            "data": [
                ["Care", "Nurse", 2, 1, 1, 0],
                ["Straßenbau 🚧", "Ingénieur, Senior", 0, 0, 1, 0],
            ],
        }
        assert [str(kind) for kind in quarterly.dtypes] == ["str", "str", *["int64"] * 4]
        departments = read(f"{url}{ABOVE_MEAN}?format={name}")
        assert departments.to_dict("records") == [{"id": 1, "department": "Care", "hired": 4}]
        assert [str(kind) for kind in departments.dtypes] == ["int64", "str", "int64"]


def test_json_is_exact(client: werkzeug.test.Client, database: Database) -> None:
    """JSON has each name unchanged, without an apostrophe or an escape for other characters."""
    hire(database, [("=1+1", "Œuvre 🚀", "2021-01-01")])
    text = get(client, QUARTERLY + "?format=json").text
    assert '"=1+1"' in text
    assert '"Œuvre 🚀"' in text
    assert json.loads(text) == [
        {"department": "=1+1", "job": "Œuvre 🚀", "Q1": 1, "Q2": 0, "Q3": 0, "Q4": 0}
    ]


def test_ndjson_is_an_object_a_line(client: werkzeug.test.Client, database: Database) -> None:
    """NDJSON has the objects of the JSON, one a line, whatever the names contain."""
    hire(database, [("two\nlines\u2028", "Œuvre 🚀", "2021-01-01"), ("A", "B", "2021-12-31")])
    lines = get(client, QUARTERLY + "?format=ndjson").text.split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == get(client, QUARTERLY + "?format=json").json
    assert get(client, QUARTERLY + "?format=ndjson&year=1999").text == ""


def test_ids_that_look_alike_to_the_server(
    client: werkzeug.test.Client, database: Database
) -> None:
    """Ids that the server takes for equal where it compares a number with text open as asked."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    database.execute("ALTER TABLE departments MODIFY id VARCHAR(9)")
    database.insert("departments", [("1", "one"), ("01", "other")])
    database.insert("jobs", [(1, "Cook")])
    database.insert("employees", [(1, "Ada", "2021-05-06", 1, 1)])
    page = get(client, f"{QUARTERLY}?format=html&open=1").text
    assert page.count('<tr class="job">') == 1


@pytest.mark.parametrize("order", ["id", "-id"])
def test_an_impossible_day_is_an_id_too(
    client: werkzeug.test.Client, database: Database, order: str
) -> None:
    """Departments whose ids are days, one of them impossible, are sorted by id."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    with database.connect(init_command="SET sql_mode = ''") as connection:
        cursor = connection.cursor()
        for table, column in (("departments", "id"), ("employees", "department_id")):
            cursor.execute(f"ALTER TABLE {table} MODIFY {column} DATE")
        cursor.execute("INSERT INTO departments VALUES ('0000-00-00', 'A'), ('2020-01-02', 'B')")
        cursor.execute("INSERT INTO jobs VALUES (1, 'Cook')")
        for number, day in ((1, "0000-00-00"), (2, "2020-01-02")):
            cursor.execute(
                f"INSERT INTO employees VALUES ({number}, 'x', '2021-05-06', '{day}', 1)"
            )
        connection.commit()
    page = get(client, f"{ABOVE_MEAN}?format=html&order={order}").text
    assert "2020-01-02" in page
    assert "0000-00-00" in page
