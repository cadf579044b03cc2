"""The page of each report in a real browser: what it shows, its filter, what it asks for.

The browser is Chromium, which `./test.sh` installs where it can; CHROMIUM names another program.
"""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import Bundle, Database
from playwright.sync_api import Browser, Page, sync_playwright

pytestmark = pytest.mark.once

QUARTERLY, ABOVE_MEAN = "/quarterly-hired", "/hiring-by-department"
REPORTS = (QUARTERLY, ABOVE_MEAN)
ARGUMENTS = (
    "--no-sandbox",  # root, as in a container, has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A browser of the session's own, with an empty profile."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium, for example: sudo apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page, and all that it asked for and complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def rows(self) -> list[list[str]]:
        """The text of each cell that is seen, row by row, without the header."""
        found: list[list[str]] = self.page.locator("tbody tr:visible, tfoot tr").evaluate_all(
            "rows => rows.map(row => Array.from(row.cells, cell => cell.innerText))"
        )
        return found


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Any]:
    """Opens an address: `visit(url, **options of the browser's context)`."""
    contexts = []

    def visit(url: str, **options: Any) -> Visit:
        context = chromium.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        seen = Visit(context.new_page())
        seen.page.goto(url)
        return seen

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def hires(database: Database) -> None:
    """1,224 hires in three departments and two years, some names not made for HTML."""
    departments = ["Customer Care", "Straßenbau 🚧", "<script>alert(1)</script>"]
    jobs = [f"Nurse {number}" for number in range(20)] + ["Übersetzer", "=1+1", "W" * 255]
    database.insert("departments", list(enumerate(departments, start=1)))
    database.insert("jobs", list(enumerate(jobs, start=1)))
    rows = [
        (None, "Ada", f"2021-{1 + number % 11:02}-01", 1 + number % 7 % 3, 1 + number % 23)
        for number in range(1200)
    ]
    rows += [(None, "Eve", "2019-06-30", 1, 1)] * 24
    database.insert("employees", rows)


def numbers(row: list[str]) -> list[int]:
    return [int(cell.replace(",", "")) for cell in row[1:]]


def expected_rows(report: list[dict[str, Any]]) -> list[list[str]]:
    """The quarterly table that the JSON report makes: departments, their jobs, and a total."""
    rows, total = [], [0] * 5
    for department in dict.fromkeys(row["department"] for row in report):
        jobs = [
            [row["job"], row["Q1"], row["Q2"], row["Q3"], row["Q4"]]
            for row in report
            if row["department"] == department
        ]
        jobs = [[*job, sum(job[1:])] for job in jobs]
        sums = [sum(column) for column in list(zip(*jobs, strict=True))[1:]]
        rows += [[department, *sums], *jobs]
        total = [old + new for old, new in zip(total, sums, strict=True)]
    return [
        [cell if isinstance(cell, str) else f"{cell:,}" for cell in row]
        for row in [*rows, ["Total", *total]]
    ]


@pytest.mark.parametrize("scripting", [True, False], ids=["scripting", "no scripting"])
def test_the_table_is_the_json(bundle: Bundle, hires: None, visit: Any, scripting: bool) -> None:
    """With and without scripting each cell is what the JSON report says, and nothing is missing."""
    quarterly = visit(bundle.url + QUARTERLY, java_script_enabled=scripting)
    assert quarterly.rows() == expected_rows(bundle.get(QUARTERLY + "?format=json").json())
    departments = visit(bundle.url + ABOVE_MEAN, java_script_enabled=scripting)
    report = bundle.get(ABOVE_MEAN + "?format=json").json()
    assert departments.rows() == [
        *([str(row["id"]), row["department"], f"{row['hired']:,}"] for row in report),
        ["", "Total", f"{sum(row['hired'] for row in report):,}"],
    ]
    for seen in (quarterly, departments):
        assert seen.page.locator("svg.chart").is_visible()
        assert seen.page.locator("svg.chart .name").all_inner_texts()


