"""The real gcloud, connected to a project of the tests instead of to Google."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import real_gcloud

from control_plane.project import Project

HOSTS = {
    "serviceusage": "serviceusage",
    "cloudresourcemanager": "cloudresourcemanager",
    "iam": "iam",
    "storage": "storage",
    "secretmanager": "secretmanager",
    "artifactregistry": "artifactregistry",
    "run": "run",
    "cloudbuild": "cloudbuild",
    "cloudscheduler": "cloudscheduler",
    "sql": "sqladmin",
    "dataproc": "dataproc",
    "aiplatform": "aiplatform",
}

TOKENS = "http://oauth2.googleapis.com/token"

# Passes its arguments, environment and open files to the process that runs gcloud, then waits.
CLIENT = """#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}
socket.send_fds(connection, [json.dumps(request).encode() + b"\\n"], [0, 1, 2])
sys.exit((connection.recv(1) or b"\\1")[0])
"""
NO_WAIT = """#!/bin/sh
echo "$1" >>{clock}
"""


# Notes its arguments. The proxy speaks no TLS, so an address of Google's gets the scheme http.
CURL = """#!/bin/bash
printf '%s\\n' "$@" >>{log}
exec /usr/bin/curl "${{@/#https:\\/\\/monitoring.google/http://monitoring.google}}"
"""


class Gcloud:
    """A folder for PATH with `gcloud`, `curl`, and a `sleep` that only moves the project's clock.

    Args:
        folder: for the commands and their files.
        project: that gcloud talks to.
    """

    def __init__(self, folder: Path, project: Project) -> None:
        self.folder = folder
        self.project = project
        self.path = f"{folder}:/usr/bin:/bin"
        folder.mkdir()
        self.log_in({"type": "authorized_user", "client_id": "x", "client_secret": "x"})
        self._write("sleep", NO_WAIT.format(clock=project.clock))
        self._write("curl", CURL.format(log=folder / "curl.log"))

    def log_in(self, credentials: dict[str, str]) -> None:
        """Makes gcloud use these credentials instead of those of the project's owner."""
        login = {"refresh_token": "x", "token_uri": TOKENS} | credentials
        (self.folder / "login.json").write_text(json.dumps(login))

    def _write(self, name: str, script: str) -> None:
        (self.folder / name).write_text(script)
        (self.folder / name).chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which gcloud and curl talk to the project only."""
        proxy = self.project.server.address
        overrides = {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": f"http://{host}.googleapis.com/"
            for name, host in HOSTS.items()
        }
        return overrides | {
            "PATH": self.path,
            "HOME": str(self.folder),
            "http_proxy": proxy,
            "https_proxy": proxy,
            "CLOUDSDK_CONFIG": str(self.folder / "config"),
            "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": str(self.folder / "login.json"),
            "CLOUDSDK_AUTH_TOKEN_HOST": TOKENS,
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1",
            "CLOUDSDK_CORE_CHECK_GCE_METADATA": "0",
        }

    @contextlib.contextmanager
    def running(self) -> Iterator["Gcloud"]:
        """Runs the processes that the commands need."""
        address = self.folder / "socket"
        python, sdk = real_gcloud.installation(self.folder)
        command = [python, "-IS", Path(__file__).with_name("gcloud_server.py"), sdk, address]
        server = subprocess.Popen(
            [*command, self.project.clock], stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]}
        )
        self._write("gcloud", CLIENT.format(python=sys.executable, address=str(address)))
        with server, contextlib.ExitStack() as end:
            end.callback(server.kill)
            assert server.stdout.readline() == b"ready\n"
            yield self
