"""The real gcloud, where it is installed: its check of commands, its archive of a folder."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

# gcloud's own function, run by the Python that it comes with.
PACK = """
import sys
root, source, folder = sys.argv[1:]
sys.path[:0] = [root + "/lib/third_party", root + "/lib"]
from googlecloudsdk.command_lib.functions import source_util
print(source_util.CreateSourcesZipFile(folder, source))
"""


def command() -> str:
    """The path of gcloud; without it, the test that asks is skipped."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        pytest.skip("gcloud is not installed")
    return gcloud


def ask(*arguments: str, folder: Path) -> list[str]:
    """The lines that gcloud prints.

    Args:
        arguments: a command that needs no network.
        folder: for files that come of it.
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
    """Finds nothing wrong with any command.

    Args:
        commands: each as one would type it.
        folder: for files that come of it.
    """
    listed = folder / "commands.json"
    listed.write_text(json.dumps([{"command_string": command} for command in commands]))
    lines = ask("meta", "lint-gcloud-commands", f"--commands-file={listed}", folder=folder)
    verdicts = json.loads("\n".join(lines))
    assert [verdict["command_string"] for verdict in verdicts] == commands
    assert [verdict for verdict in verdicts if not verdict["success"]] == []


def installation(folder: Path) -> tuple[str, str]:
    """The Python that gcloud runs with, and the folder that it is installed in."""
    where = "--format=value[separator='|'](basic.python_location,installation.sdk_root)"
    ((python, root),) = (line.split("|") for line in ask("info", where, folder=folder))
    return python, root


def pack(source: Path, folder: Path) -> Path:
    """The archive that `gcloud functions deploy` uploads: made in `folder` by gcloud's own code."""
    python, root = installation(folder)
    answer = subprocess.run(
        [python, "-IS", "-c", PACK, root, source, folder],
        env={"CLOUDSDK_CONFIG": str(folder / "config"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(answer.stdout.strip())
