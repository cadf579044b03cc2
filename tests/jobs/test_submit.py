"""The jobs' submit script: the gcloud commands that it runs, and the modules that it packs."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from control_plane import Gcloud, Project
from support import copy_project

SETTINGS = {
    "PROJECT_ID": "acme",
    "REGION": "europe-west1",
    "GCS_PATH": "gs://acme-backups/hiring",
    "DB_NAME": "hiring",
    "DB_USER_JOBS": "sparks",
    "INSTANCE_CONNECTION_NAME": "acme:europe-west1:people",
    "JOBS_DB_HOST": "10.1.2.3",
}
JOBS = ("backup", "forecast")
JOBS_ACCOUNT = "hiring-jobs@acme.iam.gserviceaccount.com"
MEMBER = f"serviceAccount:{JOBS_ACCOUNT}"
BUILDER = "hiring-build@acme.iam.gserviceaccount.com"
SOURCES = "run-sources-acme-europe-west1"
# What deploy.sh lets the build's account do.
BUILD_RIGHTS = {
    f"bucket {SOURCES}": "roles/storage.objectViewer",
    "repository hiring": "roles/artifactregistry.writer",
    "project": "roles/logging.logWriter",
}
SECONDS = 240

pytestmark = pytest.mark.once

# A python3 whose pip installs nothing: these tests need no packages.
NO_PIP = """#!/bin/sh
for argument; do case $argument in --target=*) mkdir -p "${argument#--target=}" ;; esac; done
"""


def masked(text: str) -> str:
    """Commands without the time of the submission and the script's own folder."""
    return re.sub(r"[^\s=]*/tmp\.\w+", "WORK", re.sub(r"\d{8}-\d{6}", "RUN", text))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The project's files in a folder of their own, and a python3 that installs nothing."""
    folder = tmp_path / "source"
    copy_project(folder)
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").write_text(NO_PIP)
    (folder / "bin" / "python3").chmod(0o755)
    return folder


