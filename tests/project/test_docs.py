"""README and docs agree with the code."""

import ast
import json
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import PROJECT, Database
from werkzeug.test import Client

import main
import reports
from hiring import errors, request
from hiring.settings import read_settings
from local import sample, serve

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(PROJECT)): page.read_text() for page in PAGES}
SOURCES = [
    *PROJECT.glob("*.py"),
    *(
        path
        for room in ("hiring", "pages", "restore", "operate", "jobs")
        for path in (PROJECT / room).rglob("*.py")
    ),
]
README_LINES = 200


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table after a heading."""
    _, _, rest = TEXTS[page].partition(f"\n{heading}\n")
    rows = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert rows, heading
    lines = rows.group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def codes(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def shell_blocks(text: str) -> Iterator[str]:
    """The shell commands of a page: indented blocks, and fenced blocks that name no language."""
    for fence, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if fence in ("", "bash", "sh"):
            yield block
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for block in re.findall(r"(?:^    .*\n)+", prose, re.MULTILINE):
        lines = textwrap.dedent(block).splitlines(keepends=True)
        if shown := [line[2:] for line in lines if line.startswith("$ ")]:
            yield "".join(shown)  # the other lines are output
        elif re.match(
            r"(\S*/)*(python|curl|gcloud|export|mariadb|read|sudo|\w+\.sh|run)\b", block.strip()
        ):
            yield "".join(lines)


def commands(block: str) -> Iterator[list[str]]:
    """The words of each command in a block; `...` is a placeholder."""
    for line in block.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|;|\|(?!\|)", line) if "'" not in line else [line]:
            if words := shlex.split(command, comments=True):
                yield words


def subclasses(kind: type[errors.BundleError]) -> Iterator[type[errors.BundleError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def test_the_table_of_functions_is_complete() -> None:
    """The table of functions has every entry point, method and parameter, and no others."""
    known = {
        "quarterly_hired": (request.REPORT_METHODS, main.REPORT_PARAMETERS),
        "hiring_by_department": (request.REPORT_METHODS, main.REPORT_PARAMETERS),
        "backup_data": (request.CHANGE_METHODS, main.BACKUP_PARAMETERS),
        "truncar_tablas": (request.CHANGE_METHODS, main.TRUNCATION_PARAMETERS),
    }
    rows = table("README.md", "## The four functions")
    assert {codes(row[0])[0]: codes(row[1])[0] for row in rows} == serve.ENTRY_POINTS
    shown: list[str] = []
    for _, entry_point, methods, parameters in rows:
        known_methods, known_parameters = known[codes(entry_point)[0]]
        assert tuple(methods.split(", ")) == known_methods
        if parameters != "the same":
            # Words in parentheses are values; the others are names.
            shown = codes(re.sub(r"\([^)]*\)", "", parameters))
        assert shown == list(known_parameters), entry_point
        if "format" in known_parameters and parameters != "the same":
            values = parameters.partition("`format`")[2].partition(")")[0]
            assert codes(values) == list(main.FORMATS)


def test_report_parameters() -> None:
    """The page on reports has every parameter of a report, its default and its formats."""
    rows = table("docs/reports.md", "## Parameters")
    assert [codes(row[0])[0] for row in rows] == list(main.REPORT_PARAMETERS)
    stated = {codes(row[0])[0]: row for row in rows}
    assert codes(stated["year"][1]) == [str(reports.DEFAULT_YEAR)]
    assert codes(stated["format"][2]) == list(main.FORMATS)
    formats = table("docs/reports.md", "## Formats")
    assert [codes(row[0])[0] for row in formats] == list(main.FORMATS)


def test_errors() -> None:
    """The table of errors has the status and code of every error, and no others."""
    rows = table("docs/operate.md", "## Errors")
    stated = {(int(row[0]), codes(row[1])[0]) for row in rows}
    raised = {
        (each.status, each.code)
        for each in subclasses(errors.BundleError)
        if not issubclass(each, errors.BadSource | errors.RowRefused)  # of manage.py alone
    }
    assert stated == raised


def test_log_events() -> None:
    """The table of log events has every name that the code logs, and no others."""
    logged = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("logs.event", "status"):
                message = node.args[0]
                if file.name == "progress.py" and isinstance(message, ast.Name):
                    continue  # `status` passes its caller's name on
                assert isinstance(message, ast.Constant), f"{file}:{node.lineno} varies its name"
                logged.add(message.value)
    stated = {name for row in table("docs/operate.md", "### Log events") for name in codes(row[0])}
    assert stated == logged


def test_settings() -> None:
    """The table of settings has every variable that the code reads, its default, and no others."""

    class Asked(dict[str, str]):
        names: set[str] = set()  # noqa: RUF012

        def get(self, name: str, default: Any = None) -> Any:
            self.names.add(name)
            return super().get(name, default)

    read_settings(Asked(DB_PASS=""))
    rows = table("README.md", "## Settings")
    assert {name for row in rows for name in codes(row[0])} == Asked.names | {"DB_PASS"}
    defaults = {
        name: value
        for row in rows
        for name, value in zip(codes(row[0]), codes(row[1]), strict=False)
    }
    settings = read_settings({"DB_PASS": ""})
    assert defaults == {
        "DB_USER": settings.user,
        "DB_NAME": settings.database,
        "DB_HOST": settings.host,
        "DB_PORT": str(settings.port),
        "CLOUD_RUN_TIMEOUT_SECONDS": str(settings.function_seconds),
        "TASK_TIMEOUT_SECONDS": str(settings.task_seconds),
    }


def test_layout() -> None:
    """The layout on the page for developers has every module of the root and every room."""
    stated = {name for row in table("docs/development.md", "## Layout") for name in codes(row[0])}
    tracked = subprocess.run(
        ["git", "ls-files", "*.py", "*.sh", ":!tests/*"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(tracked) > 50
    parents = {f"{parent}/" for name in tracked for parent in Path(name).parents[:-1]}
    assert stated == {name for name in tracked if "/" not in name} | parents | {"tests/", ".ci/run"}


def test_named_files() -> None:
    """Every file of the project that a page names by its path exists."""
    folders = "|".join(
        (
            "bench",
            "deploy",
            "docs",
            "hiring",
            "jobs",
            "local",
            "operate",
            "pages",
            "restore",
            "tests",
        )
    )
    for page, text in TEXTS.items():
        for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", text):
            assert (PROJECT / name).exists(), f"{page} names {name}"


def test_links_lead_to_files_and_headings() -> None:
    """Every relative link leads to an existing file and, if it names one, to a heading."""
    for page, text in TEXTS.items():
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            file = (PROJECT / page).parent / path if path else PROJECT / page
            assert file.exists(), f"{page} links to {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
                anchors = [
                    re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings
                ]
                assert anchor in anchors, f"{page} links to {target}"


def test_pages_are_listed() -> None:
    """The README is short and lists every page of docs."""
    assert len(TEXTS["README.md"].splitlines()) <= README_LINES
    for page in TEXTS:
        assert page == "README.md" or f"]({page})" in TEXTS["README.md"], page


def test_shown_commands() -> None:
    """Each shown command is valid shell, and the files and options that it names exist."""
    checked = 0
    for page, text in TEXTS.items():
        for block in shell_blocks(text):
            syntax = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
            assert syntax.returncode == 0, f"{page}: {block}{syntax.stderr}"
            for words in commands(block):
                place = next((n for n, word in enumerate(words) if source_of(words, n)), None)
                if place is None:
                    continue
                source = source_of(words, place)
                assert source is not None
                assert (PROJECT / source).exists(), f"{page} runs {source}"
                code = (PROJECT / source).read_text()
                for word in words[place + 1 :]:
                    option = word.partition("=")[0]
                    if option.startswith("--") and not source.startswith("test"):
                        assert option in code, f"{page}: {source} has no {option}"
                checked += 1
    assert checked > 20


def source_of(words: list[str], place: int) -> str | None:
    """The file of the project that a word of a command runs, if it runs one."""
    word = words[place]
    if (
        word == "-m"
        and "python" in words[max(place - 1, 0)]
        and words[place + 1] not in ("venv", "pip")
    ):
        name = words[place + 1].replace(".", "/")
        return f"{name}/__main__.py" if (PROJECT / name).is_dir() else f"{name}.py"
    if re.fullmatch(r"(\./)?(\w+/)?[\w-]+\.(sh|py)|\.ci/run", word) and not word.startswith(
        "tests/"
    ):
        return word.removeprefix("./")
    return None


def test_one_virtual_environment() -> None:
    """All pages use the virtual environment that ./run.sh makes."""
    for page, text in TEXTS.items():
        for folder in re.findall(r"[\w./-]*venv/bin/", text.replace("$PWD/", "")):
            assert folder == ".local/venv/bin/", page


def test_shown_reports(client: Client, database: Database) -> None:
    """Each report that a page shows is the answer for the sample data."""
    for name, rows in (
        ("departments", sample.departments()),
        ("jobs", sample.jobs()),
        ("employees", sample.employees()),
    ):
        database.insert(name, list(rows))
    shown = re.findall(
        r"^    \$ curl (\S*/(?:quarterly|hiring)\S*)\n((?:    .*\n)+)",
        "\n".join(TEXTS.values()),
        re.M,
    )
    assert len(shown) >= 3
    for address, block in shown:
        (url,) = shlex.split(address)
        lines = [line[4:] for line in block.splitlines()]
        found = client.get(url.partition("8080")[2]).get_data(as_text=True).splitlines()
        if lines[-1] == "...":
            lines.pop()
            found = found[: len(lines)]
        assert found == lines
    counts = client.get("/truncate-tables?dry_run=true").get_data(as_text=True)
    assert f"    {counts}" in TEXTS["README.md"]
    assert json.loads(counts)["rows"]["employees"] == 6409


def test_named_identifiers() -> None:
    """Each name in backticks on the page for developers exists in the code."""
    page = re.sub(r"^```.*?^```", "", TEXTS["docs/development.md"], flags=re.DOTALL | re.MULTILINE)
    files = subprocess.run(
        ["git", "ls-files", "*.py", "*.sh", "*.toml", "*.html", ".ci/run"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    code = "\n".join((PROJECT / name).read_text() for name in files if (PROJECT / name).exists())
    names = [name for name in codes(page) if re.fullmatch(r"[A-Za-z_][\w.]*", name)]
    assert len(names) > 20
    for name in names:
        last = name.rpartition(".")[2] if not (PROJECT / name).exists() else name.partition(".")[0]
        assert re.search(rf"\b{re.escape(last)}\b", code), name
