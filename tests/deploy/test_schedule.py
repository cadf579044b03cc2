"""The nightly call, the check of a backup's age, and the alert on both."""

import datetime
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import faults
import pytest
from conftest import PROJECT, Bucket, Bundle, Database
from control_plane import Project, functions, monitoring
from control_plane.log_filter import Entry, compile_filter
from control_plane.server import Refused
from support import get
from test_deploy import (  # noqa: F401 - fixtures
    SETTINGS,
    Deployment,
    deployment,
    project,
    source,
)
from under_way import Request, under_way  # noqa: F401 - a fixture
from werkzeug.test import Client

pytestmark = pytest.mark.once

CHANNEL = "projects/acme/notificationChannels/11"
URL = "http://backup-data-x1y2z3-ew.a.run.app"
ACCOUNT = "hiring-schedule@acme.iam.gserviceaccount.com"


def shell(script: str) -> str:
    """The output of a script that has the functions of deploy.sh."""
    parts = ("gcloud", "settings", "check", "functions", "operate", "schedule", "alert")
    sources = "; ".join(f"source deploy/{part}.sh" for part in parts)
    return subprocess.check_output(
        ["bash", "-c", f"set -euo pipefail; OUTPUT=2; {sources}; {script}"],
        cwd=PROJECT,
        env=os.environ | SETTINGS | {"ALERT_CHANNEL": CHANNEL},
        text=True,
    )


# Deployed


@pytest.fixture
def deployed(deployment: Deployment, project: Project) -> Deployment:
    """A project in which the backup function is deployed."""
    put_backup_function(project)
    return deployment


def put_backup_function(project: Project) -> None:
    """Makes the backup function, and nothing else of what deploy.sh makes."""
    project.enabled["run.googleapis.com"] = 0.0
    image = "europe-west1-docker.pkg.dev/acme/f/backup-data"
    account = "hiring-backup@acme.iam.gserviceaccount.com"
    project.images[image] = {}
    project.accounts[account] = 0.0
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": "backup-data",
            "labels": {"cloud.googleapis.com/location": "europe-west1"},
            "annotations": {},
        },
        "spec": {
            "template": {
                "metadata": {"annotations": {}},
                "spec": {
                    "containers": [{"image": image}],
                    "serviceAccountName": account,
                },
            }
        },
    }
    before = {"metadata": {"generation": 0}, "status": {}, "spec": {}}
    functions.put(project, "backup-data", service, before)
    del project.accounts[account]  # those that `schedule` makes are looked at


NAMES = ["Hiring backup failed", "Hiring backup not completed", "Hiring backup missing"]


@pytest.mark.slow
def test_two_jobs_and_three_alerts(deployed: Deployment, project: Project, tmp_path: Path) -> None:
    """`schedule` makes two jobs, and three policies if a channel is set.

    The check is two hours after the backup. A failed backup is called once more, when Scheduler
    no longer waits for the first.
    """
    done = deployed.run("schedule")
    assert (done.status, done.errors) == (0, "")
    assert "monitoring.googleapis.com" not in project.enabled
    jobs = {
        name: (job["schedule"], job["timeZone"], job["httpTarget"])
        for name, job in project.scheduled.items()
    }
    token = {"serviceAccountEmail": ACCOUNT, "audience": URL}
    checked = {"uri": f"{URL}/?max_age_hours=24", "httpMethod": "GET", "oidcToken": token}
    called = {"uri": URL, "httpMethod": "POST", "oidcToken": token}
    for *_, target in jobs.values():
        target.pop("headers", None)
    assert jobs == {
        "backup-data-nightly": ("0 3 * * *", "Etc/UTC", called),
        "backup-data-age": ("0 5 * * *", "Etc/UTC", checked),
    }
    nightly, age = project.scheduled.values()
    again = {"retryCount": 1, "minBackoffDuration": "2100s", "maxBackoffDuration": "2100s"}
    assert nightly["retryConfig"] == again | {"maxDoublings": 5}
    assert age["retryConfig"].get("retryCount", 0) == 0
    assert {nightly["attemptDeadline"], age["attemptDeadline"]} == {"1800s"}
    assert deployed.run("schedule", ALERT_CHANNEL=CHANNEL, BACKUP_HOUR="22").status == 0
    policies = list(project.alerts.values())
    assert [each["displayName"] for each in policies] == [
        f"{name} in europe-west1" for name in NAMES
    ]
    assert [each["notificationChannels"] for each in policies] == [[CHANNEL]] * 3
    schedules = [job["schedule"] for job in project.scheduled.values()]
    assert schedules == ["0 22 * * *", "0 0 * * *"]
    arguments = (tmp_path / "bin/curl.log").read_text()
    assert "https://monitoring.googleapis.com/v3/projects/acme/alertPolicies" in arguments
    assert "access token" not in arguments


