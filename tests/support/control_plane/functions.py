"""Builds, revisions, traffic, and calls of the deployed functions."""

import ast
import io
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

from control_plane.refusals import already_exists, not_found, refused, text
from control_plane.resources import decode_token, find_version, read_policy, write_policy
from control_plane.server import Raw, Refused, Request, route

if TYPE_CHECKING:
    from control_plane.project import Moment, Project

DIGEST = "sha256:" + 64 * "0"
RUN = "run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{p}"
SOCKETS = "run.googleapis.com/cloudsql-instances"
NETWORKS = "run.googleapis.com/network-interfaces"
EGRESS = "run.googleapis.com/vpc-access-egress"
INVOKERS = ("roles/run.invoker", "roles/run.servicesInvoker")


# Builds


@route("POST", "run.googleapis.com/v2/projects/{p}/locations/{r}/builds:submit")
def submit_build(project: "Project", request: Request, p: str, r: str) -> Any:
    """Finishes a build at once; its operation has the result."""
    asked = request.content
    source = asked["storageSource"]
    builder = asked["serviceAccount"].rpartition("/")[2]
    if not project.is_known(builder):
        raise refused("account unknown", account=builder)
    member = f"serviceAccount:{builder}"
    bucket = f"bucket {source['bucket']}"
    if member not in project.holders(bucket, "roles/storage.objectViewer"):
        raise refused("source not to be read", account=builder)
    repository = asked["imageUri"].split("/")[2]
    target = asked["buildpackBuild"]["functionTarget"]
    archive = project.objects[source["bucket"], source["object"]]
    works = (
        not project.build_fails
        and not project.meets_first("build failed")
        and repository in project.repositories
        and member in project.holders(f"repository {repository}", "roles/artifactregistry.writer")
        and member in project.holders("project", "roles/logging.logWriter")
        and target in entry_points(archive)
    )
    number = f"build-{len(project.builds)}"
    project.builds[number] = {
        "id": number,
        "name": f"projects/acme/locations/{r}/builds/{number}",
        "projectId": "acme",
        "status": "SUCCESS" if works else "FAILURE",
        "logUrl": f"https://console.cloud.google.com/cloud-build/builds/{number}",
        "results": {"images": [{"name": asked["imageUri"], "digest": DIGEST}]},
    }
    if works:
        project.images[asked["imageUri"]] = {"archive": archive, "target": target}
    metadata = {
        "@type": "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata",
        "build": project.builds[number] | {"status": "QUEUED"},
    }
    return {
        "buildOperation": {"name": f"operations/build/acme/{number}", "metadata": metadata},
        "baseImageUri": "europe-west1-docker.pkg.dev/serverless-runtimes/python313",
    }


