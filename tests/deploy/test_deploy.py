"""deploy.sh works with the real gcloud against a fake control plane of Google that keeps state."""

import base64
import copy
import io
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import PROJECT
from control_plane import Fault, Gcloud, Project
from control_plane.refusals import ROWS
from control_plane.resources import certificate, email_of
from control_plane.server import Raw
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from support import copy_project

FUNCTIONS = ("quarterly-hired", "hiring-by-department", "backup-data", "truncate-tables")
CHANGES = ("backup-data", "truncate-tables")
SOCKET = "acme:europe-west1:people"
SETTINGS = {
    "PROJECT_ID": "acme",
    "REGION": "europe-west1",
    "INSTANCE_CONNECTION_NAME": SOCKET,
    "GCS_PATH": "gs://acme-backups/hiring",
    "DB_NAME": "hiring",
    "DB_USER_REPORTS": "reader",
    "PUBLIC_REPORTS": "no",
    "REPORT_READERS": "user:ana@example.com",
    "BACKUP_CALLERS": "user:ben@example.com",
    "TRUNCATION_CALLERS": "user:cleo@example.com",
}
PASSWORDS = "first secret\nsecond secret\nthird secret\n"
USERS = frozenset({"reader", "hiring_backup", "hiring_truncation"})
ACCOUNTS = ("hiring-reports", "hiring-backup", "hiring-truncation")
LOCK = (PROJECT / "deploy/requirements.lock").read_bytes()
SECONDS = 1200

pytestmark = pytest.mark.once


