"""The jobs' submit scripts: the gcloud commands that they run, and the modules that they pack."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import real_gcloud

ROOT = Path(__file__).parent.parent

SETTINGS = {
    "PROJECT_ID": "acme",
    "REGION": "europe-west1",
    "GCS_PATH": "gs://acme-backups/hiring",
    "DB_NAME": "hiring",
    "DB_USER_REPORTS": "reader",
    "JOBS_DB_HOST": "10.1.2.3",
}
JOBS = ("backup", "analysis", "forecast")
MEMBER = "serviceAccount:hiring-jobs@acme.iam.gserviceaccount.com"

# A gcloud that logs its calls as lines of JSON, keeps uploaded and built files, and finds nothing.
RECORDER = """#!{python} -IS
import json, shutil, sys
from pathlib import Path

HERE = Path(__file__).parent
with (HERE / "log").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["storage", "cp"]:
    shutil.copy(sys.argv[3], HERE / "packages.tar.gz")
if sys.argv[1:3] == ["builds", "submit"]:
    shutil.copytree(sys.argv[3], HERE / "image")
if "describe" in sys.argv:
    sys.exit("ERROR: (gcloud) NOT_FOUND: it")
if sys.argv[1:] and sys.argv[1] == (HERE / "failure").read_text():
    sys.exit("ERROR: (gcloud) PERMISSION_DENIED: not yours")
"""
# A python3 whose pip installs nothing: these tests need no packages.
NO_PIP = """#!/bin/sh
for argument; do case $argument in --target=*) mkdir -p "${argument#--target=}" ;; esac; done
"""


def masked(text: str) -> str:
    """Commands without the time of the submission and the script's own folder."""
    return re.sub(r"[^\s=]*/tmp\.\w+", "WORK", re.sub(r"\d{8}-\d{6}", "RUN", text))


@dataclass
class Project:
    """A copy of the scripts and of the modules that they pack, with the recording gcloud."""

    folder: Path

    def submit(
        self, job: str, *arguments: str, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "jobs" / f"submit-{job}.sh", *arguments],
            env={"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"} | SETTINGS | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self) -> list[list[str]]:
        log = self.folder / "bin" / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def commands(self) -> list[str]:
        """The calls, with the time of the submission and the folder of the script masked."""
        return masked("\n".join(shlex.join(call) for call in self.calls())).splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for pattern in ("*.py", "deploy/*", "requirements.txt", "jobs/*", "loading/*", "hiring/**/*"):
        for file in ROOT.glob(pattern):
            if file.is_file():
                target = tmp_path / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
    (tmp_path / "bin").mkdir()
    for name, script in (("gcloud", RECORDER.format(python=sys.executable)), ("python3", NO_PIP)):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin" / "failure").write_text("nothing")
    return Project(tmp_path)


def commands(text: str) -> list[str]:
    """The commands in a text, one a line; an indented line continues the line before it."""
    lines = re.sub(r"\n +", " ", text).splitlines()
    return [shlex.join(shlex.split(line)) for line in lines if line]


ACCOUNT = f"""
iam service-accounts create hiring-jobs
    --display-name="Backups, analyses and forecasts on Dataproc and Vertex AI" --project=acme
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
        "spark.speculation=false",
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

ANALYSIS = f"""
services enable dataproc.googleapis.com --project=acme
{ACCOUNT}{WORKER}{UPLOAD}
dataproc batches submit pyspark jobs/analysis.py --batch=hiring-analysis-RUN {BATCH}
    {PROPERTIES},spark.dataproc.driverEnv.DB_NAME=hiring --project=acme
"""
BACKUP = f"""
services enable dataproc.googleapis.com secretmanager.googleapis.com --project=acme
{ACCOUNT}{WORKER}
secrets add-iam-policy-binding hiring-reports-password --member={MEMBER}
    --role=roles/secretmanager.secretAccessor --project=acme
{UPLOAD}
dataproc batches submit pyspark jobs/distributed_backup.py --batch=hiring-backup-RUN {BATCH}
    {PROPERTIES},spark.dataproc.driverEnv.DB_HOST=10.1.2.3,\
spark.dataproc.driverEnv.DB_NAME=hiring,spark.dataproc.driverEnv.DB_USER=reader,\
spark.dataproc.driverEnv.DB_PASS_SECRET=\
projects/acme/secrets/hiring-reports-password/versions/latest --project=acme
"""
IMAGE = "europe-west1-docker.pkg.dev/acme/hiring/forecast:RUN"
FORECAST = f"""
services enable aiplatform.googleapis.com artifactregistry.googleapis.com
    cloudbuild.googleapis.com --project=acme
{ACCOUNT}
projects add-iam-policy-binding acme --condition=None --member={MEMBER}
    --role=roles/logging.logWriter --project=acme
artifacts repositories create hiring --location=europe-west1 --repository-format=docker
    --project=acme
storage buckets add-iam-policy-binding gs://run-sources-acme-europe-west1 --condition=None
    --member=serviceAccount:hiring-build@acme.iam.gserviceaccount.com
    --role=roles/storage.objectUser --project=acme
builds submit WORK/image --tag={IMAGE} --region=europe-west1
    --service-account=projects/acme/serviceAccounts/hiring-build@acme.iam.gserviceaccount.com
    --gcs-source-staging-dir=gs://run-sources-acme-europe-west1/forecast/source
    --gcs-log-dir=gs://run-sources-acme-europe-west1/forecast/log --project=acme
