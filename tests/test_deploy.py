"""`deploy.sh`: which gcloud commands it makes, in which order, and what would be uploaded."""

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import real_gcloud

ROOT = Path(__file__).parent.parent

SETTINGS = {
    "PROJECT_ID": "acme",
    "REGION": "europe-west1",
    "INSTANCE_CONNECTION_NAME": "acme:europe-west1:people",
    "GCS_PATH": "gs://acme-backups/hiring",
    "DB_NAME": "hiring",
    "DB_USER_REPORTS": "reader",
    "DB_USER_CHANGES": "keeper",
}

# A gcloud that logs each call as a line of JSON and keeps what was created as empty files.
RECORDER = """#!{python} -IS
import json, sys
from pathlib import Path

HERE = Path(__file__).parent
*command, project = sys.argv[1:]
with (HERE / "log").open("a") as log:
    entry = {{"command": command, "project": project, "stdin": len(sys.stdin.read())}}
    log.write(json.dumps(entry) + "\\n")

failure = HERE / "failure"
if failure.exists():
    where, message = failure.read_text().split("\\n", 1)
    if " ".join(command).startswith(where):
        sys.exit(f"ERROR: (gcloud) {{message}}")

verbs = [word for word in command if word in ("create", "add", "deploy", "describe", "delete")]
if not verbs:
    sys.exit()
group, rest = command[: command.index(verbs[0])], command[command.index(verbs[0]) + 1 :]
name = [word for word in rest if word not in ("http", "latest")][0]
name = name.removeprefix("--secret=").removeprefix("gs://").partition("@")[0]
thing = HERE / "-".join(["state", *group, name])
if verbs[0] in ("create", "add", "deploy"):
    thing.touch()
elif not thing.exists():
    sys.exit(f"ERROR: (gcloud) NOT_FOUND: {{name}}")
elif verbs[0] == "delete":
    thing.unlink()
elif "--format=value(serviceConfig.uri)" in rest:
    print(f"https://{{name}}-x.a.run.app")
elif group == ["storage", "buckets"] and len(rest) == 2:
    print((HERE / "bucket").read_text())
"""

READER_MEMBER = "serviceAccount:hiring-reports@acme.iam.gserviceaccount.com"
KEEPER_MEMBER = "serviceAccount:hiring-changes@acme.iam.gserviceaccount.com"
ONLY_PEOPLE = """--condition="title=only-people,expression=resource.name == \
'projects/acme/instances/people' && resource.type == 'sqladmin.googleapis.com/Instance'" """

SERVICES = """
services enable cloudfunctions.googleapis.com run.googleapis.com cloudbuild.googleapis.com
    artifactregistry.googleapis.com sqladmin.googleapis.com storage.googleapis.com
    secretmanager.googleapis.com iam.googleapis.com
"""
FIRST_ACCOUNTS = """
iam service-accounts describe hiring-reports@acme.iam.gserviceaccount.com
iam service-accounts create hiring-reports --display-name="Reports of the hiring database"
iam service-accounts describe hiring-changes@acme.iam.gserviceaccount.com
iam service-accounts create hiring-changes
    --display-name="Backup and truncation of the hiring database"
iam service-accounts describe hiring-build@acme.iam.gserviceaccount.com
iam service-accounts create hiring-build --display-name="Builds the hiring functions"
"""
ACCOUNTS_THERE = """
iam service-accounts describe hiring-reports@acme.iam.gserviceaccount.com
iam service-accounts describe hiring-changes@acme.iam.gserviceaccount.com
iam service-accounts describe hiring-build@acme.iam.gserviceaccount.com
"""
BUILD_RIGHTS = """
projects add-iam-policy-binding acme --condition=None
    --member=serviceAccount:hiring-build@acme.iam.gserviceaccount.com
    --role=roles/cloudbuild.builds.builder
"""
FIRST_BUCKET = """
storage buckets describe gs://acme-backups
storage buckets create gs://acme-backups --location=europe-west1
    --uniform-bucket-level-access --public-access-prevention --soft-delete-duration=7d
"""
BUCKET_THERE = """
storage buckets describe gs://acme-backups
storage buckets describe gs://acme-backups --format="value[separator=' '](\
uniform_bucket_level_access,public_access_prevention,soft_delete_policy.retentionDurationSeconds)"
"""
FIRST_PASSWORDS = """
secrets describe hiring-reports-password
secrets create hiring-reports-password --replication-policy=automatic
secrets versions describe latest --secret=hiring-reports-password
secrets versions add hiring-reports-password --data-file=-
secrets describe hiring-changes-password
secrets create hiring-changes-password --replication-policy=automatic
secrets versions describe latest --secret=hiring-changes-password
secrets versions add hiring-changes-password --data-file=-
"""
PASSWORDS_THERE = """
secrets describe hiring-reports-password
secrets versions describe latest --secret=hiring-reports-password
secrets describe hiring-changes-password
secrets versions describe latest --secret=hiring-changes-password
"""
RIGHTS = f"""
projects add-iam-policy-binding acme --member={READER_MEMBER} --role=roles/cloudsql.client
    {ONLY_PEOPLE}
secrets add-iam-policy-binding hiring-reports-password --member={READER_MEMBER}
    --role=roles/secretmanager.secretAccessor
projects add-iam-policy-binding acme --member={KEEPER_MEMBER} --role=roles/cloudsql.client
    {ONLY_PEOPLE}
secrets add-iam-policy-binding hiring-changes-password --member={KEEPER_MEMBER}
    --role=roles/secretmanager.secretAccessor
storage buckets add-iam-policy-binding gs://acme-backups --condition=None
    --member={KEEPER_MEMBER} --role=roles/storage.objectUser
"""
BUILD_ACCOUNT = "projects/acme/serviceAccounts/hiring-build@acme.iam.gserviceaccount.com"


