"""Private attributes of PyMySQL and google-cloud-storage still exist, and one file each uses them.

A library may change its private attributes in any release. One file for each library uses them, and
its docstring lists each name with the reason.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pymysql
import pymysql.connections
import pytest
from conftest import PROJECT
from google.cloud import storage
from google.cloud.storage import fileio
from packaging.requirements import Requirement

from hiring.mysql import connection
from hiring.storage import storage_client


class Reach(NamedTuple):
    """A file of ours that uses a library's private attributes.

    Attributes:
        file: ours.
        package: the library's name on PyPI.
        library: the folder with its modules.
        definitions: the module with the class whose attributes are used.
        owner: that class.
        beside: another class of the library whose attributes are used.
    """

    file: ModuleType
    package: str
    library: ModuleType
    definitions: ModuleType
    owner: str
    beside: type = object


REACHES = (
    Reach(
        connection,
        "PyMySQL",
        pymysql,
        pymysql.connections,
        "Connection",
        pymysql.connections.MySQLResult,
    ),
    Reach(storage_client, "google-cloud-storage", storage, fileio, "BlobWriter", storage.Client),
)
OTHERS = {"local/emulator_objects.py": {"_headers"}}
"""A private attribute of another library, the emulator's answer, used in local/ only."""
IDS = [reach.package for reach in REACHES]


def listed(reach: Reach) -> set[str]:
    """The private names in the indented list of the file's docstring."""
    lines = re.findall(r"^    \S.*$", inspect.getdoc(reach.file) or "", re.MULTILINE)
    # The reason begins after two spaces.
    names = " ".join(line.strip().partition("  ")[0] for line in lines)
    return set(re.findall(r"(?<!\w)_[a-z]\w*", names))


def private_attributes(tree: ast.AST) -> Iterator[ast.Attribute]:
    """The attributes in a module whose names begin with one underscore."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            yield node


def used(reach: Reach) -> set[str]:
    """The private names of the library that the file uses or replaces."""
    tree = ast.parse(inspect.getsource(reach.file))
    names = {node.attr for node in private_attributes(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names |= {
                each.name
                for each in node.body
                if isinstance(each, ast.FunctionDef) and re.match("_[a-z]", each.name)
            }
    return names


def defined(reach: Reach) -> set[str]:
    """The methods of the library's class, and the attributes that its methods set."""
    tree = ast.parse(inspect.getsource(reach.definitions))
    (owner,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == reach.owner
    )
    names = set()
    for node in ast.walk(owner):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize("reach", REACHES, ids=IDS)
def test_each_private_attribute_exists(reach: Reach) -> None:
    """The installed version of the library has each private attribute that the file lists."""
    names = listed(reach)
    assert names
    missing = names - defined(reach) - set(dir(reach.beside))
    assert not missing, (
        f"{reach.package} {version(reach.package)} has no {reach.owner}.{', '.join(missing)} any"
        f" more: {reach.file.__name__} says what each was for. Install the version that"
        " requirements.txt names, or find another way."
    )


@pytest.mark.parametrize("reach", REACHES, ids=IDS)
def test_each_private_attribute_is_listed_with_its_reason(reach: Reach) -> None:
    """The docstring of the file lists exactly the private attributes that the file uses."""
    assert used(reach) == listed(reach)


@pytest.mark.parametrize("reach", REACHES, ids=IDS)
def test_the_version_that_was_checked_is_pinned(reach: Reach) -> None:
    """requirements.txt allows the version that was checked, and no other minor version."""
    checked = re.search(rf"Checked with {reach.package} (\S+),", inspect.getdoc(reach.file) or "")
    assert checked
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    (pinned,) = (
        requirement
        for requirement in (Requirement(line) for line in lines if line[:1].isalpha())
        if requirement.name == reach.package
    )
    assert str(pinned.specifier) == f"~={checked[1]}"
    assert pinned.specifier.contains(version(reach.package)), (
        f"{reach.package} {version(reach.package)} is installed, {pinned} was checked"
    )


def library_names(reach: Reach) -> set[str]:
    """All private attributes that the library's own code uses."""
    folders = [Path(folder) for folder in reach.library.__path__]
    return {
        node.attr
        for folder in folders
        for file in folder.rglob("*.py")
        for node in private_attributes(ast.parse(file.read_text()))
    }


def own_files() -> list[Path]:
    """Every module of the project but the two that may use private attributes."""
    folders = ("hiring", "pages", "restore", "operate", "jobs", "local", "bench", "tests")
    files = {
        *PROJECT.glob("*.py"),
        *(file for folder in folders for file in (PROJECT / folder).rglob("*.py")),
    }
    return sorted(files - {Path(reach.file.__file__ or "") for reach in REACHES})


def test_no_other_file_uses_a_private_attribute() -> None:
    """No other file uses a library's private attributes; `self._name` is a class's own."""
    theirs = {reach.file.__name__: library_names(reach) for reach in REACHES}
    assert all(len(names) > 30 for names in theirs.values())
    files = own_files()
    assert len(files) > 80
    wrong = []
    for file in files:
        tree = ast.parse(file.read_text())
        own = {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        own |= OTHERS.get(str(file.relative_to(PROJECT)), set())
        wrong += [
            f"{file.relative_to(PROJECT)}:{node.lineno} uses .{node.attr}, only for {place}"
            for node in private_attributes(tree)
            for place, names in theirs.items()
            if node.attr in names - own
            and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        ]
    assert not wrong, "\n".join(wrong)
