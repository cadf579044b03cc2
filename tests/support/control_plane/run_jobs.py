"""Cloud Run jobs: an execution runs the image's command as Cloud Run would.

What differs: the image's folder is not at the root of a file system of its own, the packages are
those of the tests, and `Project.reaches` says how the server and storage are reached from here.
"""

import base64
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

from control_plane.functions import conditions, find_version, refuse_revision, variables_of
from control_plane.refusals import already_exists, not_found
from control_plane.resources import read_policy, write_policy
from control_plane.server import Refused, Request, route

if TYPE_CHECKING:
    from control_plane.project import Project

RUN = "run.googleapis.com/apis/run.googleapis.com/v1/namespaces/{p}"
POLICY = "run.googleapis.com/v1/projects/{p}/locations/{r}/jobs/{name}"
MAY_START = ("roles/run.invoker", "roles/run.jobsExecutor", "roles/run.jobsExecutorWithOverrides")
SECONDS = 300


def find_job(project: "Project", name: str) -> dict:
    if name not in project.run_jobs:
        raise not_found(f"Job {name}")
    return project.run_jobs[name]


@route("GET", RUN + "/jobs/{name}")
def get_job(project: "Project", request: Request, p: str, name: str) -> Any:
    return find_job(project, name)


@route("POST", RUN + "/jobs")
def create_job(project: "Project", request: Request, p: str) -> Any:
    name = request.content["metadata"]["name"]
    if name in project.run_jobs:
        raise already_exists(f"Job {name}")
    return store(project, name, request.content)


@route("PUT", RUN + "/jobs/{name}")
def replace_job(project: "Project", request: Request, p: str, name: str) -> Any:
    find_job(project, name)
    return store(project, name, request.content)


@route("DELETE", RUN + "/jobs/{name}")
def delete_job(project: "Project", request: Request, p: str, name: str) -> Any:
    find_job(project, name)
    del project.run_jobs[name]
    project.policies.pop(f"job {name}", None)
    return {"status": "Success"}


@route("GET", POLICY + ":getIamPolicy")
def get_policy(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    find_job(project, name)
    return read_policy(project, f"job {name}")


@route("POST", POLICY + ":setIamPolicy")
def set_policy(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    find_job(project, name)
    return write_policy(project, f"job {name}", request.content["policy"])


def task_of(job: dict) -> dict:
    """A job's task, with its metadata where a revision has it."""
    execution = job["spec"]["template"]
    return {
        "metadata": execution.get("metadata", {}),
        "spec": execution["spec"]["template"]["spec"],
    }


def store(project: "Project", name: str, job: dict) -> dict:
    trouble = refuse_revision(project, task_of(job))
    job["metadata"] |= {"generation": 1, "namespace": "424242", "uid": name}
    job["status"] = {"observedGeneration": 1, "conditions": conditions(trouble)}
    project.run_jobs[name] = job
    return job


@route("POST", RUN + "/jobs/{name}:run")
def run_job(project: "Project", request: Request, p: str, name: str) -> Any:
    """Runs the job to its end, as the project's owner asks for it."""
    (override,) = request.content.get("overrides", {}).get("containerOverrides", [{}])
    return execute(project, name, override.get("args"))


@route("GET", RUN + "/executions/{name}")
def get_execution(project: "Project", request: Request, p: str, name: str) -> Any:
    return project.executions[name]


def start_scheduled(project: "Project", scheduled: str) -> dict:
    """What Cloud Scheduler does when a job of its own is due that starts one of Cloud Run."""
    target = project.scheduled[scheduled]["httpTarget"]
    (name,) = re.findall(
        r"run\.googleapis\.com/v2/projects/acme/.*/jobs/([^/]+):run$", target["uri"]
    )
    member = f"serviceAccount:{target['oauthToken']['serviceAccountEmail']}"
    if member not in project.holders(f"job {name}", *MAY_START):
        raise Refused(403, "PERMISSION_DENIED", "Permission 'run.jobs.run' denied.")
    return execute(project, name, None)


def execute(project: "Project", name: str, arguments: list[str] | None) -> dict:
    """Runs the image's command, with other arguments than the job's if there are any."""
    task = task_of(find_job(project, name))
    (container,) = task["spec"]["containers"]
    number = f"{name}-{len(project.executions)}"
    folder = project.clock.with_name(number)
    archive = project.images[container["image"]]["archive"]
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    command = [sys.executable if word == "python" else word for word in json.loads(entry)]
    done = subprocess.run(
        [*command, *(arguments or container["args"])],
        cwd=folder,
        env=environment_of(project, name, number, task),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    trouble = f"The container exited with an error: {done.stderr}" if done.returncode else ""
    state = {"status": "False", "message": trouble} if trouble else {"status": "True"}
    kinds = ("Completed", "ResourcesAvailable", "Started")
    project.executions[number] = {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Execution",
        "metadata": {
            "name": number,
            "namespace": "424242",
            "labels": {
                "run.googleapis.com/job": name,
                "cloud.googleapis.com/location": "europe-west1",
            },
        },
        "spec": {"taskCount": 1, "template": {"spec": task["spec"]}},
        "status": {"conditions": [{"type": kind} | state for kind in kinds], "logUri": "x"},
        "exit": done.returncode,
        "output": done.stdout,
        "log": done.stderr,
    }
    return project.executions[number]


def environment_of(project: "Project", name: str, number: str, task: dict) -> dict[str, str]:
    """The environment of a task.

    https://cloud.google.com/run/docs/container-contract#jobs-env-vars
    """
    (container,) = task["spec"]["containers"]
    secrets = {}
    for each in container.get("env", []):
        if "valueFrom" in each:
            key = each["valueFrom"]["secretKeyRef"]
            version = find_version(project, key["name"], key["key"])
            secrets[each["name"]] = base64.b64decode(version["data"]).decode()
    own = {
        "PATH": os.environ["PATH"],
        "HOME": "/",
        "CLOUD_RUN_JOB": name,
        "CLOUD_RUN_EXECUTION": number,
        "CLOUD_RUN_TASK_INDEX": "0",
        "CLOUD_RUN_TASK_ATTEMPT": "0",
        "CLOUD_RUN_TASK_COUNT": "1",
    }
    variables = variables_of({"spec": task["spec"]})
    # There is no /cloudsql here.
    del variables["INSTANCE_CONNECTION_NAME"]
    return own | variables | secrets | project.reaches