@pytest.mark.deployment
def test_an_alert_that_is_no_longer_wanted(deployed: Deployment, project: Project) -> None:
    """A second run keeps three policies; a run without ALERT_CHANNEL removes ours and no others."""
    assert deployed.run("schedule", ALERT_CHANNEL=CHANNEL).status == 0
    others = project.alerts["7000"] | {
        "displayName": "others",
        "name": "projects/acme/alertPolicies/1",
    }
    # Of version 1.
    old = others | {"displayName": "Hiring backups in europe-west1", "name": others["name"] + "7"}
    project.alerts |= {"1": others, "17": old}
    assert deployed.run("schedule", ALERT_CHANNEL=CHANNEL).status == 0
    names = [each["displayName"] for each in project.alerts.values()]
    assert names == ["others", *(f"{name} in europe-west1" for name in NAMES)]
    done = deployed.run("schedule")
    assert (done.status, project.alerts) == (0, {"1": others})


CHANNELS = {
    "99": "Is ALERT_CHANNEL right?",
    "12": "switched off or not verified",
    "13": "switched off or not verified",
}


@pytest.mark.slow
def test_a_channel_that_reaches_nobody_is_refused(
    deployed: Deployment,
    project: Project,
) -> None:
    """A channel that is missing, off or not verified is refused before anything is made."""
    for number, words in CHANNELS.items():
        channel = f"projects/acme/notificationChannels/{number}"
        done = deployed.run("schedule", ALERT_CHANNEL=channel)
        assert (done.status, words in done.errors) == (1, True), done.errors
    assert (project.accounts, project.scheduled, project.alerts) == ({}, {}, {})


# The entries that the alert matches


@pytest.fixture(scope="session")
def policies() -> dict[str, dict[str, Any]]:
    """The policies that deploy.sh makes, by name."""
    made = shell('for name in "${ALERTS[@]:0:3}"; do alert_policy "$name"; echo; done').splitlines()
    return {name: json.loads(line) for name, line in zip(NAMES, made, strict=True)}


def alerts(policies: dict[str, dict[str, Any]], entry: Entry) -> list[str]:
    """The last words of the names of the policies that match an entry."""
    matched = []
    for name, policy in policies.items():
        (condition,) = policy["conditions"]
        if compile_filter(condition["conditionMatchedLog"]["filter"])(entry):
            matched.append(name.rpartition(" ")[2])
    return matched


def as_logged(line: dict[str, Any], service: str = "backup-data") -> Entry:
    """A function's log line as Cloud Logging keeps it.

    https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
    """
    fields = {name: value for name, value in line.items() if name != "severity"}
    labels = {
        "project_id": "acme",
        "service_name": service,
        "revision_name": f"{service}-00001-abc",
        "configuration_name": service,
        "location": "europe-west1",
    }
    return {
        "logName": "projects/acme/logs/run.googleapis.com%2Fstderr",
        "resource": {"type": "cloud_run_revision", "labels": labels},
        "severity": line["severity"],
        "jsonPayload": fields,
    }


def attempt(job: str, severity: str, **fields: str) -> Entry:
    """What Cloud Scheduler logs of an attempt.

    https://cloud.google.com/scheduler/docs/logs, and the log entries of its HTTP jobs.
    """
    return {
        "logName": "projects/acme/logs/cloudscheduler.googleapis.com%2Fexecutions",
        "resource": {
            "type": "cloud_scheduler_job",
            "labels": {"project_id": "acme", "job_id": job, "location": "europe-west1"},
        },
        "severity": severity,
        "httpRequest": {"status": 504},
        "jsonPayload": {
            "@type": "type.googleapis.com/google.cloud.scheduler.logging.AttemptFinished",
            "jobName": f"projects/acme/locations/europe-west1/jobs/{job}",
            "targetType": "HTTP",
            "url": "https://backup-data-x1y2z3-ew.a.run.app/",
        }
        | fields,
    }


def attempt_ended(job: str, code: int) -> Entry:
    """An attempt that ended with an HTTP status, or with 0 where no answer came."""
    why = f"URL_ERROR-ERROR_OTHER. Original HTTP response code number = {code}"
    return attempt(job, "ERROR", status="UNKNOWN", debugInfo=why)