def run_script(
    source: Path, environment: dict[str, str], job: str, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs the submit script to its end."""
    path = f"{source / 'bin'}:{environment.get('PATH', '/usr/bin:/bin')}"
    return subprocess.run(
        [source / "jobs" / "submit.sh", job, *arguments],
        env=environment | {"PATH": path} | SETTINGS | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project that deploy.sh has deployed to; what is new in it is known after 30 seconds."""
    project = Project(tmp_path / "clock", visible_after=30)
    services = ("cloudbuild", "artifactregistry", "storage", "secretmanager", "iam")
    project.enabled |= {f"{name}.googleapis.com": 0 for name in services}
    project.accounts[BUILDER] = 0
    for bucket in ("acme-backups", SOURCES):
        project.buckets[bucket] = {"name": bucket, "id": bucket, "projectNumber": "424242"}
    project.repositories["hiring"] = {"format": "DOCKER"}
    project.secrets["hiring-jobs-password"] = [{"name": "1", "state": "ENABLED", "data": ""}]
    for resource, role in BUILD_RIGHTS.items():
        binding = {"role": role, "members": [f"serviceAccount:{BUILDER}"]}
        project.policies[resource] = {"version": 1, "etag": "AAAA", "bindings": [binding]}
    yield project
    project.close()


Submit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def submit(source: Path, project: Project, tmp_path: Path) -> Iterator[Submit]:
    """Runs the submit script, with gcloud connected to the project; skipped without gcloud."""
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed")
    with Gcloud(tmp_path / "gcloud", project).running() as gcloud:
        yield partial(run_script, source, gcloud.environment)


def commands(text: str) -> list[str]:
    """The commands in a text, one a line; an indented line continues the line before it."""
    lines = re.sub(r"\n +", " ", text).splitlines()
    return [shlex.join(shlex.split(line)) for line in lines if line]


ACCOUNT = f"""
iam service-accounts create hiring-jobs
    --display-name="Backups and forecasts on Dataproc and Vertex AI" --project=acme
storage buckets add-iam-policy-binding gs://acme-backups --condition=None --member={MEMBER}
    --role=roles/storage.objectUser --project=acme
"""
WORKER = f"""
projects add-iam-policy-binding acme --condition=None --member={MEMBER}
    --role=roles/dataproc.worker --project=acme
"""
UPLOAD = """
storage cp WORK/packages.tar.gz gs://acme-backups/hiring/jobs/RUN/packages.tar.gz --project=acme
"""
PROPERTIES = ",".join(
    [
        "--properties=spark.dynamicAllocation.enabled=false",
        "spark.executor.instances=2",
        "spark.executor.cores=4",
        "spark.dataproc.driverEnv.PYTHONPATH=./packages",
        "spark.executorEnv.PYTHONPATH=./packages",
        "spark.dataproc.driverEnv.GOOGLE_CLOUD_PROJECT=acme",
        "spark.executorEnv.GOOGLE_CLOUD_PROJECT=acme",
        "spark.dataproc.driverEnv.GCS_PATH=gs://acme-backups/hiring",
    ]
)
BATCH = """--region=europe-west1 --version=2.3
    --service-account=hiring-jobs@acme.iam.gserviceaccount.com --deps-bucket=gs://acme-backups
    --archives=gs://acme-backups/hiring/jobs/RUN/packages.tar.gz#packages"""

BACKUP = f"""
services enable dataproc.googleapis.com --project=acme
{ACCOUNT}{WORKER}
secrets create hiring-jobs-password --replication-policy=user-managed
    --locations=europe-west1 --project=acme
secrets versions add hiring-jobs-password --data-file=- --format=value(name.basename())
    --project=acme
secrets add-iam-policy-binding hiring-jobs-password --condition=None --member={MEMBER}
    --role=roles/secretmanager.secretAccessor --project=acme
{UPLOAD}
dataproc batches submit pyspark jobs/distributed_backup.py --batch=hiring-backup-RUN {BATCH}
    {PROPERTIES},spark.dataproc.driverEnv.DB_HOST=10.1.2.3,\
spark.dataproc.driverEnv.DB_NAME=hiring,spark.dataproc.driverEnv.DB_USER=sparks,\
spark.dataproc.driverEnv.DB_PASS_SECRET=\
projects/acme/secrets/hiring-jobs-password/versions/latest --project=acme -- --workers=8
"""
IMAGE = "europe-west1-docker.pkg.dev/acme/hiring/forecast:RUN"
FORECAST = f"""
services enable aiplatform.googleapis.com --project=acme
{ACCOUNT}
projects add-iam-policy-binding acme --condition=None --member={MEMBER}
    --role=roles/logging.logWriter --project=acme
builds submit WORK/image --config=deploy/cloudbuild.yaml --substitutions=_IMAGE={IMAGE}
    --region=europe-west1 --suppress-logs
    --service-account=projects/acme/serviceAccounts/hiring-build@acme.iam.gserviceaccount.com
    --gcs-source-staging-dir=gs://run-sources-acme-europe-west1/forecast --project=acme
ai custom-jobs create --region=europe-west1 --display-name=hiring-forecast-RUN
    --service-account=hiring-jobs@acme.iam.gserviceaccount.com
    --worker-pool-spec=machine-type=e2-standard-4,replica-count=1,container-image-uri={IMAGE}
    --command=env,GCS_PATH=gs://acme-backups/hiring,DB_NAME=hiring,GOOGLE_CLOUD_PROJECT=acme,python,-m,jobs.forecast
    --project=acme
"""
EXPECTED = {"backup": BACKUP, "forecast": FORECAST}


@pytest.mark.parametrize("job", JOBS)
def test_dry_run_calls_nothing_and_prints_every_command(source: Path, job: str) -> None:
    """It works without gcloud, and prints each command that would change something."""
    answer = run_script(source, {}, job, "--dry-run")
    assert (answer.returncode, answer.stderr) == (0, "")
    printed = [line for line in masked(answer.stdout).splitlines() if line.startswith("gcloud ")]
    assert [shlex.join(shlex.split(line)[1:]) for line in printed] == commands(EXPECTED[job])


@pytest.mark.parametrize(
    ("job", "missing"),
    [("backup", ["DB_NAME", "JOBS_DB_HOST"]), ("forecast", ["REGION"])],
)
def test_missing_settings_are_named_before_anything_is_called(
    source: Path, job: str, missing: list[str]
) -> None:
    """An empty setting is named as a missing one; without gcloud, no call could succeed."""
    answer = run_script(source, {}, job, **dict.fromkeys(missing, ""))
    assert answer.stderr == (
        f"submit.sh: missing in the environment and in deploy.env: {' '.join(missing)} "
        "(deploy/deploy.env.example explains them)\n"
    )
    assert (answer.returncode, answer.stdout) == (1, "")


@pytest.mark.parametrize(("job", "argument"), [("backup", "--ranges=8"), ("forecast", "x")])
def test_an_unknown_argument_is_refused(source: Path, job: str, argument: str) -> None:
    """A mistyped argument is named, and nothing is called."""
    answer = run_script(source, {}, job, argument)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.endswith(f"submit.sh: unknown argument: {argument}\n")


def imports(folder: Path, module: str) -> None:
    """Checks that a module can be imported from `folder` alone."""
    script = f"import {module}; print({module}.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(folder)


def submitted(project: Project, answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one job that a submission left."""
    assert answer.returncode == 0, answer.stdout + answer.stderr
    ((_, job),) = project.jobs.items()
    return job


@pytest.mark.deployment
def test_a_backup_is_submitted_with_its_options_and_every_module(
    submit: Submit, project: Project, tmp_path: Path
) -> None:
    """A new account with its rights runs the batch, whose archive has all modules of the driver."""
    answer = submit("backup", "--workers=16", JOBS_SUBNET="inside")
    batch = submitted(project, answer)
    spark = batch["pysparkBatch"]
    (packed,) = spark["archiveUris"]
    assert spark["args"] == ["--workers=16"]
    execution = batch["environmentConfig"]["executionConfig"]
    assert execution == {"serviceAccount": JOBS_ACCOUNT, "subnetworkUri": "inside"}
    properties = batch["runtimeConfig"]["properties"]
    assert properties["spark.executor.instances"] == "4"
    assert properties["spark.dataproc.driverEnv.DB_HOST"] == "10.1.2.3"
    assert properties["spark.dataproc.driverEnv.DB_PASS_SECRET"].endswith("/versions/latest")
    assert not any("DB_PASS" in name for name in properties if not name.endswith("DB_PASS_SECRET"))
    assert rights_of(project, MEMBER) == {
        ("bucket acme-backups", "roles/storage.objectUser"),
        ("project", "roles/dataproc.worker"),
        ("secret hiring-jobs-password", "roles/secretmanager.secretAccessor"),
    }
    assert packed.endswith("/packages.tar.gz#packages")
    name = packed.removeprefix("gs://acme-backups/").partition("#")[0]
    with tarfile.open(fileobj=io.BytesIO(project.objects["acme-backups", name])) as archive:
        archive.extractall(tmp_path / "packages", filter="data")
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    imports(tmp_path / "packages", "jobs.distributed_backup")


@pytest.mark.deployment
def test_a_forecast_is_built_with_no_more_rights_and_submitted(
    submit: Submit, project: Project, tmp_path: Path
) -> None:
    """The image has all that it copies and imports; the build's account gets no further right."""
    job = submitted(project, submit("forecast"))
    assert rights_of(project, f"serviceAccount:{BUILDER}") == set(BUILD_RIGHTS.items())
    (pool,) = job["jobSpec"]["workerPoolSpecs"]
    image = tmp_path / "image"
    archive = project.images[pool["containerSpec"]["imageUri"]]["archive"]
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(image, filter="data")
    copied = re.findall(r"^COPY (\S+) (\S+)$", (image / "Dockerfile").read_text(), re.MULTILINE)
    assert all((image / source).exists() for source, _ in copied)
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    imports(image, "jobs.forecast")


def rights_of(project: Project, member: str) -> set[tuple[str, str]]:
    """The roles that a member has, each with what it is for."""
    return {
        (resource, binding["role"])
        for resource, policy in project.policies.items()
        for binding in policy["bindings"]
        if member in binding["members"]
    }


@pytest.mark.deployment
def test_a_build_that_fails_is_named_and_nothing_is_submitted(
    submit: Submit, project: Project
) -> None:
    """The step is named, and no job is submitted that would wait for an image."""
    project.build_fails = True
    answer = submit("forecast")
    assert (answer.returncode, project.jobs) == (1, {})
    assert "submit.sh: failed: build the image. " in answer.stderr


@pytest.mark.deployment
@pytest.mark.parametrize(
    ("job", "missing"),
    [
        ("backup", "bucket gs://acme-backups"),
        ("forecast", "service account hiring-build"),
    ],
)
def test_what_deploy_makes_is_asked_for_before_anything_is_made(
    submit: Submit, project: Project, job: str, missing: str
) -> None:
    """A submission before a deployment says at once to run deploy.sh first."""
    project.accounts.clear()
    project.secrets.clear()
    if job == "backup":
        project.buckets.clear()
    answer = submit(job)
    assert (answer.returncode, project.accounts, project.now) == (1, {}, 0)
    assert answer.stderr == (f"submit.sh: failed: {missing} is missing; run ./deploy.sh first\n")