def report(name: str, entry_point: str, access: str = "--allow-unauthenticated") -> str:
    return f"""
functions deploy {name} --gen2 --region=europe-west1 --runtime=python313 --source=. --trigger-http
    --entry-point={entry_point} {access}
    --service-account=hiring-reports@acme.iam.gserviceaccount.com
    --build-service-account={BUILD_ACCOUNT}
    --set-env-vars=THREADS=8,CLOUD_RUN_TIMEOUT_SECONDS=60,DB_USER=reader,DB_NAME=hiring,\
INSTANCE_CONNECTION_NAME=acme:europe-west1:people
    --set-secrets=DB_PASS=hiring-reports-password:latest --clear-vpc-connector
    --memory=512Mi --cpu=1 --timeout=60s --concurrency=8 --max-instances=5
run services update {name} --region=europe-west1 --add-cloudsql-instances=acme:europe-west1:people
"""


def change(name: str, entry_point: str) -> str:
    return f"""
functions deploy {name} --gen2 --region=europe-west1 --runtime=python313 --source=. --trigger-http
    --entry-point={entry_point} --no-allow-unauthenticated
    --service-account=hiring-changes@acme.iam.gserviceaccount.com
    --build-service-account={BUILD_ACCOUNT}
    --set-env-vars=CLOUD_RUN_TIMEOUT_SECONDS=3600,GCS_PATH=gs://acme-backups/hiring,\
DB_USER=keeper,DB_NAME=hiring,INSTANCE_CONNECTION_NAME=acme:europe-west1:people
    --set-secrets=DB_PASS=hiring-changes-password:latest --clear-vpc-connector
    --memory=1Gi --cpu=2 --timeout=3600s --concurrency=1 --max-instances=2
run services update {name} --region=europe-west1 --add-cloudsql-instances=acme:europe-west1:people
"""


def invoker(name: str, member: str) -> str:
    return f"""
run services add-iam-policy-binding {name} --region=europe-west1
    --member={member} --role=roles/run.invoker
"""


FUNCTIONS = (
    report("quarterly-hired", "quarterly_hired")
    + report("hiring-by-department", "hiring_by_department")
    + change("backup-data", "backup_data")
    + change("truncate-tables", "truncar_tablas")
)
URLS = "".join(
    f"functions describe {name} --region=europe-west1 --format='value(serviceConfig.uri)'\n"
    for name in ("quarterly-hired", "hiring-by-department", "backup-data", "truncate-tables")
)
PREPARE_FIRST = SERVICES + FIRST_ACCOUNTS + BUILD_RIGHTS + FIRST_BUCKET + FIRST_PASSWORDS + RIGHTS
PREPARE_AGAIN = SERVICES + ACCOUNTS_THERE + BUILD_RIGHTS + BUCKET_THERE + PASSWORDS_THERE + RIGHTS

