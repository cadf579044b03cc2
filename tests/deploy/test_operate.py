"""The operator's commands as Cloud Run jobs, run against a real server and the storage emulator."""

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, Bucket, Database
from control_plane import Gcloud, Project, functions, run_jobs
from control_plane.server import Refused
from support import get
from test_deploy import (  # noqa: F401 - fixtures
    NETWORK,
    SETTINGS,
    Deployment,
    refuse_each_call,
    refused,
    rights,
    source,
)
from test_grants import STATEMENTS
from test_schedule import put_backup_function
from werkzeug.test import Client

pytestmark = [pytest.mark.once, pytest.mark.deployment]

BUILDER = "hiring-build@acme.iam.gserviceaccount.com"
PASSWORDS = {"operate": "first secret", "drill": "second secret"}
ROWS = {"departments": 2, "jobs": 1, "employees": 40}


@pytest.fixture
def project(tmp_path: Path, database: Database, bucket: Bucket) -> Iterator[Project]:
    """A project that deploy.sh has deployed to, with the tests' server and storage behind it."""
    users = {"hiring_operate", "hiring_drill"}
    project = Project(tmp_path / "clock", visible_after=30, database_users=users)
    services = ("run", "cloudbuild", "artifactregistry", "storage", "secretmanager", "iam")
    project.enabled |= {f"{name}.googleapis.com": 0 for name in (*services, "sqladmin")}
    project.enabled |= {"sql-component.googleapis.com": 0}
    project.accounts[BUILDER] = 0
    sources = "run-sources-acme-europe-west1"
    for name in (bucket.name, sources):
        project.buckets[name] = {"name": name, "id": name, "projectNumber": "424242"}
    project.repositories["hiring"] = {"format": "DOCKER"}
    for resource, role in {
        f"bucket {sources}": "roles/storage.objectViewer",
        "repository hiring": "roles/artifactregistry.writer",
        "project": "roles/logging.logWriter",
    }.items():
        binding = {"role": role, "members": [f"serviceAccount:{BUILDER}"]}
        project.policies[resource] = {"version": 1, "etag": "AAAA", "bindings": [binding]}
    put_backup_function(project)
    project.accounts["hiring-backup@acme.iam.gserviceaccount.com"] = 0
    password = base64.b64encode(database.environment["DB_PASS"].encode()).decode()
    version = {"name": "projects/424242/secrets/x/versions/1", "state": "ENABLED"}
    project.secrets["hiring-backup-password"] = [version | {"data": password}]
    project.reaches = bucket.environment | {"DB_SOCKET": database.environment["DB_SOCKET"]}
    del project.reaches["GCS_PATH"]
    yield project
    project.close()


@pytest.fixture
def gcloud(project: Project, tmp_path: Path) -> Iterator[Gcloud]:
    """The real gcloud, connected to the project."""
    with Gcloud(tmp_path / "bin", project).running() as gcloud:
        yield gcloud


@pytest.fixture
def users(database: Database) -> Iterator[None]:
    """The two database users, with the rights of `grants.sql` and no others."""
    ours = {f"hiring_{who}": password for who, password in PASSWORDS.items()}
    for user, password in ours.items():
        database.execute(f"CREATE USER {user}@'%%' IDENTIFIED BY %s", (password,))
    for statement in STATEMENTS:
        if statement.partition(" TO ")[2].partition("@")[0] in ours:
            statement = statement.replace("hiring_drill.", f"`{database.name}_drill`.")
            database.execute(statement.replace("hiring.", f"{database.name}."))
    yield
    for user in ours:
        database.execute(f"DROP USER {user}@'%'")


def manifests(bucket: Bucket) -> list[str]:
    """The manifests of the backups, oldest first."""
    return sorted(name for name in bucket.blobs() if name.endswith("manifest.json"))