class Done(NamedTuple):
    """The result of a run: exit status, output and errors."""

    status: int
    output: str
    errors: str

    def check(self) -> None:
        """Checks that the run ended well and reported no error."""
        assert (self.status, self.errors) == (0, ""), self.output + self.errors


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the project's files."""
    folder = tmp_path / "source"
    copy_project(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project without enabled services, in which a new account is known after 30 seconds."""
    project = Project(tmp_path / "clock", visible_after=30, database_users=set(USERS))
    yield project
    project.close()


class Deployment:
    """Runs deploy.sh in the source folder, with gcloud connected to the project."""

    def __init__(self, source: Path, gcloud: Gcloud) -> None:
        self._source = source
        self._gcloud = gcloud

    def run(self, *arguments: str, **settings: str) -> Done:
        """Runs deploy.sh with these settings in place of the usual ones; no file of it stays."""
        folder = self._gcloud.folder / "temporary"
        folder.mkdir(exist_ok=True)
        environment = self._gcloud.environment | {"TMPDIR": str(folder)}
        done = run_script(self._source, environment, *arguments, **settings)
        assert list(folder.iterdir()) == []
        return done

    def log_in_as_account(self) -> str:
        """Has gcloud deploy with a service account's key from now on; returns its member."""
        email = "deployer@acme.iam.gserviceaccount.com"
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        key_file = {"type": "service_account", "private_key": key.decode(), "private_key_id": "1"}
        self._gcloud.log_in(key_file | {"client_email": email, "client_id": "1"})
        return f"serviceAccount:{email}"


def run_script(source: Path, environment: dict[str, str], *arguments: str, **settings: str) -> Done:
    """Runs deploy.sh to its end."""
    done = subprocess.run(
        ["./deploy.sh", *arguments],
        cwd=source,
        env=environment | SETTINGS | settings,
        input=PASSWORDS,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def deployment(source: Path, project: Project, tmp_path: Path) -> Iterator[Deployment]:
    """A `Deployment`; skips the test if gcloud is not installed."""
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed")
    with Gcloud(tmp_path / "bin", project).running() as gcloud:
        yield Deployment(source, gcloud)


def rights(project: Project) -> dict[str, set[tuple[str, str]]]:
    """The rights of each of our accounts, those that are gone included: resource and role."""
    held: dict[str, set[tuple[str, str]]] = {}
    for resource, policy in project.policies.items():
        for binding in policy.get("bindings", []):
            for member in binding["members"]:
                if "serviceAccount:" in member:
                    name = member.partition("serviceAccount:")[2].partition("@")[0]
                    role = binding["role"].removeprefix("roles/")
                    held.setdefault(name, set()).add((resource, role))
    return held


def never_open(project: Project) -> None:
    """Checks that no function that changes data was public at any moment."""
    for moment in project.history:
        assert moment.name not in CHANGES or "allUsers" not in moment.callers


# With the real gcloud


@pytest.mark.slow
def test_a_fresh_project_gets_four_functions_that_answer(
    deployment: Deployment, project: Project
) -> None:
    """One run takes a project with every service off to four closed functions with sockets."""
    key = "projects/acme/locations/eu/keyRings/hiring/cryptoKeys/backups"
    done = deployment.run(BACKUP_LOCATION="EU", BACKUP_RETENTION="30d", BACKUP_KEY=key)
    done.check()
    made = project.buckets["acme-backups"]
    assert (made["location"], made["encryption"]) == ("EU", {"defaultKmsKeyName": key})
    assert made["retentionPolicy"] == {"retentionPeriod": str(30 * 86400)}
    assert "retentionPolicy" not in project.buckets["run-sources-acme-europe-west1"]
    assert done.output.endswith("4 of 4 answered\n")
    last = {moment.name: moment for moment in project.history}
    assert {name: moment.socket for name, moment in last.items()} == dict.fromkeys(
        FUNCTIONS, SOCKET
    )
    assert {name: set(moment.callers) for name, moment in last.items()} == {
        "quarterly-hired": {"user:ana@example.com"},
        "hiring-by-department": {"user:ana@example.com"},
        "backup-data": {"user:ben@example.com"},
        "truncate-tables": {"user:cleo@example.com"},
    }
    assert {moment.secrets for moment in last.values()} == {
        ("hiring-reports-password:1",),
        ("hiring-backup-password:1",),
        ("hiring-truncation-password:1",),
    }
    assert not any("allUsers" in moment.callers for moment in project.history)
    stored = [base64.b64decode(versions[0]["data"]) for versions in project.secrets.values()]
    assert stored == [b"first secret", b"second secret", b"third secret"]
    for (bucket, name), content in project.objects.items():
        assert bucket == "run-sources-acme-europe-west1", name
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert {"main.py", "db.py", "hiring/logs.py"} <= set(archive.namelist())
            assert archive.read("requirements.txt") == LOCK
    for word in PASSWORDS.splitlines():
        assert word not in done.output


@pytest.mark.deployment
def test_a_second_run_changes_no_access_and_never_lacks_a_socket(
    deployment: Deployment, project: Project
) -> None:
    """A second run, by a service account, keeps callers, sockets and passwords."""
    assert deployment.run().status == 0
    last = {moment.name: moment for moment in project.history}
    before = len(project.history)
    project.owners |= {deployment.log_in_as_account()}
    again = deployment.run()
    again.check()
    assert again.output.endswith("4 of 4 answered\n")
    for moment in project.history[before:]:
        assert moment.socket == SOCKET
        assert moment.callers == last[moment.name].callers
    assert [len(versions) for versions in project.secrets.values()] == [1, 1, 1]


@pytest.mark.deployment
def test_closing_comes_first_and_holds_although_the_build_fails(
    deployment: Deployment, project: Project
) -> None:
    """Members that left a list, and everyone after yes became no, lose their right first."""
    assert deployment.run(PUBLIC_REPORTS="yes").status == 0
    assert "allUsers" in project.history[-1].callers
    project.build_fails = True
    failed = deployment.run(REPORT_READERS="", TRUNCATION_CALLERS="")
    assert failed.status == 1
    assert "failed: function quarterly-hired: build and deploy" in failed.errors
    assert "allUsers may no longer call quarterly-hired" in failed.output
    assert "user:cleo@example.com may no longer call truncate-tables" in failed.output
    last = {moment.name: moment for moment in project.history}
    assert {name: set(moment.callers) for name, moment in last.items()} == {
        "quarterly-hired": set(),
        "hiring-by-department": set(),
        "backup-data": {"user:ben@example.com"},
        "truncate-tables": set(),
    }
    never_open(project)


def refuse_each_call(
    deployment: Deployment, project: Project, *arguments: str, **settings: str
) -> list[str]:
    """Runs deploy.sh to its end, with each call of gcloud refused first; see refused.sh.

    Returns:
        The steps that made no call which could be refused.
    """
    refused = project.clock.with_name("refused")
    refused.write_text("")
    settings |= {"REFUSAL": str(project.refusal), "REFUSED": str(refused)}
    done = deployment.run(*arguments, PUBLIC_REPORTS="yes", **settings)
    done.check()
    ends = [line.split("|") for line in refused.read_text().splitlines()]
    assert {status for status, _ in ends} == {"1"}
    named = [said.removeprefix("deploy.sh: failed: ").partition(". ")[0] for _, said in ends]
    taken = re.findall(r"(?m)^- (.*)", done.output)
    assert [step for step in named if step not in taken] == []
    never_open(project)
    return [step for step in taken if step not in named]


@pytest.fixture
def refused(source: Path) -> None:
    """Has the source folder's deploy.sh meet a refusal at each call; see refused.sh."""
    with (source / "deploy/delete.sh").open("a") as last_part:
        last_part.write((PROJECT / "tests/support/control_plane/refused.sh").read_text())


@pytest.mark.deployment
@pytest.mark.usefixtures("refused")
def test_each_call_of_a_first_run_that_is_refused_names_its_step(
    deployment: Deployment, project: Project
) -> None:
    """A 403 ends the run with the step's name, a 503 is waited out, nothing is open meanwhile."""
    assert refuse_each_call(deployment, project) == [
        "gcloud",
        "login",
        "who may no longer call",
        f"instance {SOCKET}",
        "source of the functions, with locked packages",
        "four builds side by side (this takes minutes)",
    ]
    assert set(project.services) == set(FUNCTIONS)
    callers = {moment.name: "allUsers" in moment.callers for moment in project.history}
    assert callers == {name: name not in CHANGES for name in FUNCTIONS}


@pytest.mark.deployment
@pytest.mark.usefixtures("refused")
def test_each_call_of_the_schedule_and_of_the_end_that_is_refused(
    deployment: Deployment, project: Project
) -> None:
    """`schedule` makes jobs and an alert; `delete` asks, and keeps the data; each call may fail."""
    assert deployment.run().status == 0
    channel = "projects/acme/notificationChannels/11"
    assert refuse_each_call(deployment, project, "schedule", ALERT_CHANNEL=channel) == ["gcloud"]
    assert list(project.scheduled) == ["backup-data-nightly", "backup-data-age"]
    assert len(project.alerts) == 3
    assert deployment.run("delete").status == 1
    assert refuse_each_call(deployment, project, "delete", "--yes") == ["gcloud", "what stays"]
    assert (project.services, project.scheduled, project.alerts) == ({}, {}, {})
    assert list(project.secrets) == [f"{name}-password" for name in ACCOUNTS]
    assert rights(project) == {}


@pytest.mark.deployment
def test_a_quota_that_is_used_up_is_named_and_the_next_run_goes_on(
    deployment: Deployment, project: Project
) -> None:
    """A function that could not be made is named; the next run makes it and the others."""
    creation = r"POST \S*run\.googleapis\.com/apis/\S*/services$"
    project.faults.append(Fault(creation, 429, "RESOURCE_EXHAUSTED", "Quota exceeded"))
    done = deployment.run()
    assert (done.status, "failed: function quarterly-hired" in done.errors) == (1, True)
    assert project.services == {}
    project.faults.clear()
    assert deployment.run().output.endswith("4 of 4 answered\n")


@pytest.mark.deployment
@pytest.mark.parametrize(
    ("bucket", "step"),
    [
        (
            "run-sources-acme-europe-west1",
            "rights of hiring-build: storage.objectViewer on gs://run-sources-acme-europe-west1",
        ),
        ("acme-backups", "bucket gs://acme-backups"),
    ],
)
def test_a_bucket_of_somebody_else_is_named(
    deployment: Deployment, project: Project, bucket: str, step: str
) -> None:
    """Nothing is stored in a bucket that has the right name but is another project's."""
    project.buckets[bucket] = {"name": bucket, "projectNumber": "666"}
    done = deployment.run()
    assert (done.status, f"deploy.sh: failed: {step}. " in done.errors) == (1, True), done.errors
    assert (project.objects, project.services) == ({}, {})


@pytest.mark.deployment
def test_an_instance_that_is_missing_is_named_before_anything_is_made(
    deployment: Deployment, project: Project
) -> None:
    """A wrong INSTANCE_CONNECTION_NAME is named before an account or a bucket is made."""
    project.instances.clear()
    done = deployment.run()
    assert done.status == 1
    assert "Is INSTANCE_CONNECTION_NAME right?" in done.errors
    assert (project.accounts, project.buckets) == ({}, {})


@pytest.mark.deployment
def test_an_organisation_that_forbids_all_users(deployment: Deployment, project: Project) -> None:
    """If a policy forbids allUsers or `global`, the error names the setting that works."""
    project.forbids_all_users = project.forbids_global = True
    done = deployment.run(PUBLIC_REPORTS="yes")
    assert done.status == 1
    assert "PUBLIC_REPORTS=no works" in done.errors
    # Everyone comes last.
    assert {"user:ben@example.com", "user:cleo@example.com"} <= {
        member for moment in project.history for member in moment.callers
    }
    assert deployment.run().output.endswith("4 of 4 answered\n")


def test_each_refusal_is_found_by_its_own_pattern() -> None:
    """Each text in the table has its row's pattern in it, or the status word that gcloud prints."""
    for row in ROWS.values():
        assert re.search(row.pattern, f"{row.moment}: {row.text}"), row.name


@pytest.mark.deployment
def test_what_passes_by_itself_is_waited_out(deployment: Deployment, project: Project) -> None:
    """A first run meets each refusal of Google's that passes, and ends well."""
    addresses = {
        "service off": "secretmanager.*addVersion",
        "not found": "setIamPolicy",
        "account unknown": "GET .*serviceAccounts|bucket.*iam",
        "account not to be used": "POST .*namespaces/acme/services",
        "source not to be read": "builds:submit",
        "quota used up": "builds:submit",
        "unavailable": "iam.googleapis.com",
        "changed meanwhile": "setIamPolicy",
    }
    project.faults = [Fault.once(address, name) for name, address in addresses.items()]
    project.firsts = {"image not to be read", "build failed"}
    met = addresses.keys() | project.firsts | {"secret not to be read"}
    assert {row.name for row in ROWS.values() if not {"present", "never"} & {row.meanings}} == met
    done = deployment.run()
    done.check()
    assert done.output.endswith("4 of 4 answered\n")
    assert "the build failed, perhaps because its account is new" in done.output
    assert project.firsts == set()


@pytest.mark.deployment
@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("builds:submit", "region without builds"),
        ("POST storage.*/b$", "policy forbids a place"),
    ],
)
def test_what_never_passes_comes_with_advice(
    deployment: Deployment, project: Project, address: str, name: str
) -> None:
    """A refusal that does not pass ends the run with the table's advice."""
    project.faults.append(Fault.once(address, name))
    done = deployment.run()
    assert done.status == 1
    assert ROWS[name].advice in done.errors