ai custom-jobs create --region=europe-west1 --display-name=hiring-forecast-RUN
    --service-account=hiring-jobs@acme.iam.gserviceaccount.com
    --worker-pool-spec=machine-type=e2-standard-4,replica-count=1,container-image-uri={IMAGE}
    --command=env,GCS_PATH=gs://acme-backups/hiring,DB_NAME=hiring,GOOGLE_CLOUD_PROJECT=acme,python,-m,jobs.forecast
    --project=acme
"""
EXPECTED = {"backup": BACKUP, "analysis": ANALYSIS, "forecast": FORECAST}


@pytest.mark.parametrize("job", JOBS)
def test_a_submission_makes_what_is_missing_and_submits(project: Project, job: str) -> None:
    """A submission creates account, rights and packed job before the commands that need them."""
    answer = project.submit(job)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert project.commands() == commands(EXPECTED[job])


@pytest.mark.parametrize("job", JOBS)
def test_dry_run_calls_nothing_and_prints_every_command(project: Project, job: str) -> None:
    """A dry run prints the commands of a submission, except `describe`, and runs none of them."""
    answer = project.submit(job, "--dry-run", PATH="/usr/bin:/bin")
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = [
        shlex.split(line)
        for line in masked(answer.stdout).splitlines()
        if line.startswith("gcloud ")
    ]
    assert [shlex.join(line[1:]) for line in lines] == [
        line for line in commands(EXPECTED[job]) if " describe " not in line
    ]
    assert project.calls() == []


def test_the_backups_options_are_passed_on(project: Project) -> None:
    """The backup's options are passed on after `--`."""
    assert project.submit("backup", "--ranges=64", "--allow-changes").returncode == 0
    assert project.commands()[-1].endswith(" --project=acme -- --ranges=64 --allow-changes")


def test_a_subnet_is_used_if_it_is_set(project: Project) -> None:
    """Both jobs on Dataproc use the subnet in JOBS_SUBNET."""
    for job in ("backup", "analysis"):
        project.submit(job, JOBS_SUBNET="inside")
    batches = [line for line in project.commands() if line.startswith("dataproc batches")]
    assert ["--subnet=inside" in line for line in batches] == [True, True]


@pytest.mark.parametrize(
    ("job", "missing"),
    [("backup", ["DB_NAME", "JOBS_DB_HOST"]), ("analysis", ["GCS_PATH"]), ("forecast", ["REGION"])],
)
def test_missing_settings_are_named_before_any_command(
    project: Project, job: str, missing: list[str]
) -> None:
    """Missing or empty settings are named before any command runs."""
    answer = project.submit(job, **dict.fromkeys(missing, ""))
    assert answer.stderr == (
        f"submit-{job}.sh: missing in the environment and in deploy.env: {' '.join(missing)} "
        "(deploy/deploy.env.example explains them)\n"
    )
    assert (answer.returncode, project.calls()) == (1, [])


@pytest.mark.parametrize(
    ("job", "argument"), [("analysis", "--ranges=8"), ("backup", "--ranges=0"), ("forecast", "x")]
)
def test_an_unknown_argument_is_refused(project: Project, job: str, argument: str) -> None:
    """An unknown argument is refused before any command runs."""
    answer = project.submit(job, argument)
    assert answer.returncode == 1
    assert answer.stderr.endswith(f"submit-{job}.sh: unknown argument: {argument}\n")
    assert project.calls() == []


def test_a_failing_step_is_named_and_is_the_last(project: Project) -> None:
    """A failing step is named after gcloud's error, and is the last one; no folder is left."""
    (project.folder / "bin" / "failure").write_text("builds")
    answer = project.submit("forecast")
    assert answer.returncode == 1
    assert answer.stderr == (
        "ERROR: (gcloud) PERMISSION_DENIED: not yours\n"
        "submit-forecast.sh: failed: build the image. "
        "What is done so far stays; run it again to go on.\n"
    )
    (build,) = (call for call in project.calls() if call[0] == "builds")
    assert project.calls()[-1] == build
    assert not Path(build[2]).exists()


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


def test_dataproc_gets_every_module(project: Project, tmp_path: Path) -> None:
    """The archive for Dataproc has every module that its jobs import."""
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    assert project.submit("backup").returncode == 0
    with tarfile.open(project.folder / "bin" / "packages.tar.gz") as archive:
        archive.extractall(tmp_path / "packages", filter="data")
    for module in ("jobs.distributed_backup", "jobs.analysis"):
        imports(tmp_path / "packages", module)


def test_vertex_gets_every_module(project: Project) -> None:
    """The image's folder has every module that the job imports and every file that it copies."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    assert project.submit("forecast").returncode == 0
    image = project.folder / "bin" / "image"
    imports(image, "jobs.forecast")
    copied = re.findall(r"^COPY (\S+) (\S+)$", (image / "Dockerfile").read_text(), re.MULTILINE)
    assert all((image / source).exists() for source, _ in copied)


def test_the_real_gcloud_accepts_every_command(project: Project, tmp_path: Path) -> None:
    """The real gcloud's own check accepts every command that the scripts run."""
    for job in JOBS:
        arguments = ["--ranges=64", "--allow-changes"] if job == "backup" else []
        assert project.submit(job, *arguments, JOBS_SUBNET="inside").returncode == 0
    # gcloud accepts a #, but its check does not.
    calls = [[each.removesuffix("#packages") for each in call] for call in project.calls()]
    lines = dict.fromkeys(shlex.join(["gcloud", *call]) for call in calls)
    real_gcloud.check(list(lines), tmp_path)