def count(database: Database) -> dict[str, int]:
    return {table: database.execute(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ROWS}


def execute(gcloud: Gcloud, job: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Starts a job as docs/deploy.md prints it, and waits for its end."""
    command = ["gcloud", "run", "jobs", "execute", job, "--region=europe-west1", "--wait"]
    if arguments:
        command.append(f"--args={','.join(arguments)}")
    return subprocess.run(
        [*command, "--project=acme"],
        env=gcloud.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def settings_of(database: Database, bucket: Bucket) -> dict[str, str]:
    """Settings of deploy.sh for the tests' server and storage."""
    return {
        "GCS_PATH": f"gs://{bucket.name}/hiring",
        "DB_NAME": database.name,
        "DB_USER_BACKUP": database.environment["DB_USER"],
        "INSTANCE_CONNECTION_NAME": SETTINGS["INSTANCE_CONNECTION_NAME"],
    }


def printed(command: str, **words: str) -> str:
    """The commands of docs/deploy.md whose block holds `command`, with the reader's own words."""
    text = (PROJECT / "docs/deploy.md").read_text()
    block: str
    (block,) = (each for each in re.findall(r"(?:^    .*\n)+", text, re.M) if command in each)
    for word, own in words.items():
        block = re.sub(rf"\b{word}\b", own, block)
    return block


def type_in(gcloud: Gcloud, commands: str, folder: Path) -> None:
    """Runs commands as somebody types them, whose gcloud has a default project."""
    environment = gcloud.environment | {"CLOUDSDK_CORE_PROJECT": "acme"}
    subprocess.run(["bash", "-ec", commands], cwd=folder, env=environment, check=True, timeout=300)


def test_old_images_and_archives_are_cleaned_up(
    project: Project, gcloud: Gcloud, tmp_path: Path
) -> None:
    """The two commands of docs/deploy.md, as printed, give Google the rules that they name."""
    commands = printed("set-cleanup-policies", REGION="europe-west1", PROJECT="acme")
    type_in(gcloud, commands, tmp_path)
    old, newest = (project.repositories["hiring"]["cleanupPolicies"][n] for n in ("old", "newest"))
    assert (old["action"], old["condition"]) == ("Delete", {"olderThan": f"{30 * 86400}.0s"})
    assert (newest["action"], newest["mostRecentVersions"]) == ("Keep", {"keepCount": 5})
    (rule,) = project.buckets["run-sources-acme-europe-west1"]["lifecycle"]["rule"]
    assert (rule["action"]["type"], rule["condition"]["age"]) == ("Delete", 30)


@pytest.mark.usefixtures("refused")
def test_each_call_of_operate_that_is_refused_names_its_step(
    source: Path, project: Project, gcloud: Gcloud, database: Database, bucket: Bucket
) -> None:
    """A 403 ends the run with the step's name, a 503 is waited out; then the jobs are there."""
    settings = settings_of(database, bucket) | {"OPERATE_MAY_DELETE": "yes"}
    unrefused = refuse_each_call(Deployment(source, gcloud), project, "operate", **settings)
    assert unrefused == ["gcloud", "login", f"instance {SETTINGS['INSTANCE_CONNECTION_NAME']}"]
    assert set(project.run_jobs) == {"hiring-operate", "hiring-drill", "hiring-backup"}


def test_jobs_over_a_network(
    source: Path,
    project: Project,
    gcloud: Gcloud,
    database: Database,
    bucket: Bucket,
) -> None:
    """With DB_HOST the jobs have the network and the certificates, and no socket any more."""
    deployment, settings = Deployment(source, gcloud), settings_of(database, bucket)
    deployment.run("operate", **settings, OPERATE_MAY_DELETE="yes").check()
    assert (f"bucket {bucket.name}", "storage.objectUser") in rights(project)["hiring-operate"]
    project.networks["office"] = {"functions": "europe-west1"}
    project.enabled["compute.googleapis.com"] = 0
    deployment.run("operate", **settings, **NETWORK).check()
    assert (f"bucket {bucket.name}", "storage.objectUser") not in rights(project)["hiring-operate"]
    assert len(project.run_jobs) == 3
    for job in project.run_jobs.values():
        task = run_jobs.task_of(job)
        variables = functions.variables_of({"spec": task["spec"]})
        assert variables["DB_HOST"] == NETWORK["DB_HOST"]
        assert variables["DB_SSL_CA"] in functions.files_of(task)
        assert functions.network_of(task) == ("office", "functions")
        assert not task["metadata"]["annotations"].get(functions.SOCKETS)
        assert "INSTANCE_CONNECTION_NAME" not in variables


def test_the_life_of_the_jobs(
    source: Path,
    project: Project,
    gcloud: Gcloud,
    users: None,
    database: Database,
    bucket: Bucket,
    client: Client,
    tmp_path: Path,
) -> None:
    """After a truncation one job restores the tables, another drills, and `delete` removes both."""
    content: dict[str, list[tuple[object, ...]]] = {
        "departments": [(1, "Sales"), (2, "Núñez")],
        "jobs": [(1, "Clerk")],
        "employees": [(n, f"Ada {n}", "2021-06-01", 1 + n % 2, 1) for n in range(1, 41)],
    }
    for table, rows in content.items():
        database.insert(table, rows)
    _, backup = get(client, "/backup-data")
    sums = database.execute("CHECKSUM TABLE departments, jobs, employees")
    deployment, settings = Deployment(source, gcloud), settings_of(database, bucket)
    deployment.run("operate", **settings, OPERATE_MAY_DELETE="yes").check()
    assert rights(project)["hiring-operate"] == {
        ("project", "cloudsql.client"),
        (f"bucket {bucket.name}", "storage.objectCreator"),
        (f"bucket {bucket.name}", "storage.objectViewer"),
        (f"bucket {bucket.name}", "storage.objectUser"),
        ("secret hiring-operate-password", "secretmanager.secretAccessor"),
    }
    for name, job in project.run_jobs.items():
        task = job["spec"]["template"]["spec"]["template"]["spec"]
        seconds = f"{(7 if name == 'hiring-backup' else 1) * 86400}"
        assert (task["maxRetries"], task["timeoutSeconds"]) == (0, seconds)
        variables = functions.variables_of({"spec": task})
        assert variables["TASK_TIMEOUT_SECONDS"] == seconds

    assert get(client, "/truncate-tables")[0] == 200
    assert count(database) == dict.fromkeys(ROWS, 0)
    restored = execute(gcloud, "hiring-operate", "restore", backup["backup"], "--replace", "--yes")
    last = [*project.executions.values()][-1]
    assert restored.returncode == 0, restored.stderr + last["log"]
    assert database.execute("CHECKSUM TABLE departments, jobs, employees") == sums
    for line in last["log"].splitlines():
        assert json.loads(line)["severity"]
    assert execute(gcloud, "hiring-backup").returncode == 0
    assert len(manifests(bucket)) == 2
    # Without arguments it only lists.
    assert execute(gcloud, "hiring-operate").returncode == 0
    assert execute(gcloud, "hiring-operate", "restore", "gs://nowhere/x").returncode == 1
    assert execute(gcloud, "hiring-operate", "check").returncode == 0

    deployment.run("schedule", **settings).check()
    calls = {name: job["schedule"] for name, job in project.scheduled.items()}
    assert calls == {
        "backup-data-nightly": "0 3 * * *",
        "backup-data-age": "0 5 * * *",
        "hiring-drill-monthly": "0 6 1 * *",
        "backup-data-drill-age": "0 5 * * *",
    }
    assert ("job hiring-drill", "run.invoker") in rights(project)["hiring-schedule"]
    assert not any(resource == "job hiring-operate" for resource in project.policies)
    drilled = run_jobs.start_scheduled(project, "hiring-drill-monthly")
    assert drilled["exit"] == 0, drilled["log"]
    assert (drilled["output"], '"result": "good"' in drilled["log"]) == ("", True)
    assert get(client, "/backup-data?max_drill_age_days=35")[0] == 200
    assert database.execute("CHECKSUM TABLE departments, jobs, employees") == sums
    project.policies["job hiring-drill"]["bindings"] = []
    with pytest.raises(Refused):
        run_jobs.start_scheduled(project, "hiring-drill-monthly")

    # Tables from CSV files, the night's backup by the job, and an old backup less.
    assert get(client, "/truncate-tables")[0] == 200
    for table in ROWS:
        lines = [",".join(map(str, row)) for row in content[table]]
        bucket.blob(f"csv/{table}.csv").upload_from_string("\n".join(lines))
    assert execute(gcloud, "hiring-operate", "import", f"gs://{bucket.name}/csv").returncode == 0
    assert database.execute("CHECKSUM TABLE departments, jobs, employees") == sums
    words = {"REGION": "europe-west1", "PROJECT": "acme"}
    type_in(gcloud, printed("jobs/hiring-backup:run", **words), tmp_path)
    assert run_jobs.start_scheduled(project, "backup-data-nightly")["exit"] == 0
    before, prune = manifests(bucket), ("prune", "--keep-last=2", "--keep-days=0")
    assert len(before) == 3
    assert execute(gcloud, "hiring-operate", *prune).returncode == 0
    assert manifests(bucket) == before[1:]

    deployment.run("delete", "--yes", **settings).check()
    gone = (project.run_jobs, project.scheduled, project.services, rights(project))
    assert gone == ({}, {}, {}, {})
