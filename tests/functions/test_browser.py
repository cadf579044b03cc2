"""The page of each report in a real browser: its table, its filter, its requests.

The browser is Chromium, which `./test.sh` installs if it can; CHROMIUM names another program.
"""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import Bundle, Database
from playwright.sync_api import Browser, Page, sync_playwright
from support import some

pytestmark = pytest.mark.once

QUARTERLY, ABOVE_MEAN = "/quarterly-hired", "/hiring-by-department"
REPORTS = (QUARTERLY, ABOVE_MEAN)
PAGES = (
    *REPORTS,
    QUARTERLY + "?chart=quarters&filter=nurse&jobs=folded",
    QUARTERLY + "?year=2012-2021",
    ABOVE_MEAN + "?year=2019-2021",
    QUARTERLY + "?year=1990",
    QUARTERLY + "?year=x",
)
ARGUMENTS = (
    "--no-sandbox",  # Chromium has no sandbox for root, as in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEPARTMENTS = ("Customer Care", "Straßenbau 🚧", "<script>alert(1)</script>")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
ENLARGED = {"width": 640, "height": 450}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile, shared by the whole session."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium, for example: sudo apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page with the requests that it sent and the errors that it logged."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def rows(self) -> list[list[str]]:
        """The text of each visible cell, row by row, without the header."""
        found: list[list[str]] = self.page.locator(
            "tbody:not(.total) tr:visible, tfoot tr"
        ).evaluate_all(
            """rows => rows.map(row => Array.from(row.cells, cell => {
                const copy = cell.cloneNode(true);
                copy.querySelectorAll(".only").forEach(link => link.remove());
                return copy.textContent.trim();
            }))"""
        )
        return found


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Any]:
    """A function that opens an address; further arguments are options of the browser's context."""
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
    """Inserts 1,224 hires in three departments and two years, with names hostile to HTML."""
    departments = list(DEPARTMENTS)
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
    """The rows of the quarterly table for a JSON report: departments, their jobs, and a total."""
    groups, total = [], [0] * 5
    for department in dict.fromkeys(row["department"] for row in report):
        jobs = [
            [row["job"], row["Q1"], row["Q2"], row["Q3"], row["Q4"]]
            for row in report
            if row["department"] == department
        ]
        jobs = sorted(([*job, sum(job[1:])] for job in jobs), key=lambda job: -job[-1])
        sums = [sum(column) for column in list(zip(*jobs, strict=True))[1:]]
        groups.append([[department, *sums], *jobs])
        total = [old + new for old, new in zip(total, sums, strict=True)]
    groups.sort(key=lambda group: -group[0][-1])
    rows = [row for group in groups for row in group]
    return [
        [cell if isinstance(cell, str) else f"{cell:,}" for cell in row]
        for row in [*rows, ["Total", *total]]
    ]


@pytest.mark.parametrize("scripting", some({"scripting": True, "no scripting": False}))
def test_the_table_has_the_rows_of_the_json(
    bundle: Bundle, hires: None, visit: Any, scripting: bool
) -> None:
    """The page's table shows exactly the rows of the JSON report, with and without scripting."""
    quarterly = visit(bundle.url + QUARTERLY, java_script_enabled=scripting)
    assert quarterly.rows() == expected_rows(bundle.get(QUARTERLY + "?format=json").json())
    departments = visit(bundle.url + ABOVE_MEAN, java_script_enabled=scripting)
    report = bundle.get(ABOVE_MEAN + "?format=json").json()
    heading, *above = departments.rows()[: len(report) + 1]
    assert heading == ["Above the mean of 400.0"]
    assert [row[:3] for row in above] == [
        [str(row["id"]), row["department"], f"{row['hired']:,}"] for row in report
    ]
    assert departments.rows()[-1][:4] == ["", "Total", "1,200", "100\u00a0%"]
    for seen in (quarterly, departments):
        assert seen.page.locator("svg.chart").is_visible()
        assert seen.page.locator("svg.chart .name").all_inner_texts()