def test_the_alerts_tell_failures_apart(policies: dict[str, Any]) -> None:
    """A call that was refused has failed, one without an answer may have stored a backup."""
    nightly, age = "backup-data-nightly", "backup-data-age"
    assert alerts(policies, attempt_ended(nightly, 503)) == ["failed"]
    assert alerts(policies, attempt_ended(nightly, 403)) == ["failed"]
    assert alerts(policies, attempt_ended(nightly, 0)) == ["completed"]
    assert alerts(policies, attempt(nightly, "ERROR", status="DEADLINE_EXCEEDED")) == ["completed"]
    assert alerts(policies, attempt_ended(age, 503)) == ["missing"]
    for job in (nightly, age):
        assert alerts(policies, attempt(job, "INFO")) == []
        assert alerts(policies, attempt_ended(f"{job}-2", 503)) == []


def test_no_alert_matches_a_deployment(policies: dict[str, Any]) -> None:
    """A revision that does not start, or whose trial fails, fires no alert."""
    line = {"severity": "ERROR", "message": "request failed", "code": "storage_failed"}
    failed = as_logged(line | {"function": "backup_data"})
    assert alerts(policies, failed) == ["failed"]
    trial = as_logged(line | {"function": "backup_data", "dry_run": True})
    assert alerts(policies, trial) == []
    audit = "projects/acme/logs/cloudaudit.googleapis.com%2Fsystem_event"
    payload = {"status": {"code": 9, "message": "Ready condition status changed to False"}}
    resource = failed["resource"]
    event = {"logName": audit, "resource": resource, "severity": "ERROR", "protoPayload": payload}
    assert alerts(policies, event) == []
    system = "projects/acme/logs/run.googleapis.com%2Fvarlog%2Fsystem"
    start = "The user-provided container failed to start and listen on the port."
    entry = {"logName": system, "resource": resource, "severity": "ERROR", "textPayload": start}
    assert alerts(policies, entry) == []


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.fixture
def check_age(
    client: Client, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """A function that asks as the job does, some hours later: status, code and log lines."""
    query = shell("printf %s max_age_hours=$OLDEST_HOURS")

    def check(hours: float) -> tuple[int, str, list[dict[str, Any]]]:
        moved = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)

        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> "Clock":
                return cls.fromtimestamp(moved.timestamp(), tz)

        with environment.context() as patch:
            patch.setattr("hiring.storage.catalog.datetime.datetime", Clock)
            status, answer = get(client, f"/backup-data?{query}")
        return status, answer.get("error", {}).get("code", ""), log_lines(capsys)

    return check


@pytest.mark.slow
def test_a_backup_that_is_killed_is_noticed_two_hours_later(
    bundle: Bundle,
    client: Client,
    database: Database,
    bucket: Bucket,
    under_way: Any,
    check_age: Any,
    policies: dict[str, Any],
) -> None:
    """The check after a night whose backup was killed logs an ERROR that the alert matches.

    The check of the night before succeeds with the older backup; a killed backup logs no error.
    """
    database.insert("departments", [(1, "Sales")])
    assert get(client, "/backup-data")[0] == 200
    request = under_way("/backup-data", 3)
    os.kill(faults.worker(bundle), signal.SIGKILL)
    request.join(20)
    assert request.answer is None
    killed = [json.loads(line) for line in bundle.log().splitlines() if line.startswith("{")]
    assert [line for line in killed if alerts(policies, as_logged(line))] == []
    bucket.storage.heal()

    status, code, lines = check_age(2)
    assert (status, code) == (200, "")
    assert [line for line in lines if alerts(policies, as_logged(line))] == []
    status, code, lines = check_age(24 + 2)
    assert (status, code) == (503, "backup_missing")
    (line,) = (line for line in lines if alerts(policies, as_logged(line)))
    assert (line["message"], line["code"]) == ("request failed", "backup_missing")
    assert alerts(policies, as_logged(line)) == ["missing"]
    elsewhere = as_logged(line)
    elsewhere["resource"]["labels"]["location"] = "us-central1"
    assert alerts(policies, elsewhere) == []


# The stand-in for Cloud Monitoring


REFUSED = {
    "a filter with an open parenthesis": (r"\)\)", ")"),
    "a filter with an unknown field": ("resource.type", "kind"),
    "a filter with an unknown level": (">=ERROR", ">=WORSE"),
    "no limit of notifications": ("notificationRateLimit", "limit"),
    "a limit that is too short": ("3600s", "60s"),
    "an unknown channel": ("Channels/11", "Channels/99"),
    "another condition": ("conditionMatchedLog", "conditionThreshold"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_the_stand_in_refuses_what_google_refuses(
    policies: dict[str, Any], project: Project, change: str
) -> None:
    """The stand-in accepts the policies, and refuses one with any of these changes."""
    policy = policies[NAMES[0]]
    monitoring.check_policy(project, policy)
    changed = re.sub(*REFUSED[change], json.dumps(policy))
    with pytest.raises(Refused):
        monitoring.check_policy(project, json.loads(changed))
