"""Shared by the jobs' commands: settings, password, and errors as exit statuses.

The settings are those of the functions. A job's environment cannot hold a secret, so DB_PASS_SECRET
may name one in Secret Manager instead of DB_PASS.

    status
    0   done
    1   failed: the last log line says why; no manifest was stored
"""

import argparse
import base64
import os
import re
import traceback
from collections.abc import Callable

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests

from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import BundleError, Misconfigured
from hiring.settings import Settings, read_settings, storage_settings
from hiring.storage import newest
from restore.backup_source import Backup

SECRETS_URL = "https://secretmanager.googleapis.com/v1"
SECRETS_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
SECRET_SECONDS = 30

JOB_SECONDS = 24 * 3600
"""Time limit of a job, which no platform limits; a job that works takes less than a day."""


def run(job: Callable[[], None]) -> int:
    """Runs a job; returns the exit status of its command."""
    try:
        job()
    except BundleError as error:
        logs.event("job failed", "ERROR", code=error.code, reason=str(error))
        return 1
    except Exception:  # noqa: BLE001 - the boundary: Spark raises errors of many kinds
        logs.event("job failed", "ERROR", code=BundleError.code, stack_trace=traceback.format_exc())
        return 1
    return 0


def database_settings() -> Settings:
    """The settings of a job that reads the database.

    Raises:
        Misconfigured: a setting is missing or malformed, or the secret cannot be read.
    """
    environment = dict(os.environ)
    if secret := environment.get("DB_PASS_SECRET"):
        environment["DB_PASS"] = read_secret(secret)
    return read_settings(environment)


def newest_backup() -> Backup:
    """The newest complete backup of DB_NAME's database.

    Raises:
        Misconfigured: GCS_PATH is missing, or a setting is malformed.
        BadSource: there is none, or it holds no rows.
        StorageFailed: Cloud Storage refused or failed.
    """
    return Backup(newest.find_newest(storage_settings(), Deadline(JOB_SECONDS)))


def read_no_arguments(description: str | None) -> None:
    """Reads the command line of a job that takes no argument but --help."""
    argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()


def read_secret(name: str) -> str:
    """Reads the value of a secret's version.

    https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access

    Args:
        name: such as projects/my-project/secrets/my-secret/versions/latest.

    Raises:
        Misconfigured: it is missing, or this job's account may not read it.
    """
    if not re.fullmatch(r"projects/[^/\s]+/secrets/[\w-]+/versions/\w+", name):
        raise Misconfigured(
            "DB_PASS_SECRET is malformed; for example"
            " DB_PASS_SECRET=projects/my-project/secrets/my-secret/versions/latest"
        )
    try:
        credentials, _ = google.auth.default(scopes=[SECRETS_SCOPE])
        session = google.auth.transport.requests.AuthorizedSession(credentials)
        answer = session.get(f"{SECRETS_URL}/{name}:access", timeout=SECRET_SECONDS)
        answer.raise_for_status()
    except (google.auth.exceptions.GoogleAuthError, requests.RequestException) as error:
        raise Misconfigured(f"{name} cannot be read: {type(error).__name__}") from error
    return base64.b64decode(answer.json()["payload"]["data"]).decode()
