"""Asks the real gcloud, where it is installed, to check commands and to pack a folder."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Calls gcloud's own function with gcloud's own Python.
PACK = """
import sys
root, source, folder = sys.argv[1:]
sys.path[:0] = [root + "/lib/third_party", root + "/lib"]
from googlecloudsdk.command_lib.functions import source_util
print(source_util.CreateSourcesZipFile(folder, source))
"""


def command() -> str:
    """The path of gcloud; skips the test if it is not installed."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        pytest.skip("gcloud is not installed")
    return gcloud


def ask(*arguments: str, folder: Path) -> list[str]:
    """The lines that gcloud prints.

    Args:
        arguments: of a command that needs no network.
        folder: for gcloud's files.
    """
    answer = subprocess.run(
        [command(), *arguments],
        env=os.environ | {"CLOUDSDK_CONFIG": str(folder / "config")},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.splitlines()


def check(commands: list[str], folder: Path) -> None:
    """Checks that gcloud accepts the names and values of each command.

    Args:
        commands: each as typed into a shell.
        folder: for gcloud's files.
    """
    listed = folder / "commands.json"
    listed.write_text(json.dumps([{"command_string": command} for command in commands]))
    lines = ask("meta", "lint-gcloud-commands", f"--commands-file={listed}", folder=folder)
    verdicts = json.loads("\n".join(lines))
    assert [verdict["command_string"] for verdict in verdicts] == commands
    assert [verdict for verdict in verdicts if not verdict["success"]] == []


def installation(folder: Path) -> tuple[str, str]:
    """The paths of gcloud's Python and of the folder that gcloud is installed in."""
    where = "--format=value[separator='|'](basic.python_location,installation.sdk_root)"
    ((python, root),) = (line.split("|") for line in ask("info", where, folder=folder))
    return python, root


def pack(source: Path, folder: Path) -> Path:
    """The archive that `gcloud functions deploy` uploads, made in `folder` by gcloud's code."""
    python, root = installation(folder)
    answer = subprocess.run(
        [python, "-IS", "-c", PACK, root, source, folder],
        env={"CLOUDSDK_CONFIG": str(folder / "config"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(answer.stdout.strip())
