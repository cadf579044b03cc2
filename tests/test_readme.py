"""What the README says is so."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from conftest import PROJECT, Database
from werkzeug.test import Client

import main
from hiring.core import errors
from hiring.core.settings import read_settings
from local import sample, serve

README = (PROJECT / "README.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the first table after a heading."""
    _, _, rest = README.partition(f"\n{heading}\n")
    rows = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert rows, heading
    lines = rows.group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def codes(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def subclasses(kind: type[errors.BundleError]) -> Iterator[type[errors.BundleError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def test_urls() -> None:
    """The four URLs, their entry points, methods and parameters."""
    parameters = {
        "quarterly_hired": (main.REPORT_METHODS, main.REPORT_PARAMETERS),
        "hiring_by_department": (main.REPORT_METHODS, main.REPORT_PARAMETERS),
        "backup_data": (main.CHANGE_METHODS, main.BACKUP_PARAMETERS),
        "truncar_tablas": (main.CHANGE_METHODS, main.TRUNCATION_PARAMETERS),
    }
    rows = table("## Four URLs")
    assert {codes(row[0])[0]: codes(row[1])[0] for row in rows} == serve.ENTRY_POINTS
    for _, entry_point, methods, taken in rows:
        found_methods, found_parameters = parameters[codes(entry_point)[0]]
        assert tuple(methods.split(", ")) == found_methods
        if taken != "the same":
            assert [word for word in codes(taken) if word in found_parameters] == list(
                found_parameters
            )


def test_errors() -> None:
    """Every error's status and code, and no other."""
    stated = {(int(row[0]), codes(row[1])[0]) for row in table("## Errors")}
    raised = {
        (each.status, each.code)
        for each in subclasses(errors.BundleError)
        if each not in (errors.BadSource, errors.RowRefused)  # of load.py, which answers no request
    }
    assert stated == raised


def test_settings() -> None:
    """Every variable that is read, with its default, and no other."""

    class Asked(dict[str, str]):
        names: set[str] = set()  # noqa: RUF012

        def get(self, name: str, default: Any = None) -> Any:
            self.names.add(name)
            return super().get(name, default)

    read_settings(Asked(DB_PASS=""))
    rows = table("## Settings")
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
    }


def test_files() -> None:
    """Every module is in the layout, and every link leads to a file."""
    for module in PROJECT.glob("*.py"):
        assert module.name in README, module.name
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_shown_reports(client: Client, database: Database) -> None:
    """The reports that the README shows are those of the sample data."""
    for name, rows in (
        ("departments", sample.departments()),
        ("jobs", sample.jobs()),
        ("employees", sample.employees()),
    ):
        database.insert(name, list(rows))
    shown = re.findall(r"^    \$ curl (\S*/(?:quarterly|hiring)\S*)\n((?:    .*\n)+)", README, re.M)
    assert len(shown) == 3
    for address, block in shown:
        (url,) = shlex.split(address)
        lines = [line[4:] for line in block.splitlines()]
        found = client.get(url.partition("8080")[2]).get_data(as_text=True).splitlines()
        if lines[-1] == "...":
            lines.pop()
            found = found[: len(lines)]
        assert found == lines
    counts = client.get("/truncate-tables?dry_run=true").get_data(as_text=True)
    assert f"    {counts}" in README
    assert json.loads(counts)["rows"]["employees"] == 6409


def test_named_tests() -> None:
    """Every test that the README names is there."""
    file = ""
    names = re.findall(r"`(test_\w+\.py|…)(?:::(test_\w+)(\*?))?`", README)
    assert len(names) > 40
    for named, test, rest in names:
        file = file if named == "…" else named
        text = (PROJECT / "tests" / file).read_text()
        end = r"\(" if test and not rest else ""
        assert re.search(f"^def {test}{end}", text, re.MULTILINE), (file, test)
