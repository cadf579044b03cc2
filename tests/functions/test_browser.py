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
    QUARTERLY + "?open=1,2",
    ABOVE_MEAN,
    QUARTERLY + "?chart=quarters&filter=nurse&jobs=shown",
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
        found: list[list[str]] = self.page.locator("tbody tr:visible").evaluate_all(
            "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent.trim()))"
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


def expected_rows(report: list[dict[str, Any]]) -> list[list[str]]:
    """The rows of the quarterly table for a JSON report: a total, departments and their jobs."""
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
        for row in [["Total", *total], *rows]
    ]


def test_the_table_has_the_rows_of_the_json(bundle: Bundle, hires: None, visit: Any) -> None:
    """The page's table shows exactly the rows of the JSON report."""
    quarterly = visit(bundle.url + QUARTERLY + "?jobs=shown")
    assert quarterly.rows() == expected_rows(bundle.get(QUARTERLY + "?format=json").json())
    departments = visit(bundle.url + ABOVE_MEAN)
    report = bundle.get(ABOVE_MEAN + "?format=json").json()
    total, heading, *above = departments.rows()[: len(report) + 2]
    assert total[:4] == ["", "Total", "1,200", "100\u00a0%"]
    assert heading == ["Above the mean of 400.0"]
    assert [row[:3] for row in above] == [
        [str(row["id"]), row["department"], f"{row['hired']:,}"] for row in report
    ]


BARS = """
row => {
    const drawn = row.querySelector("svg.bars");
    const place = drawn.getBoundingClientRect();
    const bars = {};
    for (const rect of drawn.querySelectorAll("rect:not(.mean)")) {
        const box = rect.getBoundingClientRect();
        const middle = (box.left + box.right) / 2 - place.left;
        const part = PARTS ? Math.floor(middle / place.width * PARTS) : rect.classList[0];
        const size = PARTS ? box.height : box.width;
        bars[part] = Math.max(bars[part] ?? 0, size);
    }
    const cells = Array.from(row.querySelectorAll("td"), cell => parseInt(
        cell.textContent.replaceAll(",", "")
    ));
    const inside = PARTS ? drawn.clientHeight : place.width;
    return {bars, cells, whole: inside};
}
"""
"""What a row draws: the pixels of each part, its numbers, and the pixels of the whole scale."""


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(
    ("path", "parts", "first"),
    [
        (QUARTERLY + "?jobs=shown", 0, 0),
        (QUARTERLY + "?jobs=shown&chart=quarters", 4, 0),
        (QUARTERLY + "?year=2012-2021&jobs=shown", 3, 1),
        (ABOVE_MEAN, 0, 1),
    ],
)
def test_each_bar_is_as_long_as_its_number(
    bundle: Bundle,
    database: Database,
    hires: None,
    visit: Any,
    viewport: dict[str, int],
    path: str,
    parts: int,
    first: int,
) -> None:
    """Each bar is proportional to its number within a pixel: 0 has none, 1 is seen."""
    database.insert("jobs", [(99, "Pilot")])
    database.insert("employees", [(None, "Zoe", "2021-12-31", 1, 99)])
    seen = visit(bundle.url + path, viewport=viewport)
    rows = seen.page.locator("tbody:not(.total) tr:has(svg)").evaluate_all(
        f"rows => rows.map({BARS.replace('PARTS', str(parts))})"
    )
    assert len(rows) > 2
    quarterly = path.startswith(QUARTERLY)

    def drawn(row: dict[str, Any]) -> list[int]:
        cells: list[int] = row["cells"]
        return cells[first : first + (parts or (4 if quarterly else 1))]

    longest = max(max(drawn(row)) if parts else sum(drawn(row)) for row in rows)
    small = 0
    for row in rows:
        names = [str(part) for part in range(parts)] if parts else ["q1", "q2", "q3", "q4"]
        if not quarterly:
            names = ["hired"] if "hired" in row["bars"] else ["rest"]
        for name, number in zip(names, drawn(row), strict=True):
            pixels = row["bars"].get(name, 0)
            small += number == 1
            assert bool(pixels) == bool(number)
            assert abs(pixels - row["whole"] * number / longest) <= 1, (name, number)
            assert not number or pixels >= 0.99
    assert small or not quarterly


