"""The lock of the deployed packages agrees with requirements.txt."""

import importlib.metadata
import re

import pytest
from conftest import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = (PROJECT / "deploy/requirements.lock").read_text()
AGAIN = "make deploy/requirements.lock anew: its first lines say how"


def requirements(text: str) -> list[Requirement]:
    """The requirements of a file, without comments, hashes and continued lines."""
    lines = re.sub(r"\\\n\s*--hash=\S+", "", text).splitlines()
    return [Requirement(line.strip(" \\")) for line in lines if line and line.lstrip()[0] != "#"]


# The requirements for this Python and this system only.
PINS = {
    canonicalize_name(pin.name): pin
    for pin in requirements(LOCK)
    if pin.marker is None or pin.marker.evaluate()
}
WANTED = requirements((PROJECT / "requirements.txt").read_text())


def pinned_version(name: str) -> str:
    """The version of a package in the lock."""
    pin = PINS.get(canonicalize_name(name))
    assert pin, f"{name} is not locked; {AGAIN}"
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_a_requirement_is_locked_within_its_range(wanted: Requirement) -> None:
    """The lock has each package of requirements.txt, in a version that the file allows."""
    version = pinned_version(wanted.name)
    assert wanted.specifier.contains(version), f"{wanted} is locked as {version}; {AGAIN}"


def test_every_dependency_is_locked() -> None:
    """Each dependency of a locked package is locked too, in a version that the package allows."""
    missing = []
    found = {canonicalize_name(wanted.name): wanted for wanted in WANTED}
    names = list(found)
    for name in names:
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            extras = found[name].extras or {""}
            if needed.marker and not any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                continue
            version = pinned_version(needed.name)
            if not needed.specifier.contains(version, prereleases=True):
                missing.append(f"{name} needs {needed}, {version} is locked")
            other = canonicalize_name(needed.name)
            if other not in found:
                found[other] = needed
                names.append(other)
    assert not missing, AGAIN
    assert len(names) > len(WANTED)


def test_every_pin_has_a_checksum() -> None:
    """pip installs the lock only if every package has a hash."""
    entries = re.split(r"\n(?=\w)", LOCK)[1:]
    assert len(entries) >= len(PINS)
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
