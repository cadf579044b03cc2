"""The project's structure: file sizes, layers, names, and a purpose in each file's first line."""

import ast
import functools
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT

LONGEST_FILE = 350
MOST_ROOT_ENTRIES = 24

IMPORTS = (
    "hiring < db < reports, truncation, restore < backup, pages < main, operate < manage < jobs"
)
"""Rooms of the root from the lowest to the highest: each imports itself and those below it."""

LAYERS = [layer.split(", ") for layer in IMPORTS.split(" < ")]
ROOMS = [room for layer in LAYERS for room in layer]
BELOW = {
    room: {low for layer in LAYERS[:height] for low in layer}
    for height, layer in enumerate(LAYERS)
    for room in layer
} | {
    "local": set(),
    "bench": {"local", *ROOMS},
    "tests": {"bench", "local", *ROOMS},
}
"""What each room may import beside itself."""


def tracked(*patterns: str) -> list[str]:
    """The files under version control that match the patterns."""
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    # git still lists a removed file until its removal is committed.
    return [name for name in listed.stdout.splitlines() if (PROJECT / name).exists()]


MODULES = tracked("*.py")
# Released backups are data, although some files are named like scripts.
SCRIPTS = [*tracked("*.sh", "*.sql", ":!tests/released"), ".ci/run"]


@functools.cache
def tree_of(module: str) -> ast.Module:
    """The syntax of a module, by its file."""
    return ast.parse((PROJECT / module).read_text())


def room_of(module: str) -> str | None:
    """The room that a module belongs to, by its dotted name; None for a library."""
    room = module.partition(".")[0]
    return room if room in BELOW else None


def module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and the dotted name of everything that a module imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            # `from hiring import logs` imports hiring.logs.
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_there_is_something_to_check() -> None:
    """The lists that the other tests check are not empty."""
    assert len(MODULES) > 80
    assert len(SCRIPTS) > 8


def test_source_files_are_short() -> None:
    """No source file has more than 350 lines."""
    lengths = {
        name: len((PROJECT / name).read_text().splitlines())
        for name in [*MODULES, *SCRIPTS]
        if not name.startswith("tests/")
    }
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE}
    assert not long, f"longer than {LONGEST_FILE} lines, split by purpose: {long}"


def test_the_root_is_small() -> None:
    """The root has at most 24 tracked entries, dot-files not counted."""
    entries = {Path(name).parts[0] for name in tracked()}
    shown = sorted(name for name in entries if not name.startswith("."))
    assert len(shown) <= MOST_ROOT_ENTRIES, shown


def test_nothing_is_imported_upwards() -> None:
    """Each module imports its own room and the rooms below it, never above or beside it."""
    wrong = []
    for file in MODULES:
        room = room_of(module_name(file))
        assert room, f"{file} is in no room: add its room to IMPORTS"
        for line, imported in imports(tree_of(file)):
            other = room_of(imported)
            if other and other != room and other not in BELOW[room]:
                wrong.append(f"{file}:{line} imports {imported}; {room} is not above {other}")
    assert not wrong, "\n".join(wrong)


def names_of(tree: ast.Module) -> Iterator[str]:
    """The classes, types and public constants that a module defines."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
            continue
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for each in (inner for target in targets for inner in ast.walk(target)):
            if isinstance(each, ast.Name) and not each.id.startswith("_") and not each.id.islower():
                yield each.id


def test_no_two_modules_share_a_name() -> None:
    """No two modules or packages outside the tests have the same name."""
    places = defaultdict(list)
    for file in MODULES:
        if not file.startswith("tests/"):
            places[module_name(file).rpartition(".")[2]].append(file)
    shared = {name: files for name, files in places.items() if len(files) > 1}
    assert not shared


def test_no_two_definitions_share_a_name() -> None:
    """No two classes or public constants outside the tests have the same name."""
    places = defaultdict(list)
    for file in MODULES:
        if not file.startswith(("tests/", "bench/", "local/")):
            for name in names_of(tree_of(file)):
                places[name].append(file)
    shared = {name: files for name, files in places.items() if len(files) > 1}
    assert shared == {}


@pytest.mark.parametrize("file", [*MODULES, *SCRIPTS])
def test_the_first_line_states_the_purpose(file: str) -> None:
    """A source file begins with a docstring or a comment of at least three words."""
    if file in MODULES:
        first = (ast.get_docstring(tree_of(file)) or "").splitlines()[0:1]
    else:
        lines = (PROJECT / file).read_text().splitlines()
        first = [
            line.lstrip("#- ") for line in lines if not line.startswith(("#!", "# shellcheck"))
        ]
        assert lines[0].startswith(("#", "--")), file
    assert first, f"{file} has no docstring"
    assert len(first[0].split()) >= 3, f"{file} begins with: {first[0]}"
    assert not first[0].startswith("usage"), f"{file} says how, not what for"