def test_the_filter_shows_the_rows_it_finds(bundle: Bundle, hires: None, visit: Any) -> None:
    """Case and accents make no difference; a department shows all of its jobs; sums follow."""
    seen = visit(bundle.url + QUARTERLY)
    everything = seen.rows()
    field = seen.page.get_by_label("Show only")

    field.fill("uberSETZER")
    found = seen.rows()
    assert {row[0] for row in found[1:-1:2]} == {"Übersetzer"}
    assert [row[0] for row in found[:-1:2]] == [
        "<script>alert(1)</script>",
        "Customer Care",
        "Straßenbau 🚧",
    ]
    jobs = [numbers(row) for row in found[1:-1:2]]
    assert numbers(found[-1]) == [sum(column) for column in zip(*jobs, strict=True)]
    assert [numbers(row) for row in found[:-1:2]] == jobs
    assert seen.page.locator("output").inner_text() == "3 of 69 rows; sums are theirs"

    field.fill("strassenbau")
    assert seen.rows()[:-1] == []
    field.fill("straßenbau")
    start = [row[0] for row in everything].index("Straßenbau 🚧")
    assert seen.rows()[:-1] == everything[start:-1]
    field.fill("nobody")
    assert seen.rows() == [["Total of these", "0", "0", "0", "0", "0"]]
    field.fill("")
    assert seen.rows() == everything
    assert seen.complaints == []


def test_without_scripting_only_the_filter_is_missing(
    bundle: Bundle, hires: None, visit: Any
) -> None:
    """The filter is not shown where it cannot work; the links to years and formats work."""
    seen = visit(bundle.url + QUARTERLY, java_script_enabled=False)
    assert not seen.page.get_by_label("Show only").is_visible()
    seen.page.get_by_role("link", name="2019").click()
    assert seen.page.url == bundle.url + QUARTERLY + "?year=2019&format=html"
    assert seen.rows() == [
        ["Customer Care", "0", "24", "0", "0", "24"],
        ["Nurse 0", "0", "24", "0", "0", "24"],
        ["Total", "0", "24", "0", "0", "24"],
    ]
    with seen.page.expect_download() as download:
        seen.page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "quarterly-hired-2019.csv"
    seen.page.get_by_role("link", name="JSON").click()
    assert seen.page.url == bundle.url + QUARTERLY + "?year=2019&format=json"


@pytest.mark.parametrize("path", REPORTS)
def test_the_page_is_all_there_is(bundle: Bundle, hires: None, visit: Any, path: str) -> None:
    """The browser asks for the page and nothing else, and has nothing to complain of."""
    seen = visit(bundle.url + path)
    seen.page.wait_for_load_state("networkidle")
    assert seen.requests == [bundle.url + path]
    assert seen.complaints == []
    assert seen.page.evaluate("getComputedStyle(document.querySelector('td')).textAlign") == "right"


@pytest.mark.parametrize("path", REPORTS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_anybody_can_read_the_page(
    bundle: Bundle, hires: None, visit: Any, path: str, scheme: str, viewport: dict[str, int]
) -> None:
    """axe finds nothing wrong, light or dark, on a phone or a desktop; nothing is cut off."""
    # axe is a script of the test's own, which the page's policy would rightly not run.
    seen = visit(bundle.url + path, viewport=viewport, color_scheme=scheme, bypass_csp=True)
    found = Axe().run(seen.page)
    assert "color-contrast" in [rule["id"] for rule in found.response["passes"]]
    assert [(rule["id"], rule["impact"]) for rule in found.response["violations"]] == []
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    assert width == viewport["width"]


def test_the_headers_stay_in_sight(bundle: Bundle, hires: None, visit: Any) -> None:
    """Far down the table its header, and the department that is being read, are still seen."""
    seen = visit(bundle.url + QUARTERLY)
    seen.page.locator("tr", has_text="Nurse 9").nth(1).scroll_into_view_if_needed()
    assert seen.page.evaluate("window.scrollY") > 0
    assert seen.page.get_by_role("columnheader", name="Q4").bounding_box()["y"] == 0
    group = seen.page.locator("tr.group th", has_text="Customer Care").bounding_box()
    assert 0 < group["y"] < 60


def test_a_printed_page_is_all_table(bundle: Bundle, hires: None, visit: Any) -> None:
    """On paper there is nothing to click, and the table is not cut to a screen's height."""
    seen = visit(bundle.url + QUARTERLY, viewport=PHONE)
    seen.page.emulate_media(media="print")
    assert not seen.page.get_by_label("Show only").is_visible()
    assert not seen.page.locator("nav").is_visible()
    assert not seen.page.locator("footer").is_visible()
    box = seen.page.locator(".table")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight")