@pytest.mark.deployment
def test_a_database_user_is_missing(deployment: Deployment, project: Project) -> None:
    """The SQL for the missing users, and for no others, is printed before anything is made."""
    project.database_users -= {"hiring_truncation"}
    done = deployment.run(DB_NAME="people")
    assert done.status == 1
    assert done.errors.splitlines()[:6] == [
        "CREATE USER 'hiring_truncation'@'%' IDENTIFIED BY RANDOM PASSWORD;",
        "GRANT SELECT, DROP ON `people`.departments TO 'hiring_truncation'@'%';",
        "GRANT SELECT, DROP ON `people`.jobs TO 'hiring_truncation'@'%';",
        "GRANT SELECT, DROP ON `people`.employees TO 'hiring_truncation'@'%';",
        "GRANT LOCK TABLES ON `people`.* TO 'hiring_truncation'@'%';",
        "GRANT REFERENCES ON *.* TO 'hiring_truncation'@'%';",
    ]
    assert (project.accounts, project.buckets) == ({}, {})


# From version 1

BUCKET = "bucket acme-backups"
STORES = {(BUCKET, "storage.objectCreator"), (BUCKET, "storage.objectViewer")}


def expected_rights(**more: set[tuple[str, str]]) -> dict[str, set[tuple[str, str]]]:
    """The rights of the three accounts, and `more` of an account without its `hiring-`."""
    held = {
        name: {
            ("project", "cloudsql.client"),
            (f"secret {name}-password", "secretmanager.secretAccessor"),
        }
        for name in ACCOUNTS
    }
    for name, rights_ in more.items():
        held[f"hiring-{name}"] |= rights_
    return held