@pytest.mark.slow
def test_everything_works_with_the_keyboard(bundle: Bundle, hires: None, visit: Any) -> None:
    """Without scripting, keys open, sort and filter; the address holds it, the focus is seen."""
    seen = visit(bundle.url + QUARTERLY, java_script_enabled=False)
    assert len(seen.rows()) == 4
    seen.page.get_by_role("link", name="Customer Care").focus()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**open=1#d-1")
    opened = seen.page.get_by_role("link", name="Customer Care", expanded=True)
    assert opened.get_attribute("aria-expanded") == "true"
    assert len(seen.rows()) == 4 + 23
    seen.page.get_by_role("columnheader", name="Q2").get_by_role("link").focus()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**order=-q2*")
    assert seen.page.locator("[aria-sort]").get_attribute("aria-sort") == "descending"
    seen.page.get_by_label("Show only", exact=True).focus()
    seen.page.keyboard.type("uberSETZER")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**filter=uberSETZER*")
    for part in ("open=1", "order=-q2", "year=2021"):
        assert part in seen.page.url
    total, *rows = seen.rows()
    assert total[0] == "Total of these"
    assert [row[0] for row in rows].count("Übersetzer") == 1
    assert {row[0] for row in rows} == {*DEPARTMENTS, "Übersetzer"}
    assert visit(seen.page.url).rows() == [total, *rows]
    seen.page.get_by_role("link", name="2019", exact=True).click()
    seen.page.wait_for_url("**year=2019*filter=uberSETZER*")
    assert seen.page.locator(".summary").inner_text() == "Nothing in 2019 contains “uberSETZER”."
    seen.page.get_by_role("link", name="Show all").click()
    seen.page.wait_for_url(lambda url: "filter" not in url)
    assert seen.rows() == [
        ["Total", "0", "24", "0", "0", "24"],
        ["Customer Care", "0", "24", "0", "0", "24"],
        ["Nurse 0", "0", "24", "0", "0", "24"],
    ]
    with seen.page.expect_download() as download:
        seen.page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "quarterly-hired-2019.csv"
    seen.page.go_back()
    seen.page.go_back()
    assert seen.rows() == [total, *rows]
    focused = visit(bundle.url + QUARTERLY)
    focused.page.keyboard.press("Tab")
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert focused.page.evaluate(style) == "solid"


@pytest.mark.parametrize("path", some(REPORTS))
def test_the_browser_requests_the_page_only(
    bundle: Bundle, hires: None, visit: Any, path: str
) -> None:
    """The browser requests nothing but the page, and logs no error."""
    seen = visit(bundle.url + path)
    seen.page.wait_for_load_state("networkidle")
    assert seen.requests == [bundle.url + path]
    assert seen.complaints == []
    assert seen.page.evaluate("getComputedStyle(document.querySelector('td')).textAlign") != "start"


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
        # A table scrolls sideways where it has to, and never downwards.
        for box in seen.page.locator(".table").all():
            assert box.evaluate("box => box.scrollHeight <= box.clientHeight + 1"), name


@pytest.mark.slow
def test_the_headers_stay_visible(bundle: Bundle, hires: None, visit: Any) -> None:
    """The table's header stays visible while the page is scrolled."""
    seen = visit(bundle.url + QUARTERLY + "?jobs=shown")
    seen.page.locator("tr", has_text="Nurse 9").nth(1).scroll_into_view_if_needed()
    assert seen.page.evaluate("window.scrollY") > 0
    assert seen.page.get_by_role("columnheader", name="Q4").bounding_box()["y"] == 0


@pytest.mark.slow
def test_an_opened_department_is_not_behind_the_header(
    bundle: Bundle, database: Database, hires: None, visit: Any
) -> None:
    """The row that a link opens lies below the header, which stays at the top of the window."""
    more = range(10, 90)
    database.insert("departments", [(number, f"Department {number}") for number in more])
    database.insert("employees", [(None, "Al", "2021-03-01", number, 1) for number in more])
    seen = visit(bundle.url + QUARTERLY)
    seen.page.get_by_role("link", name="Department 50").click()
    seen.page.wait_for_url("**open=50#d-50")
    header = seen.page.get_by_role("columnheader", name="Q4").bounding_box()
    row = seen.page.locator("#d-50").bounding_box()
    assert header["y"] == 0
    assert header["height"] <= row["y"] <= header["height"] + 60