def entry_points(archive: bytes) -> set[str]:
    """The functions in the archive's main.py; none if it or requirements.txt is missing."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        if not {"main.py", "requirements.txt"} <= set(files.namelist()):
            return set()
        tree = ast.parse(files.read("main.py"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@route("GET", "cloudbuild.googleapis.com/v1/projects/{p}/locations/{r}/operations/{number}")
def get_build_operation(project: "Project", request: Request, p: str, r: str, number: str) -> Any:
    kind = {"@type": "type.googleapis.com/google.devtools.cloudbuild.v1.Build"}
    return {"name": "operation", "done": True, "response": kind | project.builds[number]}


# Services and their revisions


def find_service(project: "Project", name: str) -> dict:
    if name not in project.services:
        raise not_found(f"Resource '{name}'")
    return project.services[name]


@route("GET", RUN + "/services")
def list_services(project: "Project", request: Request, p: str) -> Any:
    return {"kind": "ServiceList", "items": list(project.services.values())}


@route("GET", RUN + "/services/{name}")
def get_service(project: "Project", request: Request, p: str, name: str) -> Any:
    return find_service(project, name)


@route("POST", RUN + "/services")
def create_service(project: "Project", request: Request, p: str) -> Any:
    service = request.content
    name = service["metadata"]["name"]
    if name in project.services:
        raise already_exists(f"Resource '{name}'")
    return put(project, name, service, {"metadata": {"generation": 0}, "status": {}, "spec": {}})


@route("PUT", RUN + "/services/{name}")
def replace_service(project: "Project", request: Request, p: str, name: str) -> Any:
    return put(project, name, request.content, find_service(project, name))


@route("DELETE", RUN + "/services/{name}")
def delete_service(project: "Project", request: Request, p: str, name: str) -> Any:
    find_service(project, name)
    del project.services[name]
    project.policies.pop(f"service {name}", None)
    return {"status": "Success"}


@route("GET", RUN + "/revisions/{name}")
def get_revision(project: "Project", request: Request, p: str, name: str) -> Any:
    if name not in project.revisions:
        raise not_found(f"Revision {name}")
    return project.revisions[name]


def put(project: "Project", name: str, service: dict, before: dict) -> dict:
    """Stores a service, with the revision and the traffic that follow from it."""
    account = service["spec"]["template"]["spec"]["serviceAccountName"]
    if not project.is_known(account):
        raise refused("account not to be used", account=account)
    generation = before["metadata"]["generation"] + 1
    status = dict(before["status"])
    trouble = ""
    if service["spec"]["template"] != before["spec"].get("template"):
        template = service["spec"]["template"]
        revision = template["metadata"].get("name") or f"{name}-{generation:05}-abc"
        trouble = refuse_revision(project, template)
        project.revisions[revision] = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Revision",
            "metadata": {**template["metadata"], "name": revision, "namespace": "424242"},
            "spec": template["spec"],
            "status": {"conditions": conditions(trouble)},
            "image": project.images.get(image_of(template)),
        }
        status["latestCreatedRevisionName"] = revision
        if not trouble:
            status["latestReadyRevisionName"] = revision
    url = f"http://{name}-x1y2z3-ew.a.run.app"
    latest = status.get("latestReadyRevisionName")
    traffic = service["spec"].setdefault("traffic", [{"latestRevision": True, "percent": 100}])
    for target in traffic:
        if not target.get("latestRevision") and target["revisionName"] not in project.revisions:
            raise Refused(400, "INVALID_ARGUMENT", f"no revision {target['revisionName']}")
    status |= {
        "observedGeneration": generation,
        "url": url,
        "address": {"url": url},
        "conditions": conditions(trouble),
        "traffic": [
            target
            | ({"revisionName": latest} if target.get("latestRevision") else {})
            | ({"url": url.replace("://", f"://{target['tag']}---")} if "tag" in target else {})
            for target in traffic
        ],
    }
    service["metadata"] |= {"generation": generation, "namespace": "424242", "uid": name}
    service["metadata"]["creationTimestamp"] = "2026-11-24T20:00:00Z"
    service["status"] = status
    project.services[name] = service
    return service


def conditions(trouble: str) -> list[dict]:
    state = {"status": "False", "reason": "Failed", "message": trouble} if trouble else {}
    kinds = ("Ready", "ConfigurationsReady", "RoutesReady")
    return [{"type": kind, "status": "True"} | state for kind in kinds]


def image_of(template: dict) -> str:
    return template["spec"]["containers"][0]["image"].partition("@")[0]


def secrets_of(template: dict) -> list[tuple[str, str]]:
    """The name and version of each secret that a revision reads."""
    spec = template["spec"]
    environment = spec["containers"][0].get("env", [])
    named = [
        each["valueFrom"]["secretKeyRef"]
        for each in environment
        if "secretKeyRef" in each.get("valueFrom", {})
    ]
    mounted = [
        {"name": volume["secret"]["secretName"], "key": item["key"]}
        for volume in spec.get("volumes", [])
        for item in volume["secret"]["items"]
    ]
    return [(each["name"], each["key"]) for each in named + mounted]


def network_of(template: dict) -> tuple[str, str] | None:
    """Network and subnet of a revision; a subnet that is not named has the network's name."""
    value = template["metadata"].get("annotations", {}).get(NETWORKS)
    if not value:
        return None
    (interface,) = json.loads(value)
    return interface["network"], interface.get("subnetwork", interface["network"])


def refuse_network(project: "Project", template: dict) -> str:
    """The reason why a revision gets no address in its network; empty if it does."""
    wanted = network_of(template)
    if wanted is None:
        egress = template["metadata"].get("annotations", {}).get(EGRESS)
        return "VPC egress is set without a network or a connector." if egress else ""
    if not project.is_enabled("compute.googleapis.com"):
        return "Compute Engine API has not been used in project 424242 before or it is disabled."
    network, subnet = wanted
    if project.networks.get(network, {}).get(subnet) != "europe-west1":
        return f"Subnetwork {subnet} of network {network} not found in region europe-west1."
    return ""


def files_of(template: dict) -> dict[str, tuple[str, str]]:
    """The mounted files, each with its secret and the version."""
    spec = template["spec"]
    folders = {
        mount["name"]: mount["mountPath"] for mount in spec["containers"][0].get("volumeMounts", [])
    }
    return {
        f"{folders[volume['name']]}/{item['path']}": (volume["secret"]["secretName"], item["key"])
        for volume in spec.get("volumes", [])
        for item in volume["secret"]["items"]
    }


def refuse_revision(project: "Project", template: dict) -> str:
    """The reason why a revision does not start; empty if it does."""
    if trouble := refuse_network(project, template):
        return trouble
    if image_of(template) not in project.images:
        return f"Image '{image_of(template)}' not found."
    if project.meets_first("image not to be read"):
        return text("image not to be read", image=image_of(template))
    member = f"serviceAccount:{template['spec']['serviceAccountName']}"
    for name, version in secrets_of(template):
        where = f"projects/424242/secrets/{name}/versions/{version}"
        if member not in project.holders(f"secret {name}", "roles/secretmanager.secretAccessor"):
            return text("secret not to be read", secret=where, account=member)
        try:
            found = find_version(project, name, version)
        except Refused:
            return f"Secret {where} was not found"
        if found["state"] != "ENABLED":
            return f"Secret {where} is {found['state']}"
    return ""


