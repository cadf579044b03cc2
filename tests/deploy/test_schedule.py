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
from conftest import PROJECT, Bucket, Bundle
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
    parts = ("gcloud", "settings", "check", "functions", "schedule", "alert")
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
    project.enabled["run.googleapis.com"] = 0.0
    image = "europe-west1-docker.pkg.dev/acme/f/backup-data"
    account = "hiring-changes@acme.iam.gserviceaccount.com"
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
    return deployment


@pytest.mark.slow
def test_two_jobs_and_one_alert(
    deployed: Deployment,
    project: Project,
    tmp_path: Path,
) -> None:
    """`schedule` makes two jobs, and a policy if a channel is set; the check follows the backup.

    The second run keeps the hour that somebody gave the nightly job.
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
    project.scheduled["backup-data-nightly"] |= {
        "schedule": "30 22 * * *",
        "timeZone": "Europe/Madrid",
    }
    assert deployed.run("schedule", ALERT_CHANNEL=CHANNEL).status == 0
    (policy,) = project.alerts.values()
    assert policy["notificationChannels"] == [CHANNEL]
    assert [(job["schedule"], job["timeZone"]) for job in project.scheduled.values()] == [
        ("30 22 * * *", "Europe/Madrid"),
        ("30 0 * * *", "Europe/Madrid"),
    ]
    arguments = (tmp_path / "bin/curl.log").read_text()
    assert "https://monitoring.googleapis.com/v3/projects/acme/alertPolicies" in arguments
    assert "access token" not in arguments


@pytest.mark.deployment
def test_an_alert_that_is_no_longer_wanted(
    deployed: Deployment,
    project: Project,
) -> None:
    """A second run keeps one policy; a run without ALERT_CHANNEL removes ours and no others."""
    assert deployed.run("schedule", ALERT_CHANNEL=CHANNEL).status == 0
    ours = project.alerts["7000"]
    others = ours | {"displayName": "others", "name": "projects/acme/alertPolicies/1"}
    second = ours | {"name": "projects/acme/alertPolicies/7001"}
    project.alerts |= {"1": others, "7001": second}
    assert deployed.run("schedule", ALERT_CHANNEL=CHANNEL).status == 0
    assert project.alerts == {"7000": ours, "1": others}
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


HOURS = {
    "0 3 * * *": "0 5 * * *",
    "30 22 * * *": "30 0 * * *",
    "05 08 * * 1-5": "05 10 * * 1-5",
    "0 23 * * 1-5": "0 5 * * *",
    "0 */6 * * *": "0 5 * * *",
    "every 24 hours": "0 5 * * *",
}


@pytest.mark.parametrize("schedule", HOURS)
def test_the_check_comes_two_hours_after_the_backup(schedule: str) -> None:
    """The check is two hours after a backup at a fixed hour, and else every day at 5:00."""
    assert shell(f"check_hour '{schedule}'") == HOURS[schedule]


# The entries that the alert matches


@pytest.fixture(scope="session")
def policy() -> dict[str, Any]:
    """The policy that deploy.sh makes."""
    return dict(json.loads(shell("alert_policy")))


def matches(policy: dict[str, Any], entry: Entry) -> bool:
    (condition,) = policy["conditions"]
    return compile_filter(condition["conditionMatchedLog"]["filter"])(entry)


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


TIMEOUT = {"status": "DEADLINE_EXCEEDED", "debugInfo": "URL_TIMEOUT-TIMEOUT_WEB."}


@pytest.mark.parametrize("job", ["backup-data-nightly", "backup-data-age"])
def test_the_alert_fires_on_an_attempt_that_could_not_be_completed(
    policy: dict[str, Any], job: str
) -> None:
    """The alert matches failed attempts of both jobs, no successful ones and no other jobs'."""
    assert matches(policy, attempt(job, "ERROR", **TIMEOUT))
    assert not matches(policy, attempt(job, "INFO"))
    assert not matches(policy, attempt(f"{job}-2", "ERROR", **TIMEOUT))


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
    bucket: Bucket,
    under_way: Any,
    check_age: Any,
    policy: dict[str, Any],
) -> None:
    """The check after a night whose backup was killed logs an ERROR that the alert matches.

    The check of the night before succeeds with the older backup; a killed backup logs no error.
    """
    assert get(client, "/backup-data")[0] == 200
    request = under_way("/backup-data", 3)
    os.kill(faults.worker(bundle), signal.SIGKILL)
    request.join(20)
    assert request.answer is None
    killed = [json.loads(line) for line in bundle.log().splitlines() if line.startswith("{")]
    assert [line for line in killed if matches(policy, as_logged(line))] == []
    bucket.storage.heal()

    status, code, lines = check_age(2)
    assert (status, code) == (200, "")
    assert [line for line in lines if matches(policy, as_logged(line))] == []
    status, code, lines = check_age(24 + 2)
    assert (status, code) == (503, "backup_missing")
    (line,) = (line for line in lines if matches(policy, as_logged(line)))
    assert (line["message"], line["code"]) == ("request failed", "backup_missing")
    assert not matches(policy, as_logged(line, "truncate-tables"))
    elsewhere = as_logged(line)
    elsewhere["resource"]["labels"]["location"] = "us-central1"
    assert not matches(policy, elsewhere)


# The stand-in for Cloud Monitoring


REFUSED = {
    "a filter with an open parenthesis": (r"\)\)\)", "))"),
    "a filter with an unknown field": ("resource.type", "kind"),
    "a filter with an unknown level": (">=ERROR", ">=WORSE"),
    "no limit of notifications": ("notificationRateLimit", "limit"),
    "a limit that is too short": ("3600s", "60s"),
    "an unknown channel": ("Channels/11", "Channels/99"),
    "another condition": ("conditionMatchedLog", "conditionThreshold"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_the_stand_in_refuses_what_google_refuses(
    policy: dict[str, Any],
    project: Project,
    change: str,
) -> None:
    """The stand-in accepts the policy, and refuses it with any of these changes."""
    monitoring.check_policy(project, policy)
    changed = re.sub(*REFUSED[change], json.dumps(policy))
    with pytest.raises(Refused):
        monitoring.check_policy(project, json.loads(changed))