SCHEDULE_JOB = """--location=europe-west1
    --uri=https://backup-data-x.a.run.app --http-method=POST
    --oidc-service-account-email=hiring-schedule@acme.iam.gserviceaccount.com
    --oidc-token-audience=https://backup-data-x.a.run.app
    --attempt-deadline=30m --max-retry-attempts=0"""
SCHEDULE_RIGHTS = (
    invoker("backup-data", "serviceAccount:hiring-schedule@acme.iam.gserviceaccount.com")
    + """
functions describe backup-data --region=europe-west1 --format='value(serviceConfig.uri)'
scheduler jobs describe backup-data-nightly --location=europe-west1
"""
)
DELETE = """
scheduler jobs describe backup-data-nightly --location=europe-west1
functions describe quarterly-hired --region=europe-west1
functions delete quarterly-hired --region=europe-west1
functions describe hiring-by-department --region=europe-west1
functions delete hiring-by-department --region=europe-west1
functions describe backup-data --region=europe-west1
functions delete backup-data --region=europe-west1
functions describe truncate-tables --region=europe-west1
functions delete truncate-tables --region=europe-west1
"""


def commands(text: str) -> list[str]:
    """One command a line as gcloud gets it; an indented line goes on with the one before."""
    lines = re.sub(r"\n +", " ", text).splitlines()
    return [shlex.join(shlex.split(line)) for line in lines if line]


