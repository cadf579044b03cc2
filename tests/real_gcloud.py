"""The real gcloud's own check of commands: names and flags, without a network."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def check(commands: list[str], folder: Path) -> None:
    """Finds nothing wrong with any command, or skips the test where gcloud is not installed.

    Args:
        commands: each as one would type it.
        folder: for files that come of it.
    """
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        pytest.skip("gcloud is not installed")
    listed = folder / "commands.json"
    listed.write_text(json.dumps([{"command_string": command} for command in commands]))
    answer = subprocess.run(
        [gcloud, "meta", "lint-gcloud-commands", f"--commands-file={listed}"],
        env=os.environ | {"CLOUDSDK_CONFIG": str(folder / "gcloud")},
        capture_output=True,
        text=True,
        check=True,
    )
    verdicts = json.loads(answer.stdout)
    assert [verdict["command_string"] for verdict in verdicts] == commands
    assert [verdict for verdict in verdicts if not verdict["success"]] == []
