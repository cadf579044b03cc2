"""The upload has the functions and what they need, and nothing else."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import real_gcloud
import requests
from conftest import Bucket, Database
from support import copy_project

from local import process

ROOT = Path(__file__).parents[2]

START_SECONDS = 30

# Other files in a developer's folder.
LEFT_LYING = [
    ".env",
    ".git/config",
    ".github/workflows/ci.yml",
    ".local/data/ibdata1",
    "__pycache__/main.cpython-313.pyc",
    "hiring/__pycache__/errors.cpython-313.pyc",
    "hiring/mysql/__pycache__/errors.cpython-313.pyc",
    "deploy.env",
    "notes.py",
    "sample/employees.csv",
    "venv/bin/python",
]


def files_of(module: str, found: set[str]) -> set[str]:
    """A module's file and the project's files that it imports, directly or not, anywhere in it."""
    path = module.replace(".", "/")
    file = f"{path}/__init__.py" if (ROOT / path / "__init__.py").exists() else f"{path}.py"
    if file in found or not (ROOT / file).exists():
        return found
    found.add(file)
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module or ""]
        else:
            continue
        for name in names:
            files_of(name, found)
    return found


@pytest.fixture
def needed() -> list[str]:
    """The files that the functions need: `main`, what it imports, two folders, requirements."""
    listed = subprocess.run(
        ["git", "ls-files", "hiring", "pages"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(files_of("main", {"requirements.txt"}) | set(listed.stdout.splitlines()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project with other files that a developer's folder may hold."""
    folder = tmp_path / "folder"
    copy_project(folder)
    for name in LEFT_LYING:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_only_the_functions_are_uploaded(folder: Path, needed: list[str]) -> None:
    """The rules of `.gcloudignore` leave exactly the functions' files."""
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


def test_the_real_gcloud_lists_the_same(folder: Path, needed: list[str], tmp_path: Path) -> None:
    """The real gcloud's list of files to upload has exactly the functions' files."""
    listed = real_gcloud.ask("meta", "list-files-for-upload", str(folder), folder=tmp_path)
    assert sorted(listed) == needed


@pytest.mark.slow
def test_the_real_gcloud_packs_the_same(folder: Path, needed: list[str], tmp_path: Path) -> None:
    """The archive of the real `gcloud functions deploy` has exactly the functions' files."""
    with zipfile.ZipFile(real_gcloud.pack(folder, tmp_path)) as archive:
        packed = [name for name in archive.namelist() if not name.endswith("/")]
        held = {name: archive.read(name) for name in packed}
    assert sorted(packed) == needed
    assert held == {name: (ROOT / name).read_bytes() for name in needed}


@pytest.fixture
def staged(folder: Path, tmp_path: Path) -> Path:
    """The folder that deploy.sh makes for gcloud to upload."""
    script = "source deploy/gcloud.sh; source deploy/functions.sh; OUTPUT=1 WORK=$0; stage_source"
    subprocess.run(["bash", "-euc", script, tmp_path], cwd=folder, check=True)
    return tmp_path / "source"


@pytest.fixture
def archive(staged: Path, tmp_path: Path) -> Path:
    """The unpacked archive that gcloud makes of the staged folder; without gcloud, that folder."""
    if not shutil.which("gcloud"):
        return staged
    unpacked = tmp_path / "archive"
    shutil.unpack_archive(real_gcloud.pack(staged, tmp_path), unpacked)
    return unpacked


@pytest.mark.slow
def test_deploy_uploads_the_same_with_the_lock_as_its_requirements(
    archive: Path, needed: list[str]
) -> None:
    """deploy.sh uploads the functions' files; their requirements.txt is the lock with hashes."""
    held = {name: (archive / name).read_bytes() for name in needed}
    lock = {"requirements.txt": (ROOT / "deploy/requirements.lock").read_bytes()}
    assert held == {name: (ROOT / name).read_bytes() for name in needed} | lock
    if shutil.which("gcloud"):
        files = (path for path in archive.rglob("*") if path.is_file())
        assert sorted(str(path.relative_to(archive)) for path in files) == needed


@pytest.fixture
def start(tmp_path: Path, archive: Path) -> Iterator[Callable[..., str]]:
    """Starts a function from the unpacked archive alone."""
    processes = []

    def start(entry_point: str, settings: dict[str, str], python: Path) -> str:
        port = process.free_port()
        written = tmp_path / f"{entry_point}.log"
        with written.open("wb") as log:
            command = [str(python), "-m", "functions_framework", f"--target={entry_point}"]
            processes.append(
                process.start(
                    [*command, "--host=127.0.0.1", f"--port={port}"],
                    log,
                    folder=archive,
                    environment={"PATH": os.environ["PATH"], **settings},
                )
            )
        process.wait_for_port(processes[-1], port, START_SECONDS, written.read_text)
        return f"http://127.0.0.1:{port}/"

    yield start
    for started in processes:
        process.stop(started)


def serve_all(start: Callable[..., Any], database: Database, bucket: Bucket, python: Path) -> None:
    """Checks that all four functions answer, the reports without a bucket."""
    report = database.environment | {"THREADS": "8", "CLOUD_RUN_TIMEOUT_SECONDS": "60"}
    change = database.environment | bucket.environment | {"CLOUD_RUN_TIMEOUT_SECONDS": "3600"}
    answers = {
        target: requests.get(start(target, settings, python) + query, timeout=60).status_code
        for target, settings, query in [
            ("quarterly_hired", report, "?format=json"),
            ("hiring_by_department", report, "?format=html"),
            ("backup_data", change, ""),
            ("truncar_tablas", change, "?backup_first=true"),
        ]
    }
    assert answers == {
        "quarterly_hired": 200,
        "hiring_by_department": 200,
        "backup_data": 200,
        "truncar_tablas": 200,
    }
    assert len([name for name in bucket.blobs() if name.endswith("manifest.json")]) == 2


@pytest.mark.once
@pytest.mark.slow
def test_the_archive_serves_all_four_functions(
    start: Callable[..., Any], database: Database, bucket: Bucket
) -> None:
    """The unpacked archive serves all four functions with the installed packages."""
    serve_all(start, database, bucket, Path(sys.executable))


@pytest.mark.deployment
def test_the_archive_names_every_package_that_it_needs(
    start: Callable[..., Any], archive: Path, database: Database, bucket: Bucket, tmp_path: Path
) -> None:
    """The archive serves all four functions with only its requirements.txt installed, by hashes."""
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
    requirements = archive / "requirements.txt"
    for command in (["install", "--quiet", "--require-hashes", "-r", requirements], ["check"]):
        subprocess.run([python, "-m", "pip", *command], check=True)
    serve_all(start, database, bucket, python)
