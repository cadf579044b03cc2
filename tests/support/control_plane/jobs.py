"""Builds of images, batches on Dataproc, and custom jobs on Vertex AI."""

import io
import tarfile
from typing import TYPE_CHECKING, Any

from control_plane.refusals import already_exists, not_found
from control_plane.server import Refused, Request, route

if TYPE_CHECKING:
    from control_plane.project import Project

PLACE = "projects/{p}/locations/{r}"


def require_account(project: "Project", email: str) -> str:
    """The member of a policy that a service account is, if it is known."""
    if not project.is_known(email):
        raise Refused(400, "INVALID_ARGUMENT", f"Service account {email} does not exist.")
    return f"serviceAccount:{email}"


def require_object(project: "Project", address: str) -> None:
    bucket, _, name = address.removeprefix("gs://").partition("#")[0].partition("/")
    if (bucket, name) not in project.objects:
        raise Refused(400, "INVALID_ARGUMENT", f"{address} does not exist.")


# Builds


@route("POST", f"cloudbuild.googleapis.com/v1/{PLACE}/builds")
def create_build(project: "Project", request: Request, p: str, r: str) -> Any:
    """Builds at once, with the rights of the build's account."""
    build = request.content
    member = require_account(project, build["serviceAccount"].rpartition("/")[2])
    if build["options"].get("logging") != "CLOUD_LOGGING_ONLY" and "logsBucket" not in build:
        raise Refused(
            400,
            "INVALID_ARGUMENT",
            "if 'build.service_account' is specified, the build must either (a) specify"
            " 'build.logs_bucket' or (c) use either CLOUD_LOGGING_ONLY / NONE logging options",
        )
    image = build["substitutions"]["_IMAGE"]
    source = build["source"]["storageSource"]
    repository = image.split("/")[2]
    works = (
        not project.build_fails
        and member in project.holders(f"bucket {source['bucket']}", "roles/storage.objectViewer")
        and member in project.holders(f"repository {repository}", "roles/artifactregistry.writer")
        and member in project.holders("project", "roles/logging.logWriter")
        and repository in project.repositories
    )
    archive = project.objects[source["bucket"], source["object"]]
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        works = works and "./Dockerfile" in {f"./{name.lstrip('./')}" for name in files.getnames()}
    if works:
        project.images[image] = {"archive": archive}
    number = f"build-{len(project.builds)}"
    project.builds[number] = build | {
        "id": number,
        "name": f"projects/acme/locations/{r}/builds/{number}",
        "projectId": "acme",
        "status": "SUCCESS" if works else "FAILURE",
        "logUrl": f"https://console.cloud.google.com/cloud-build/builds/{number}",
    }
    metadata = {
        "@type": "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata",
        "build": project.builds[number] | {"status": "QUEUED"},
    }
    return {"name": f"operations/build/acme/{number}", "metadata": metadata}


@route("GET", f"cloudbuild.googleapis.com/v1/{PLACE}/builds/{{number}}")
def get_build(project: "Project", request: Request, p: str, r: str, number: str) -> Any:
    return project.builds[number]


# Batches


@route("GET", f"dataproc.googleapis.com/v1/{PLACE}/batches")
def list_batches(project: "Project", request: Request, p: str, r: str) -> Any:
    return {"batches": list(project.jobs.values())}


@route("POST", f"dataproc.googleapis.com/v1/{PLACE}/batches")
def create_batch(project: "Project", request: Request, p: str, r: str) -> Any:
    """A batch that ends at once, if its account may work on Dataproc and its files are there."""
    batch, name = request.content, request.query["batchId"]
    if name in project.jobs:
        raise already_exists(f"Batch {name}")
    account = batch["environmentConfig"]["executionConfig"]["serviceAccount"]
    member = require_account(project, account)
    if member not in project.holders("project", "roles/dataproc.worker"):
        raise Refused(403, "PERMISSION_DENIED", f"{account} misses dataproc.agents.create.")
    for address in (
        batch["pysparkBatch"]["mainPythonFileUri"],
        *batch["pysparkBatch"]["archiveUris"],
    ):
        require_object(project, address)
    project.jobs[name] = batch | {
        "name": f"projects/acme/locations/{r}/batches/{name}",
        "state": "SUCCEEDED",
    }
    metadata = {"@type": "type.googleapis.com/google.cloud.dataproc.v1.BatchOperationMetadata"}
    return {"name": f"projects/acme/regions/{r}/operations/{name}", "metadata": metadata}


@route("GET", f"dataproc.googleapis.com/v1/{PLACE}/batches/{{name}}")
def get_batch(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    if name not in project.jobs:
        raise not_found(f"Batch {name}")
    return project.jobs[name]


# Custom jobs


@route("GET", f"aiplatform.googleapis.com/v1/{PLACE}/customJobs")
def list_custom_jobs(project: "Project", request: Request, p: str, r: str) -> Any:
    return {"customJobs": list(project.jobs.values())}


@route("POST", f"aiplatform.googleapis.com/v1/{PLACE}/customJobs")
def create_custom_job(project: "Project", request: Request, p: str, r: str) -> Any:
    """A job that waits for its turn, if its account is known and its image was built."""
    job = request.content
    require_account(project, job["jobSpec"]["serviceAccount"])
    for pool in job["jobSpec"]["workerPoolSpecs"]:
        image = pool["containerSpec"]["imageUri"]
        if image not in project.images:
            raise Refused(400, "INVALID_ARGUMENT", f"Image {image} does not exist.")
    name = f"projects/424242/locations/{r}/customJobs/{len(project.jobs)}"
    project.jobs[job["displayName"]] = job | {"name": name, "state": "JOB_STATE_QUEUED"}
    return project.jobs[job["displayName"]]