@pytest.mark.deployment
def test_from_version_1_to_the_end(deployment: Deployment, project: Project) -> None:
    """The account that backup and truncation shared goes when both have their own; then all goes.

    Only a backup that prunes may delete objects, and loses that right with the setting.
    """
    deploy_version_1(deployment, project)
    before = copy.deepcopy((project.services, project.policies, project.accounts))
    missing = project.database_users = {"reader", "hiring_changes"}
    asked = deployment.run()
    assert (asked.status, "CREATE USER 'hiring_backup'@" in asked.errors) == (1, True)
    assert (project.services, project.policies, project.accounts) == before
    since = len(project.history)
    project.database_users = missing | USERS
    done = deployment.run(KEEP_BACKUPS_WEEKS="8")
    done.check()
    assert done.output.endswith("4 of 4 answered\n")
    assert "DROP USER hiring_changes" in done.output
    assert email_of("hiring-changes") not in project.accounts
    held = {name: each for name, each in rights(project).items() if name != "hiring-build"}
    deletes = {(BUCKET, "storage.objectUser")}
    assert held == expected_rights(backup=STORES | deletes, truncation=STORES)
    deployment.run().check()
    held = {name: each for name, each in rights(project).items() if name != "hiring-build"}
    assert held == expected_rights(backup=STORES, truncation=STORES)
    # The old password serves until the new revisions do.
    of_changes = [moment for moment in project.history[since - 2 :] if moment.name in CHANGES]
    assert {moment.secrets for moment in of_changes} == {
        (f"hiring-{name}-password:1",) for name in ("changes", "backup", "truncation")
    }
    deployment.run("delete", "--yes").check()
    assert (project.services, project.accounts, rights(project)) == ({}, {}, {})
    never_open(project)