# Who may call


@route("GET", "run.googleapis.com/v1/projects/{p}/locations/{r}/services/{name}:getIamPolicy")
def get_policy(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    find_service(project, name)
    return read_policy(project, f"service {name}")


@route("POST", "run.googleapis.com/v1/projects/{p}/locations/{r}/services/{name}:setIamPolicy")
def set_policy(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    find_service(project, name)
    return write_policy(project, f"service {name}", request.content["policy"])


@route(
    "POST", "run.googleapis.com/v1/projects/{p}/locations/{r}/services/{name}:testIamPermissions"
)
def test_permissions(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    return {"permissions": request.content["permissions"]}


def callers(project: "Project", name: str) -> frozenset[str]:
    annotations = project.services[name]["metadata"].get("annotations", {})
    everyone = annotations.get("run.googleapis.com/invoker-iam-disabled") == "true"
    return frozenset(
        project.holders(f"service {name}", *INVOKERS) | ({"allUsers"} if everyone else set())
    )


# Calls

ADDRESS = re.compile(r"(?:(?P<tag>[a-z]+)---)?(?P<name>[a-z-]+)-x1y2z3-ew\.a\.run\.app")


def serving(project: "Project", name: str, tag: str | None = None) -> str:
    """The name of the revision that answers: the one with the traffic, or with the tag."""
    for target in project.services[name]["status"]["traffic"]:
        if target.get("tag") == tag if tag else target.get("percent"):
            return target.get("revisionName") or ""
    return ""


def variables_of(revision: dict) -> dict[str, str]:
    environment = revision["spec"]["containers"][0].get("env", [])
    return {each["name"]: each["value"] for each in environment if "value" in each}


def moment(project: "Project", name: str) -> "Moment":
    from control_plane.project import Moment

    revision = project.revisions.get(serving(project, name))
    if revision is None:
        return Moment(name, "", "", None, {}, (), callers(project, name))
    return Moment(
        name,
        revision["metadata"]["name"],
        revision["metadata"].get("annotations", {}).get(SOCKETS, ""),
        network_of(revision),
        variables_of(revision),
        tuple(":".join(each) for each in secrets_of(revision)),
        callers(project, name),
    )


def call(project: "Project", request: Request) -> Raw:
    """Calls a deployed function if its policy allows the caller."""
    match = ADDRESS.fullmatch(request.host)
    if not match or match["name"] not in project.services:
        return Raw(404, b"<title>404</title>")
    name, allowed = match["name"], callers(project, match["name"])
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if "allUsers" not in allowed and not may_call(project, name, token, allowed):
        return Raw(403, b"<title>403 Forbidden</title>")
    revision = project.revisions.get(serving(project, name, match["tag"]))
    if revision is None:
        return Raw(404, b"<title>404</title>")
    query = "&".join(f"{key}={value}" for key, value in request.query.items())
    return project.answer(revision, query) if project.answer else answer(project, revision)


def may_call(project: "Project", name: str, token: str, allowed: frozenset[str]) -> bool:
    """A person's token is for all addresses, a service account's for the one that it names."""
    claims = decode_token(token) if token else {}
    member = claims.get("member", "")
    here = claims.get("aud") == project.services[name]["status"]["url"]
    return member in allowed | project.owners and (here or member.startswith("user:"))


def may_store(project: "Project", member: str, bucket: str) -> bool:
    """Whether an account can do what a backup does: create objects, and read them back."""
    roles = ("roles/storage.objectCreator", "roles/storage.objectViewer")
    return all(
        member in project.holders(f"bucket {bucket}", role, "roles/storage.objectUser")
        for role in roles
    )


def answer(project: "Project", revision: dict) -> Raw:
    """The function's answer: 200 if the revision has all that it needs, else what it lacks."""
    annotations = revision["metadata"].get("annotations", {})
    variables = variables_of(revision)
    member = f"serviceAccount:{revision['spec']['serviceAccountName']}"
    bucket = variables.get("GCS_PATH", "").removeprefix("gs://").partition("/")[0]
    if bucket and not may_store(project, member, bucket):
        return Raw(502, b'{"error": {"code": "storage_failed"}}\n', "application/json")
    if "DB_HOST" in variables:
        reaches = network_of(revision) and variables.get("DB_SSL_CA") in files_of(revision)
    else:
        reaches = (
            SOCKETS in annotations
            and variables.get("INSTANCE_CONNECTION_NAME") == annotations[SOCKETS]
            and member in project.holders("project", "roles/cloudsql.client")
        )
    names = {name for name, _ in secrets_of(revision)}
    if reaches and names and revision["image"]:
        return Raw(200, b"[]\n", "application/json")
    return Raw(503, b'{"error": {"code": "database_unavailable"}}\n', "application/json")