@dataclass
class Project:
    """A copy of `deploy.sh` in an empty folder, and what its recording gcloud has seen."""

    folder: Path

    def deploy(
        self, *arguments: str, passwords: str = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"}
        return subprocess.run(
            [self.folder / "deploy.sh", *arguments],
            env=environment | SETTINGS | settings,
            input=passwords,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self) -> list[dict]:
        """What gcloud was called with since the last look."""
        log = self.folder / "bin" / "log"
        if not log.exists():
            return []
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        return entries

    def commands(self) -> list[str]:
        return [shlex.join(entry["command"]) for entry in self.calls()]

    def fail_at(self, command: str, message: str = "PERMISSION_DENIED: not yours") -> None:
        (self.folder / "bin" / "failure").write_text(f"{command}\n{message}")

    def recover(self) -> None:
        (self.folder / "bin" / "failure").unlink()

    def bucket(self, settings: str) -> None:
        (self.folder / "bin" / "bucket").write_text(settings)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    shutil.copy(ROOT / "deploy.sh", tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.write_text(RECORDER.format(python=sys.executable))
    gcloud.chmod(0o755)
    project = Project(tmp_path)
    project.bucket("True enforced 604800")
    return project


@pytest.fixture
def deployed(project: Project) -> Project:
    """A project after a first deployment."""
    project.deploy(passwords="one\ntwo\n").check_returncode()
    project.calls()
    return project


def test_a_first_deployment_makes_everything_in_order(project):
    """The services, accounts, bucket, passwords and rights come before what needs them."""
    answer = project.deploy(passwords="one\ntwo\n")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert project.commands() == commands(PREPARE_FIRST + FUNCTIONS + URLS)


def test_it_ends_with_the_four_urls_and_a_line_to_call_each(project):
    """The private two are called with an identity token; the truncation's line only counts."""
    token = '-H "Authorization: Bearer $(gcloud auth print-identity-token)"'
    assert project.deploy(passwords="one\ntwo\n").stdout.splitlines()[-9:] == [
        "- the four URLs",
        "quarterly-hired: https://quarterly-hired-x.a.run.app",
        "  curl 'https://quarterly-hired-x.a.run.app?year=2021'",
        "hiring-by-department: https://hiring-by-department-x.a.run.app",
        "  curl 'https://hiring-by-department-x.a.run.app?year=2021'",
        "backup-data: https://backup-data-x.a.run.app",
        f"  curl {token} 'https://backup-data-x.a.run.app'",
        "truncate-tables: https://truncate-tables-x.a.run.app",
        f"  curl {token} 'https://truncate-tables-x.a.run.app?dry_run=true'",
    ]


def test_a_second_deployment_creates_nothing_and_asks_for_no_password(deployed):
    """What exists is kept; rights, functions and the attached socket are stated again."""
    answer = deployed.deploy()
    assert (answer.returncode, answer.stderr) == (0, "")
    assert deployed.commands() == commands(PREPARE_AGAIN + FUNCTIONS + URLS)


def test_private_reports_are_open_to_the_invokers_alone(deployed):
    """`PUBLIC_REPORTS=no` closes the reports; every closed function admits each of `INVOKERS`."""
    members = ["user:ana@example.com", "group:data@example.com"]
    answer = deployed.deploy(PUBLIC_REPORTS="no", INVOKERS=", ".join(members))

    def invokers(name: str) -> str:
        return "".join(invoker(name, member) for member in members)

    closed = "--no-allow-unauthenticated"
    assert deployed.commands() == commands(
        PREPARE_AGAIN
        + report("quarterly-hired", "quarterly_hired", closed)
        + invokers("quarterly-hired")
        + report("hiring-by-department", "hiring_by_department", closed)
        + invokers("hiring-by-department")
        + change("backup-data", "backup_data")
        + invokers("backup-data")
        + change("truncate-tables", "truncar_tablas")
        + invokers("truncate-tables")
        + URLS
    )
    assert answer.stdout.count("print-identity-token") == 4


def test_a_public_report_needs_no_invoker(deployed):
    """`INVOKERS` are admitted to what is not public, and only there."""
    deployed.deploy(INVOKERS="user:ana@example.com")
    granted = [line.split()[3] for line in deployed.commands() if "roles/run.invoker" in line]
    assert granted == ["backup-data", "truncate-tables"]


@pytest.mark.parametrize("everyone", ["allUsers", "user:a@example.com, allAuthenticatedUsers"])
def test_backup_and_truncation_are_never_open_to_everyone(project, everyone):
    """`INVOKERS` does not take the members that stand for everybody."""
    answer = project.deploy(INVOKERS=everyone)
    assert answer.stderr == f"deploy.sh: INVOKERS names people and accounts, not: {everyone}\n"
    assert (answer.returncode, project.commands()) == (1, [])


STEPS = commands(PREPARE_FIRST + FUNCTIONS + URLS)
HALFWAY = [
    "storage buckets create gs://acme-backups",
    "secrets versions add hiring-changes-password",  # its secret is there then, but empty
    "run services update quarterly-hired",
]


def check_recovery(project: Project, step: int) -> None:
    """A failing step is the last one called and is named; the next run does all that is left."""
    project.fail_at(" ".join(shlex.split(STEPS[step])))
    answer = project.deploy(passwords="one\ntwo\n")
    assert answer.returncode == 1
    assert re.search(r"^deploy\.sh: failed: \S.*", answer.stderr, re.MULTILINE)
    assert project.commands() == STEPS[: step + 1]

    project.recover()
    assert project.deploy(passwords="one\ntwo\n").returncode == 0
    created = [line for line in STEPS[:step] if " create " in line or " add " in line]
    assert [line for line in project.commands() if " describe " not in line] == [
        line for line in STEPS if " describe " not in line and line not in created
    ]


@pytest.mark.parametrize("command", HALFWAY)
def test_after_a_failure_halfway_a_second_run_completes(project, command):
    """Where a first run ended between two things that belong together, the second joins them."""
    check_recovery(project, [line.startswith(command) for line in STEPS].index(True))


@pytest.mark.slow
@pytest.mark.parametrize("step", range(len(STEPS)), ids=lambda step: f"step{step}")
def test_after_a_failure_at_any_step_a_second_run_completes(project, step):
    """Each single command may be the one that fails."""
    check_recovery(project, step)


def test_a_failing_step_says_what_it_was_and_what_gcloud_said(project):
    """The reader learns both without a search through the output."""
    project.fail_at("functions deploy backup-data", "Build failed")
    answer = project.deploy(passwords="one\ntwo\n")
    assert answer.stderr == (
        "ERROR: (gcloud) Build failed\n"
        "deploy.sh: failed: function backup-data. "
        "What is done so far stays; run it again to go on.\n"
    )


def test_a_describe_that_fails_otherwise_is_not_taken_for_absence(project):
    """A missing permission, whose message doubts that the thing exists, creates nothing."""
    denied = "PERMISSION_DENIED: 'secrets.get' denied on resource (or it may not exist)."
    project.fail_at("secrets describe", denied)
    answer = project.deploy(passwords="one\ntwo\n")
    assert answer.stderr == (
        "deploy.sh: failed: secret hiring-reports-password (looking whether it exists): "
        f"ERROR: (gcloud) {denied}\n"
    )
    assert project.commands()[-1] == "secrets describe hiring-reports-password"


@pytest.mark.parametrize(
    "settings",
    ["False enforced 604800", "True inherited 604800", "True enforced 86400", "True enforced"],
)
def test_a_bucket_that_protects_too_little_is_refused_not_changed(deployed, settings):
    """A bucket that was there before may serve others: its owner is told the command."""
    deployed.bucket(settings)
    answer = deployed.deploy()
    assert answer.stderr == (
        "deploy.sh: gs://acme-backups exists, but without uniform access, public access prevention "
        "or seven days of soft delete. Name another bucket, or change this one: gcloud storage "
        "buckets update gs://acme-backups --uniform-bucket-level-access --public-access-prevention "
        "--soft-delete-duration=7d\n"
    )
    assert deployed.commands() == commands(SERVICES + ACCOUNTS_THERE + BUILD_RIGHTS + BUCKET_THERE)


def test_a_bucket_that_keeps_deleted_objects_longer_is_fine(deployed):
    """Seven days of soft delete are the least, not the rule."""
    deployed.bucket("True enforced 7776000")
    assert deployed.deploy().returncode == 0


def test_dry_run_calls_nothing_and_prints_every_command(project):
    """What it prints is what a first deployment calls, but for the looks whether things exist."""
    answer = project.deploy("--dry-run", PATH="/usr/bin:/bin")
    assert (answer.returncode, answer.stderr) == (0, "")
    printed = [line for line in answer.stdout.splitlines() if line.startswith("gcloud ")]
    first = commands(PREPARE_FIRST)
    expected = [line for line in first if " describe " not in line] + commands(FUNCTIONS + URLS)
    assert [shlex.split(line) for line in printed] == [
        ["gcloud", *shlex.split(line), "--project=acme"] for line in expected
    ]
    assert project.deploy("--dry-run").returncode == 0
    assert project.calls() == []


def test_dry_run_of_schedule_and_delete_calls_nothing_either(project):
    """Both print their commands, each marked with the condition it stands under."""
    schedule = project.deploy("schedule", "--dry-run").stdout
    delete = project.deploy("delete", "--dry-run").stdout
    assert schedule.count("\ngcloud scheduler jobs create http backup-data-nightly ") == 1
    assert re.findall(r"# if it exists:\ngcloud (\w+ (?:jobs )?delete \S+)", delete) == [
        "scheduler jobs delete backup-data-nightly",
        "functions delete quarterly-hired",
        "functions delete hiring-by-department",
        "functions delete backup-data",
        "functions delete truncate-tables",
    ]
    assert project.calls() == []


@pytest.mark.parametrize("missing", [["PROJECT_ID"], ["REGION", "DB_NAME"], list(SETTINGS)])
def test_missing_settings_are_named_all_at_once_before_anything_is_called(project, missing):
    """An empty setting is a missing one."""
    answer = project.deploy(**dict.fromkeys(missing, ""))
    assert answer.stderr == (
        f"deploy.sh: missing in the environment and in deploy.env: {' '.join(missing)} "
        "(deploy/deploy.env.example explains them)\n"
    )
    assert (answer.returncode, project.calls()) == (1, [])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PUBLIC_REPORTS", "maybe", "PUBLIC_REPORTS is yes or no, not: maybe"),
        ("DB_NAME", "a,b", "DB_NAME holds a quote, a space or a comma: a,b"),
        ("GCS_PATH", '"b"', 'GCS_PATH holds a quote, a space or a comma: "b"'),
        (
            "GCS_PATH",
            "gs:/bucket",
            "GCS_PATH is bucket, bucket/folder or gs://bucket/folder, not: gs:/bucket",
        ),
        (
            "INSTANCE_CONNECTION_NAME",
            "people",
            (
                "INSTANCE_CONNECTION_NAME is project:region:instance or "
                "domain:project:region:instance, not: people"
            ),
        ),
    ],
)
def test_a_malformed_setting_is_refused_before_anything_is_called(project, name, value, message):
    """The message holds the setting, its form and what was found."""
    answer = project.deploy(**{name: value})
    assert (answer.returncode, answer.stderr) == (1, f"deploy.sh: {message}\n")
    assert project.calls() == []