def deploy_version_1(deployment: Deployment, project: Project) -> None:
    """Makes what version 1 made: one account, password and right to delete for both changes."""
    assert deployment.run().status == 0
    old = "hiring-changes"
    project.accounts[email_of(old)] = 0.0
    project.secrets[f"{old}-password"] = project.secrets.pop("hiring-backup-password")
    del project.secrets["hiring-truncation-password"]
    for name in ("hiring-backup", "hiring-truncation"):
        del project.accounts[email_of(name)]
        for policy in project.policies.values():
            for binding in policy["bindings"]:
                members = set(binding["members"]) - {f"serviceAccount:{email_of(name)}"}
                binding["members"] = sorted(members)
            policy["bindings"] = [each for each in policy["bindings"] if each["members"]]
    project.accounts[email_of("hiring-jobs")] = 0.0
    for resource, role, name in [
        ("project", "roles/cloudsql.client", old),
        (BUCKET, "roles/storage.objectUser", old),
        (f"secret {old}-password", "roles/secretmanager.secretAccessor", old),
        ("secret hiring-reports-password", "roles/secretmanager.secretAccessor", "hiring-jobs"),
    ]:
        member = f"serviceAccount:{email_of(name)}"
        bindings = project.policies.setdefault(resource, {"etag": "AAAA", "bindings": []})
        bindings["bindings"].append({"role": role, "members": [member]})
    for name in CHANGES:
        template = project.services[name]["spec"]["template"]["spec"]
        template["serviceAccountName"] = email_of(old)
        (variable,) = (e for e in template["containers"][0]["env"] if e["name"] == "DB_PASS")
        variable["valueFrom"]["secretKeyRef"]["name"] = f"{old}-password"


# Over a network

NETWORK = {"DB_HOST": "10.1.2.3", "NETWORK": "office", "SUBNET": "functions"}


@pytest.fixture
def private(project: Project) -> dict[str, Any]:
    """The project's instance, without its public address, in the network of NETWORK."""
    project.networks["office"] = {"functions": "europe-west1", "elsewhere": "us-central1"}
    instance: dict[str, Any] = project.instances["people"]
    instance["ipAddresses"] = [{"type": "PRIVATE", "ipAddress": "10.1.2.3"}]
    return instance