@pytest.mark.slow
def test_the_filter_shows_the_rows_it_finds(bundle: Bundle, hires: None, visit: Any) -> None:
    """The filter ignores case and accents, shows all jobs of a department, and updates the sums."""
    seen = visit(bundle.url + QUARTERLY)
    everything = seen.rows()
    field = seen.page.get_by_label("Show only", exact=True)

    field.fill("uberSETZER")
    found = seen.rows()
    assert {row[0] for row in found[1:-1:2]} == {"Übersetzer"}
    assert sorted(row[0] for row in found[:-1:2]) == [
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
    assert seen.rows()[:-1] == everything[start : start + 24]
    field.fill("nobody")
    assert seen.rows() == [["Total of these", "0", "0", "0", "0", "0"]]
    field.fill("")
    assert seen.rows() == everything
    assert seen.complaints == []


@pytest.mark.slow
def test_the_address_shows_the_same_rows_again(bundle: Bundle, hires: None, visit: Any) -> None:
    """The address shows the same rows again; another year keeps filter, order and folding."""
    seen = visit(bundle.url + QUARTERLY)
    seen.page.get_by_role("columnheader", name="Q2").get_by_role("link").click()
    seen.page.get_by_label("Show only", exact=True).fill("nurse 1")
    seen.page.wait_for_url("**filter=nurse+1*")
    shared = visit(seen.page.url)
    assert shared.rows() == seen.rows()
    assert shared.page.get_by_label("Show only", exact=True).input_value() == "nurse 1"
    assert visit(seen.page.url, java_script_enabled=False).rows() == seen.rows()
    header = shared.page.get_by_role("columnheader", name="Q2")
    assert header.get_attribute("aria-sort") == "descending"

    seen.page.get_by_role("link", name="Departments only").click()
    seen.page.get_by_role("link", name="2019", exact=True).click()
    for part in ("year=2019", "filter=nurse+1", "order=-q2", "jobs=folded"):
        assert part in seen.page.url
    assert seen.complaints == []


@pytest.mark.slow
def test_the_back_button_undoes_one_step(bundle: Bundle, hires: None, visit: Any) -> None:
    """The back button undoes sorting, filtering and folding one by one."""
    seen = visit(bundle.url + QUARTERLY)
    seen.page.get_by_label("Show only", exact=True).fill("strass")
    seen.page.get_by_label("Show only", exact=True).fill("straßenbau")
    seen.page.wait_for_url("**filter=stra*")
    filtered = seen.rows()
    seen.page.get_by_role("columnheader", name="Job").get_by_role("link").click()
    by_name = seen.rows()
    assert by_name != filtered
    assert sorted(by_name) == sorted(filtered)
    seen.page.get_by_role("link", name="Departments only").click()
    assert len(seen.rows()) == 2
    seen.page.go_back()
    assert seen.rows() == by_name
    seen.page.go_back()
    assert seen.rows() == filtered
    assert seen.page.get_by_label("Show only", exact=True).input_value() == "straßenbau"
    seen.page.go_forward()
    assert seen.rows() == by_name


@pytest.mark.slow
def test_everything_works_with_the_keyboard(bundle: Bundle, hires: None, visit: Any) -> None:
    """Sorting, filtering and folding work with the keyboard, and the focus is visible."""
    seen = visit(bundle.url + QUARTERLY)
    everything = seen.rows()
    seen.page.get_by_label("Jobs of Customer Care").focus()
    seen.page.keyboard.press("Space")
    assert len(seen.rows()) == len(everything) - 23
    seen.page.keyboard.press("Space")
    assert seen.rows() == everything
    seen.page.get_by_role("columnheader", name="Year").get_by_role("link").focus()
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert seen.page.evaluate(style) == "solid"
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**order=hires*")
    assert seen.page.locator("[aria-sort]").get_attribute("aria-sort") == "ascending"
    seen.page.get_by_label("Show only", exact=True).focus()
    seen.page.keyboard.type("uber")
    assert len(seen.rows()) == 7


@pytest.mark.slow
def test_without_scripting_only_typing_is_missing(bundle: Bundle, hires: None, visit: Any) -> None:
    """Without scripting only the filter's field is missing; sorting, folding and links work."""
    seen = visit(bundle.url + QUARTERLY, java_script_enabled=False)
    assert not seen.page.get_by_label("Show only", exact=True).is_visible()
    seen.page.get_by_role("link", name="Show only Customer Care").click()
    assert {row[0] for row in seen.rows() if "Nurse" not in row[0]} == {
        "Customer Care",
        "Übersetzer",
        "=1+1",
        "W" * 255,
        "Total of these",
    }
    seen.page.get_by_role("link", name="Show all").click()
    seen.page.get_by_role("columnheader", name="Q1").get_by_role("link").click()
    hired = [numbers(row)[0] for row in seen.rows() if row[0] in DEPARTMENTS]
    assert hired == sorted(hired, reverse=True)
    seen.page.get_by_role("link", name="Departments only").click()
    assert len(seen.rows()) == 4
    seen.page.get_by_label("Jobs of Customer Care").check()
    assert len(seen.rows()) == 4 + 23
    seen.page.get_by_role("link", name="by quarter").click()
    assert seen.page.locator("svg.panels").is_visible()
    seen.page.goto(bundle.url + QUARTERLY)
    seen.page.get_by_role("link", name="2019", exact=True).click()
    assert seen.page.url == bundle.url + QUARTERLY + "?year=2019&format=html"
    assert seen.rows() == [
        ["Customer Care", "0", "24", "0", "0", "24"],
        ["Nurse 0", "0", "24", "0", "0", "24"],
        ["Total", "0", "24", "0", "0", "24"],
    ]
    with seen.page.expect_download() as download:
        seen.page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "quarterly-hired-2019.csv"
    seen.page.get_by_role("link", name="JSON", exact=True).click()
    assert seen.page.url == bundle.url + QUARTERLY + "?year=2019&format=json"


@pytest.mark.parametrize("path", some(REPORTS))
def test_the_browser_requests_the_page_only(
    bundle: Bundle, hires: None, visit: Any, path: str
) -> None:
    """The browser requests nothing but the page, and logs no error."""
    seen = visit(bundle.url + path)
    seen.page.wait_for_load_state("networkidle")
    assert seen.requests == [bundle.url + path]
    assert seen.complaints == []
    assert seen.page.evaluate("getComputedStyle(document.querySelector('td')).textAlign") == "right"


VIEWPORTS = {"phone": PHONE, "200 %": ENLARGED, "desktop": DESKTOP}
SCHEMES = ("light", "dark", "forced")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "path"), [pytest.param(number, path, id=path) for number, path in enumerate(PAGES)]
)
def test_anybody_can_read_the_page(
    bundle: Bundle, hires: None, visit: Any, number: int, path: str
) -> None:
    """axe finds no violation in any viewport and colour scheme, and nothing is cut off."""
    # Each page in each viewport and in each scheme; over three pages, each pair of these.
    for shift, (name, viewport) in enumerate(VIEWPORTS.items()):
        scheme = SCHEMES[(number + shift) % len(SCHEMES)]
        colours = {"forced_colors": "active"} if scheme == "forced" else {"color_scheme": scheme}
        # axe is a script of the test, which the page's policy would block.
        seen = visit(bundle.url + path, viewport=viewport, bypass_csp=True, **colours)
        found = Axe().run(seen.page)
        assert found.response["passes"]
        violations = [(rule["id"], rule["impact"]) for rule in found.response["violations"]]
        assert violations == [], (name, scheme)
        width = seen.page.evaluate("document.documentElement.scrollWidth")
        assert width == viewport["width"], (name, scheme)


@pytest.mark.slow
def test_the_headers_stay_visible(bundle: Bundle, hires: None, visit: Any) -> None:
    """The table's header and the current department stay visible while the table is scrolled."""
    seen = visit(bundle.url + QUARTERLY)
    seen.page.locator("tr", has_text="Nurse 9").nth(1).scroll_into_view_if_needed()
    assert seen.page.evaluate("window.scrollY") > 0
    assert seen.page.get_by_role("columnheader", name="Q4").bounding_box()["y"] == 0
    group = seen.page.locator("tr.group th", has_text="Customer Care").bounding_box()
    assert 0 < group["y"] < 60


@pytest.mark.slow
def test_a_printed_page_has_the_whole_table(bundle: Bundle, hires: None, visit: Any) -> None:
    """A printed page has the whole table and nothing to click."""
    seen = visit(bundle.url + QUARTERLY, viewport=PHONE)
    seen.page.emulate_media(media="print")
    assert not seen.page.get_by_label("Show only", exact=True).is_visible()
    assert not seen.page.locator("nav").is_visible()
    assert not seen.page.locator("footer").is_visible()
    box = seen.page.locator(".table")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight")