OVERLAPS = """
() => {
    const boxes = Array.from(document.querySelectorAll("tbody td, tbody .name > span"), each => {
        const range = document.createRange();
        range.selectNodeContents(each);
        return Array.from(range.getClientRects()).filter(box => box.width && box.height > 1);
    });
    const found = [];
    boxes.forEach((some, number) => boxes.slice(number + 1).forEach(others => {
        for (const one of some) for (const other of others) {
            const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
            const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
            if (wide > 1 && high > 1) found.push([one.left, one.top, other.left, other.top]);
        }
    }));
    return found;
}
"""
"""The places of texts in the table that lie one above the other."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("viewport", "lines"), [(DESKTOP, 4), (PHONE, 8)], ids=["desktop", "phone"]
)
@pytest.mark.parametrize("path", [QUARTERLY, ABOVE_MEAN, QUARTERLY + "?year=2012-2021"])
def test_a_very_long_name_has_few_lines(
    bundle: Bundle,
    database: Database,
    hires: None,
    visit: Any,
    viewport: dict[str, int],
    lines: int,
    path: str,
) -> None:
    """A name of 200 characters crosses the table above its row's numbers, whole, in few lines."""
    names = ["Contracts and Complaints " * 8, "Betriebswerkbauunterbeamten" * 7, "営業推進部" * 25]
    database.insert("departments", list(enumerate(names, start=10)))
    rows = [(None, "Al", "2021-03-01", number, 1) for number in (10, 11, 12)]
    database.insert("employees", rows)
    seen = visit(bundle.url + path, viewport=viewport)
    for name in names:
        cell = seen.page.get_by_role("rowheader", name=name.strip())
        assert cell.bounding_box()["height"] <= 24 * lines + 55
        box = cell.locator("span").first.bounding_box()
        assert box["x"] + box["width"] <= viewport["width"]
    assert seen.page.evaluate(OVERLAPS) == []


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_names_stay_visible_beside_many_years(
    bundle: Bundle, database: Database, hires: None, visit: Any, viewport: dict[str, int]
) -> None:
    """Scrolled to its last year, a wide table still shows the name of each row."""
    database.insert("employees", [(None, "Al", "2000-03-01", 1, 1)])
    seen = visit(bundle.url + QUARTERLY + "?year=2000-2021", viewport=viewport)
    table = seen.page.locator(".table")
    table.evaluate("table => { table.scrollLeft = 10000; }")
    assert table.evaluate("table => table.scrollLeft") > 50
    left = table.bounding_box()["x"]
    for name in ("Customer Care", "Total", "Department"):
        cell = table.get_by_role("rowheader" if name != "Department" else "columnheader", name=name)
        assert abs(cell.bounding_box()["x"] - left) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("path", [QUARTERLY, ABOVE_MEAN])
def test_only_the_table_scrolls_sideways(
    bundle: Bundle, database: Database, hires: None, visit: Any, path: str
) -> None:
    """Seven years are wider than a tablet's window: their table scrolls, the page does not."""
    database.insert("employees", [(None, "Al", "2015-03-01", 1, 1)])
    seen = visit(f"{bundle.url}{path}?year=2015-2021")
    for width in (320, 700, 800, 900, 1024):
        seen.page.set_viewport_size({"width": width, "height": 800})
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.slow
def test_fingers_hit_every_link(bundle: Bundle, hires: None, visit: Any) -> None:
    """Links outside sentences are 24 px high, as WCAG 2.2 asks; a name's is its whole cell."""
    seen = visit(bundle.url + QUARTERLY, viewport=PHONE, has_touch=True)
    heights = seen.page.locator(
        "nav a, .switch a, thead a, button, input:not([type=hidden])"
    ).evaluate_all("each => each.map(one => one.getBoundingClientRect().height)")
    assert len(heights) > 10
    assert min(heights) >= 24
    bars = seen.page.locator("tbody tr:has-text('Customer Care') svg").bounding_box()
    seen.page.touchscreen.tap(bars["x"] + bars["width"] - 2, bars["y"] + bars["height"] / 2)
    seen.page.wait_for_url("**open=1#d-1")


@pytest.mark.slow
def test_a_sheet_of_paper_has_every_year(
    bundle: Bundle, database: Database, hires: None, visit: Any
) -> None:
    """Eight years fit on a sheet upright; fifty, in smaller letters, on one across."""
    database.insert("employees", [(None, "Al", "1972-03-01", 1, 1)])
    for years, across in (("2014-2021", False), ("1972-2021", True)):
        seen = visit(f"{bundle.url}{ABOVE_MEAN}?year={years}")
        sheet = seen.page.pdf(format="A4")
        assert (b"/MediaBox [0 0 842" in sheet) == across
        # Chromium shrinks a page that is up to twice as wide as its sheet, and cuts off the rest.
        seen.page.set_viewport_size({"width": 957 if across else 718, "height": 500})
        seen.page.emulate_media(media="print")
        width = seen.page.evaluate("document.documentElement.scrollWidth")
        assert width <= (1.7 * 957 if across else 718)


@pytest.mark.slow
def test_a_printed_page_has_the_whole_table(bundle: Bundle, hires: None, visit: Any) -> None:
    """A printed page has the whole table, says when it was read, and has nothing to click."""
    seen = visit(bundle.url + QUARTERLY + "?jobs=shown", viewport=PHONE)
    seen.page.emulate_media(media="print")
    for hidden in (".filter", ".switch", "nav", "footer"):
        assert not seen.page.locator(hidden).is_visible()
    assert seen.page.get_by_text("As of 20").is_visible()
    box = seen.page.locator(".table")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    assert len(seen.rows()) == 4 + 69