def test_an_unknown_argument_is_refused(project):
    """A typo never means a deployment."""
    answer = project.deploy("shedule")
    assert answer.returncode == 1
    assert answer.stderr.endswith("deploy.sh: unknown argument: shedule\n")
    assert project.calls() == []


def test_deploy_env_is_read_and_the_environment_wins(project):
    """The example file holds every setting, and is valid as it stands."""
    shutil.copy(ROOT / "deploy" / "deploy.env.example", project.folder / "deploy.env")
    answer = subprocess.run(
        [project.folder / "deploy.sh", "--dry-run"],
        env={"PATH": "/usr/bin:/bin", "REGION": "us-east1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "--project=my-project" in answer.stdout
    assert "--region=us-east1" in answer.stdout
    assert "--region=europe-west1" not in answer.stdout


def test_an_unknown_name_in_deploy_env_is_refused(project):
    """A mistyped name is not silently left out."""
    (project.folder / "deploy.env").write_text("# ours\n\nPROJEKT_ID=acme\n")
    answer = project.deploy()
    assert answer.stderr == (
        "deploy.sh: deploy.env: unknown setting: PROJEKT_ID "
        "(deploy/deploy.env.example has them all)\n"
    )
    assert (answer.returncode, project.calls()) == (1, [])


def test_a_project_of_a_domain_is_taken_apart_rightly(project):
    """In domain:project:region:instance the first two name the project, of which accounts are."""
    answer = project.deploy(
        passwords="one\ntwo\n",
        PROJECT_ID="example.com:acme",
        INSTANCE_CONNECTION_NAME="example.com:acme:europe-west1:people",
    )
    assert answer.returncode == 0
    calls = project.calls()
    assert {call["project"] for call in calls} == {"--project=example.com:acme"}
    recorded = [shlex.join(call["command"]) for call in calls]
    member = "serviceAccount:hiring-reports@acme.example.com.iam.gserviceaccount.com"
    condition = ONLY_PEOPLE.replace("projects/acme/", "projects/example.com:acme/")
    assert [line for line in recorded if f"{member} --role=roles/cloudsql" in line] == commands(
        "projects add-iam-policy-binding example.com:acme "
        f"--member={member} --role=roles/cloudsql.client {condition}"
    )
    assert (
        "run services update backup-data --region=europe-west1 "
        "--add-cloudsql-instances=example.com:acme:europe-west1:people" in recorded
    )


def test_a_vpc_connector_is_used_where_it_is_named(deployed):
    """An instance with a private address is reached through it, by all four."""
    deployed.deploy(VPC_CONNECTOR="inside")
    deploys = [line for line in deployed.commands() if line.startswith("functions deploy")]
    assert ["--vpc-connector=inside" in line for line in deploys] == [True] * 4
    assert ["--clear-vpc-connector" in line for line in deploys] == [False] * 4


def test_a_password_is_in_no_argument_and_no_output(project):
    """It reaches gcloud on standard input alone, whatever is in it, and no other call reads any."""
    passwords = [r"päss 'wörd\n $(id) %s ", "-n second"]
    answer = project.deploy(passwords="\n".join(passwords))
    calls = project.calls()
    assert answer.returncode == 0
    seen = answer.stdout + answer.stderr + json.dumps(calls, ensure_ascii=False)
    assert [password in seen for password in passwords] == [False, False]
    assert [(call["command"][2:4], call["stdin"]) for call in calls if call["stdin"]] == [
        (["add", "hiring-reports-password"], len(passwords[0])),
        (["add", "hiring-changes-password"], len(passwords[1])),
    ]


def test_each_line_is_one_users_even_where_only_one_is_needed(project):
    """The second line is the changes' password also when the reports' is kept already."""
    project.fail_at("secrets versions add hiring-changes-password")
    project.deploy(passwords="one\ntwotwo\n")
    project.recover()
    project.calls()
    project.deploy(passwords="one\ntwotwo\n")
    assert [call["stdin"] for call in project.calls() if call["stdin"]] == [len("twotwo")]


def test_an_empty_password_is_refused(project):
    """A run without a terminal and without passwords stops at the first that it needs."""
    answer = project.deploy()
    assert answer.stderr == (
        "deploy.sh: failed: password of database user reader: "
        "no password for database user reader was given\n"
    )
    assert project.commands()[-1] == (
        "secrets versions describe latest --secret=hiring-reports-password"
    )


def test_a_terminal_asks_without_showing_what_is_typed(project):
    """Each password is asked for by its user's name; the terminal echoes neither."""
    ours, theirs = pty.openpty()
    script = subprocess.Popen(
        [project.folder / "deploy.sh"],
        env={"PATH": f"{project.folder / 'bin'}:/usr/bin:/bin"} | SETTINGS,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with script:
        os.close(theirs)
        asked = b""
        for user, password in (("reader", b"swordfish\n"), ("keeper", b"opensesame\n")):
            while not asked.endswith(f"database user {user}: ".encode()):
                read = os.read(script.stderr.fileno(), 100)
                assert read, asked
                asked += read
            os.write(ours, password)
        asked += script.stderr.read()
    os.set_blocking(ours, False)
    try:
        shown = os.read(ours, 1000)
    except OSError:  # nothing to read: nothing was shown
        shown = b""
    os.close(ours)
    assert script.returncode == 0
    assert asked == b"Password of database user reader: \nPassword of database user keeper: \n"
    assert shown == b""
    assert [call["stdin"] for call in project.calls() if call["stdin"]] == [9, 10]


def test_schedule_lets_one_account_call_the_backup_every_night(deployed):
    """Thirty minutes for the attempt, no retry, and a token of an account with that right only."""
    assert deployed.deploy("schedule").returncode == 0
    assert deployed.commands() == commands(
        f"""
services enable cloudscheduler.googleapis.com
iam service-accounts describe hiring-schedule@acme.iam.gserviceaccount.com
iam service-accounts create hiring-schedule --display-name="Calls the nightly backup"
{SCHEDULE_RIGHTS}
scheduler jobs create http backup-data-nightly {SCHEDULE_JOB}
    --schedule="0 3 * * *" --time-zone=Etc/UTC
"""
    )


def test_scheduling_again_keeps_the_hour_that_someone_chose(deployed):
    """An existing job gets the URL and the limits again, but no schedule."""
    deployed.deploy("schedule")
    deployed.calls()
    assert deployed.deploy("schedule").returncode == 0
    assert deployed.commands() == commands(
        f"""
services enable cloudscheduler.googleapis.com
iam service-accounts describe hiring-schedule@acme.iam.gserviceaccount.com
{SCHEDULE_RIGHTS}
scheduler jobs update http backup-data-nightly {SCHEDULE_JOB}
"""
    )


def test_delete_removes_the_job_and_the_functions_and_nothing_else(deployed):
    """Bucket, secrets, accounts and database stay; a second run finds nothing to do."""
    deployed.deploy("schedule")
    deployed.calls()
    assert deployed.deploy("delete").returncode == 0
    job = "scheduler jobs describe backup-data-nightly --location=europe-west1\n"
    assert deployed.commands() == commands(
        DELETE.replace(job, job + job.replace("describe", "delete"))
    )
    assert deployed.deploy("delete").returncode == 0
    assert [line for line in deployed.commands() if " describe " not in line] == []


def test_delete_works_where_the_scheduler_was_never_enabled(deployed):
    """A service that is off holds no job."""
    deployed.fail_at("scheduler jobs", "PERMISSION_DENIED: not used before. SERVICE_DISABLED")
    assert deployed.deploy("delete").returncode == 0
    assert deployed.commands() == commands(DELETE)


def test_help_explains_in_about_ten_lines(project):
    """It needs no setting and calls nothing."""
    answer = project.deploy("--help", **dict.fromkeys(SETTINGS, ""))
    assert (answer.returncode, answer.stderr, project.calls()) == (0, "", [])
    assert answer.stdout.startswith("Usage: ./deploy.sh [--dry-run] [schedule | delete]\n")
    assert len(answer.stdout.splitlines()) <= 12


def test_the_real_gcloud_accepts_every_command(deployed, tmp_path):
    """Its own check of names and values finds nothing in any command that the script makes."""
    deployed.deploy("schedule")
    deployed.deploy("schedule")
    deployed.deploy("delete")
    deployed.deploy(
        VPC_CONNECTOR="inside", PUBLIC_REPORTS="no", INVOKERS="user:ana@example.com", passwords=""
    )
    made = commands(PREPARE_FIRST + FUNCTIONS) + deployed.commands()
    real_gcloud.check([f"gcloud {line} --project=acme" for line in dict.fromkeys(made)], tmp_path)
