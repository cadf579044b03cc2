"""What would be uploaded: the functions and what they need, and nothing else."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from local import process

ROOT = Path(__file__).parent.parent

START_SECONDS = 30

# What a developer's folder holds beside the project's own files.
LEFT_LYING = [
    ".env",
    ".git/config",
    ".github/workflows/ci.yml",
    ".local/data/ibdata1",
    "__pycache__/main.cpython-313.pyc",
    "deploy.env",
    "notes.py",
    "sample/employees.csv",
    "venv/bin/python",
]


def modules_of(module: str, found: dict[str, None] | None = None) -> dict[str, None]:
    """The project's own modules that a module imports, wherever in it, and itself."""
    found = {} if found is None else found
    file = ROOT / f"{module}.py"
    if module in found or not file.exists():
        return found
    found[module] = None
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            modules_of(name, found)
    return found


@pytest.fixture
def needed() -> list[str]:
    """What the functions are made of: all that `main` imports, the templates, what to install."""
    templates = [f"templates/{file.name}" for file in (ROOT / "templates").iterdir()]
    modules = [f"{module}.py" for module in modules_of("main")]
    return sorted([*modules, *templates, "requirements.txt"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The project's files, with all that may lie beside them in a developer's folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = tmp_path / "folder"
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in LEFT_LYING:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_only_the_functions_are_uploaded(folder, needed):
    """By `.gcloudignore`, whose rules are git's: no test, sample, stack, setting or dot-file."""
    shutil.rmtree(folder / ".git")
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    left = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-from=.gcloudignore"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(left.stdout.splitlines()) == needed


def test_the_real_gcloud_would_upload_the_same(folder, needed):
    """What gcloud itself lists, where it is installed."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        pytest.skip("gcloud is not installed")
    listed = subprocess.run(
        [gcloud, "meta", "list-files-for-upload", folder],
        env=os.environ | {"CLOUDSDK_CONFIG": str(folder.parent / "gcloud")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(listed.stdout.splitlines()) == needed


@pytest.fixture
def start(tmp_path: Path, needed: list[str]) -> Iterator[Callable[[str, dict[str, str]], str]]:
    """Starts a function as it is deployed: the upload, what it asks for installed, nothing else."""
    upload, environment = tmp_path / "upload", tmp_path / "environment"
    for name in needed:
        (upload / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, upload / name)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run(
        [environment / "bin" / "pip", "install", "--quiet", "-r", upload / "requirements.txt"],
        check=True,
    )
    processes = []

    def start(entry_point: str, settings: dict[str, str]) -> str:
        port = process.free_port()
        written = tmp_path / f"{entry_point}.log"
        with written.open("wb") as log:
            command = [environment / "bin" / "functions-framework", f"--target={entry_point}"]
            processes.append(
                process.start(
                    [*command, "--host=127.0.0.1", f"--port={port}"],
                    log,
                    folder=upload,
                    environment={"PATH": os.environ["PATH"], **settings},
                )
            )
        process.wait_for_port(processes[-1], port, START_SECONDS, written.read_text)
        return f"http://127.0.0.1:{port}/"

    yield start
    for started in processes:
        process.stop(started)


@pytest.mark.once
@pytest.mark.slow
def test_the_upload_alone_starts_and_answers(start, database, bucket):
    """All four, in a clean environment; the reports know no bucket."""
    report = database.environment | {"THREADS": "8", "CLOUD_RUN_TIMEOUT_SECONDS": "60"}
    change = database.environment | bucket.environment | {"CLOUD_RUN_TIMEOUT_SECONDS": "3600"}
    answers = {
        target: requests.get(start(target, settings) + query, timeout=60)
        for target, settings, query in [
            ("quarterly_hired", report, "?format=json"),
            ("hiring_by_department", report, "?format=html"),
            ("backup_data", change, ""),
            ("truncar_tablas", change, "?backup_first=true"),
        ]
    }
    assert {target: answer.status_code for target, answer in answers.items()} == {
        "quarterly_hired": 200,
        "hiring_by_department": 200,
        "backup_data": 200,
        "truncar_tablas": 200,
    }
    assert len([name for name in bucket.blobs() if name.endswith("manifest.json")]) == 2
