"""Shared by the jobs' commands: settings, password, and the exit status.

The settings are those of the functions. A job's environment cannot hold a secret, so DB_PASS_SECRET
may name one in Secret Manager: projects/my-project/secrets/my-secret/versions/latest.
"""

import base64
import os
import traceback
from collections.abc import Callable

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests

from hiring import logs
from hiring.errors import BundleError, Misconfigured
from hiring.settings import Settings, read_settings

SECRETS_URL = "https://secretmanager.googleapis.com/v1"
SECRETS_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
SECRET_SECONDS = 30

JOB_SECONDS = 24 * 3600
"""Time limit of a job, which no platform limits; a job that works takes less than a day."""


def run(job: Callable[[], None]) -> int:
    """Runs a job; returns 0, or 1 where it failed: then the last log line says why."""
    try:
        job()
        return 0
    except BundleError as error:
        logs.event("job failed", "ERROR", code=error.code, reason=str(error))
    except Exception:  # noqa: BLE001 - the boundary: Spark raises errors of many kinds
        logs.event("job failed", "ERROR", code=BundleError.code, stack_trace=traceback.format_exc())
    return 1


def database_settings() -> Settings:
    """The settings of a job that reads the database; Misconfigured if the secret can't be read."""
    environment = dict(os.environ)
    if secret := environment.get("DB_PASS_SECRET"):
        environment["DB_PASS"] = _read_secret(secret)
    return read_settings(environment)


def _read_secret(name: str) -> str:
    """https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access"""
    try:
        credentials, _ = google.auth.default(scopes=[SECRETS_SCOPE])
        session = google.auth.transport.requests.AuthorizedSession(credentials)
        answer = session.get(f"{SECRETS_URL}/{name}:access", timeout=SECRET_SECONDS)
        answer.raise_for_status()
    except (google.auth.exceptions.GoogleAuthError, requests.RequestException) as error:
        raise Misconfigured(
            f"DB_PASS_SECRET: {name} cannot be read ({type(error).__name__}); for example"
            " DB_PASS_SECRET=projects/my-project/secrets/my-secret/versions/latest"
        ) from error
    return base64.b64decode(answer.json()["payload"]["data"]).decode()