def ways(project: Project, since: int) -> set[tuple[Any, ...]]:
    """The ways to the database that functions have had, with the secrets: at most one of each."""
    return {
        (
            moment.socket,
            moment.network,
            *map(moment.variables.get, ("INSTANCE_CONNECTION_NAME", "DB_HOST", "DB_SSL_CA")),
            moment.secrets,
        )
        for moment in project.history[since:]
    }


def over_the_network(version: int) -> set[tuple[Any, ...]]:
    """The way over NETWORK, with this version of the certificates."""
    place = ("", ("office", "functions"), None, "10.1.2.3", "/secrets/server-ca.pem")
    certificates = f"hiring-server-ca:{version}"
    return {(*place, (f"{name}-password:1", certificates)) for name in ACCOUNTS}


def stored_certificates(project: Project) -> list[str]:
    """Each version of the secret with the certificates."""
    versions = project.secrets["hiring-server-ca"]
    return [base64.b64decode(version["data"]).decode() for version in versions]


@pytest.mark.deployment
def test_from_network_to_socket_and_back(
    deployment: Deployment, project: Project, private: dict[str, Any]
) -> None:
    """A private address is reached over a network; another way takes away what the last one had."""
    done = deployment.run(**NETWORK)
    done.check()
    assert done.output.endswith("4 of 4 answered\n")
    assert ways(project, 0) == over_the_network(version=1)
    assert project.holders("project", "roles/cloudsql.client") == set()

    private["ipAddresses"].append({"type": "PRIMARY", "ipAddress": "34.1.2.3"})
    since = len(project.history)
    assert deployment.run().output.endswith("4 of 4 answered\n")
    place = (SOCKET, None, SOCKET, None, None)
    assert ways(project, since) == {(*place, (f"{name}-password:1",)) for name in ACCOUNTS}

    # A rotation begins: both certificates count until it ends.
    private["authority"].append(certificate("two"))
    # A new instance reaches its network after a while.
    answers = iter([503, 503])
    project.answer = lambda *_: Raw(next(answers, 200), b"[]\n", "application/json")
    since = len(project.history)
    assert deployment.run(**NETWORK).output.endswith("4 of 4 answered\n")
    assert ways(project, since) == over_the_network(version=2)
    one, two = private["authority"]
    assert stored_certificates(project) == [one, f"{one}\n{two}"]


@pytest.mark.deployment
def test_a_subnet_in_another_region(
    deployment: Deployment, project: Project, private: dict[str, Any]
) -> None:
    """Google's refusal of a subnet ends the run; the next run stores no certificate twice."""
    done = deployment.run(**NETWORK | {"SUBNET": "elsewhere"})
    assert done.status == 1
    assert "failed: function quarterly-hired: build and deploy" in done.errors
    assert "Subnetwork elsewhere of network office not found" in done.errors
    assert deployment.run(**NETWORK).output.endswith("4 of 4 answered\n")
    assert stored_certificates(project) == private["authority"]


@pytest.mark.deployment
def test_an_instance_that_the_settings_do_not_reach(
    deployment: Deployment, project: Project, private: dict[str, Any]
) -> None:
    """Addresses and authority that do not fit the settings are named before any change."""
    for service in ("sqladmin", "sql-component"):
        project.enabled[f"{service}.googleapis.com"] = 0

    def refused(words: str, **settings: str) -> None:
        done = deployment.run(**settings)
        assert (done.status, words in done.errors) == (1, True), done.errors
        assert (project.accounts, project.buckets, project.services) == ({}, {}, {})

    refused("its private address is 10.1.2.3: set DB_HOST, NETWORK and SUBNET")
    other = NETWORK | {"DB_HOST": "10.1.2.4"}
    refused("DB_HOST is not the private address of people; set DB_HOST=10.1.2.3\n", **other)
    public = {"type": "PRIMARY", "ipAddress": "34.1.2.3"}
    private["ipAddresses"] = [public]
    refused("people has no private address; leave DB_HOST, NETWORK and SUBNET empty", **NETWORK)
    private["ipAddresses"] = [public, {"type": "PRIVATE", "ipAddress": "10.1.2.3"}]
    private["settings"]["ipConfiguration"]["serverCaMode"] = "GOOGLE_MANAGED_CAS_CA"
    private["dnsName"] = "1a2b.3c4d.europe-west1.sql.goog."
    refused("which Cloud Run's socket does not take; set DB_HOST, NETWORK and SUBNET")
    name = "1a2b.3c4d.europe-west1.sql.goog"
    refused(f"set DB_HOST to the name of people, DB_HOST={name}\n", **NETWORK)
    private["settings"]["connectorEnforcement"] = "REQUIRED"
    refused("people takes no login without a client certificate or a connector", **NETWORK)
    private["settings"]["connectorEnforcement"] = "NOT_REQUIRED"
    mode = private["settings"]["ipConfiguration"]
    mode["sslMode"] = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    refused("people takes no login without a client certificate or a connector", **NETWORK)
    mode["sslMode"] = "ENCRYPTED_ONLY"
    private["databaseVersion"] = "MYSQL_5_7"
    refused("people is MYSQL_5_7, not MySQL 8.0 or newer", **NETWORK)
    private["databaseVersion"] = "MYSQL_8_4"

    project.build_fails = True
    assert "build and deploy" in deployment.run(**NETWORK | {"DB_HOST": name}).errors
    assert stored_certificates(project) == private["authority"]


# Without gcloud

NO_GCLOUD = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


def test_dry_run_prints_every_command_and_calls_nothing(source: Path, tmp_path: Path) -> None:
    """--dry-run works without gcloud, prints each command, and asks for no password."""
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "gcloud").write_text("#!/bin/sh\necho called >&2\nexit 1\n")
    (commands / "gcloud").chmod(0o755)
    done = run_script(source, NO_GCLOUD | {"PATH": f"{commands}:/usr/bin:/bin"}, "--dry-run")
    done.check()
    lines = [line for line in done.output.splitlines() if line.startswith("gcloud ")]
    deployed = [line for line in lines if line.startswith("gcloud run deploy ")]
    assert [line.split()[3] for line in deployed] == list(FUNCTIONS)
    assert all("--no-allow-unauthenticated" in line for line in deployed)
    assert all(f"--set-cloudsql-instances={SOCKET}" in line for line in deployed)
    assert all("--project=acme" in line for line in lines)
    assert not any("KEEP_BACKUPS_DAYS" in line for line in lines)
    rules = {"KEEP_BACKUPS_DAYS": "30", "KEEP_BACKUPS_MONTHS": "12"}
    kept = run_script(source, NO_GCLOUD, "--dry-run", **rules).output
    assert kept.count("KEEP_BACKUPS_DAYS=30,KEEP_BACKUPS_MONTHS=12") == 1
    assert "allUsers" not in done.output


def test_dry_run_prints_the_commands_of_a_network(source: Path) -> None:
    """With DB_HOST, --dry-run prints network and certificates in place of the socket."""
    done = run_script(source, NO_GCLOUD, "--dry-run", **NETWORK)
    done.check()
    lines = [line for line in done.output.splitlines() if line.startswith("gcloud ")]
    deployed = [line for line in lines if line.startswith("gcloud run deploy ")]
    way = (
        "--clear-cloudsql-instances --network=office --subnet=functions"
        " --vpc-egress=private-ranges-only"
    )
    assert [way in line for line in deployed] == [True] * 4
    assert not any("roles/cloudsql.client" in line for line in lines)
    granted = "gcloud secrets add-iam-policy-binding hiring-server-ca "
    assert len([line for line in lines if line.startswith(granted)]) == len(ACCOUNTS)
    gone = run_script(source, NO_GCLOUD, "delete", "--dry-run", **NETWORK).output
    assert "gcloud secrets remove-iam-policy-binding hiring-server-ca " in gone


@pytest.mark.parametrize("name", NETWORK)
def test_a_network_without_one_of_its_settings(source: Path, name: str) -> None:
    """DB_HOST, NETWORK and SUBNET are set together or not at all."""
    done = run_script(source, NO_GCLOUD, "--dry-run", **NETWORK | {name: ""})
    assert (done.status, done.output) == (1, "")
    assert f"missing in the environment and in deploy.env: {name} (" in done.errors


HOSTILE = [
    ("PROJECT_ID", "acme; touch x", "PROJECT_ID is malformed"),
    ("GCS_PATH", "gs://acme-backups/$(touch x),y", "GCS_PATH is malformed"),
    ("DB_NAME", "hiring,DB_USER=root", "DB_NAME is malformed"),
    ("DB_USER_REPORTS", "a'b", "DB_USER_REPORTS is malformed"),
    ("DB_USER_BACKUP", "a b", "DB_USER_BACKUP is malformed"),
    ("KEEP_BACKUPS_MONTHS", "0", "KEEP_BACKUPS_MONTHS is malformed"),
    ("RUNTIME", "python310", "RUNTIME is malformed"),
    ("BACKUP_LOCATION", "EUR4 --x", "BACKUP_LOCATION is malformed"),
    ("BACKUP_RETENTION", "a month", "BACKUP_RETENTION is malformed"),
    ("BACKUP_KEY", "key", "BACKUP_KEY is malformed"),
    ("BACKUP_HOUR", "24", "BACKUP_HOUR is malformed"),
    ("DB_USER_CHANGES", "changer", "DB_USER_CHANGES is now DB_USER_BACKUP and DB_USER_TRUNCATION"),
    ("PUBLIC_REPORTS", "maybe", "PUBLIC_REPORTS is malformed"),
    ("PUBLIC_REPORTS", "", "missing in the environment and in deploy.env: PUBLIC_REPORTS"),
    ("REPORT_READERS", "allUsers", "REPORT_READERS takes user:"),
    ("BACKUP_CALLERS", " allAuthenticatedUsers ", "BACKUP_CALLERS takes user:"),
    ("TRUNCATION_CALLERS", "user:a@b.c\nallUsers", "TRUNCATION_CALLERS is more than one line"),
    ("DB_HOST", "10.1.2.3,DB_PASS=x", "DB_HOST is malformed"),
    ("DB_HOST", "db.example.", "DB_HOST is malformed"),
    ("NETWORK", "office $(touch x)", "NETWORK is malformed"),
    ("SUBNET", "projects/host/regions/us-central1/subnetworks/a", "SUBNET is not in europe-west1"),
]


@pytest.mark.parametrize(("name", "value", "words"), HOSTILE)
def test_a_hostile_setting_is_refused_before_anything_is_called(
    source: Path, name: str, value: str, words: str
) -> None:
    """A malformed setting is refused by name, and nothing in it is run."""
    network = NETWORK if name in NETWORK else {}
    done = run_script(source, NO_GCLOUD, "--dry-run", **network | {name: value})
    assert (done.status, done.output) == (1, "")
    assert words in done.errors
    assert not (source / "x").exists()


FILES = [
    (b"\xef\xbb\xbfPROJECT_ID=acme\n", "unknown setting: "),
    (b"DB_NAME=hiring\r\n", r"DB_NAME is malformed: $'hiring\r'"),
    (b"PROJECT_ID=acme\nPROJECT_ID=other\n", "sets PROJECT_ID twice"),
    (b"PROJECT=acme\n", "unknown setting: 'PROJECT' "),
    (b"DB_NAME=$(touch x)\n", "DB_NAME is malformed"),
]


@pytest.mark.parametrize(("content", "words"), FILES)
def test_a_hostile_deploy_env_is_refused(source: Path, content: bytes, words: str) -> None:
    """A malformed deploy.env is refused with the reason, and nothing in it is run."""
    (source / "deploy.env").write_bytes(content)
    settings = {name: value for name, value in SETTINGS.items() if name != "DB_NAME"}
    done = subprocess.run(
        ["./deploy.sh", "--dry-run"],
        cwd=source,
        env=NO_GCLOUD | settings,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert not (source / "x").exists()


def test_an_old_bash_is_named(source: Path) -> None:
    """The script says which bash it needs before it uses anything newer."""
    head = (source / "deploy.sh").read_text().partition("set -euo pipefail")[0]
    done = subprocess.run(
        ["sh", "-c", head], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert (done.returncode, "needs bash 4.4 or newer" in done.stderr) == (1, True)
