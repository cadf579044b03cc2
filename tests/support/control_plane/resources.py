"""Services, accounts, policies, buckets, secrets, repositories, instances and scheduled jobs."""

import base64
import email
import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from control_plane.refusals import already_exists, not_found, refused
from control_plane.server import Raw, Request, StorageRefused, route

if TYPE_CHECKING:
    from control_plane.project import Project

DONE = {"done": True, "name": "operations/done"}


def instance(name: str, **settings: Any) -> dict:
    """A Cloud SQL instance with a public and a private address, each with its own authority."""
    return {
        "name": name,
        "connectionName": f"acme:europe-west1:{name}",
        "databaseVersion": "MYSQL_8_4",
        "state": "RUNNABLE",
        "settings": {
            "activationPolicy": "ALWAYS",
            "ipConfiguration": {"serverCaMode": "GOOGLE_MANAGED_INTERNAL_CA"},
        },
        "ipAddresses": [
            {"type": "PRIMARY", "ipAddress": "34.1.2.3"},
            {"type": "OUTGOING", "ipAddress": "34.1.2.4"},
            {"type": "PRIVATE", "ipAddress": "10.1.2.3"},
        ],
        # The certificates of its authority: the one in use first.
        "authority": [certificate("one")],
    } | settings


def certificate(name: str) -> str:
    """A certificate as Google's answers show it."""
    content = base64.b64encode(name.encode()).decode()
    return f"-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----"


# Services


@route("GET", "serviceusage.googleapis.com/v1/projects/{p}/services/{service}")
def get_service(project: "Project", request: Request, p: str, service: str) -> Any:
    state = "ENABLED" if service in project.enabled else "DISABLED"
    return {"name": f"projects/424242/services/{service}", "state": state}


@route("GET", "serviceusage.googleapis.com/v1/projects/{p}/services")
def list_services(project: "Project", request: Request, p: str) -> Any:
    return {
        "services": [
            {"name": f"projects/424242/services/{name}", "config": {"name": name}}
            for name in project.enabled
        ]
    }


@route("POST", "serviceusage.googleapis.com/v1/projects/{p}/services:batchEnable")
def enable_services(project: "Project", request: Request, p: str) -> Any:
    for service in request.content["serviceIds"]:
        project.enabled.setdefault(service, project.now + project.visible_after)
    return DONE


@route("POST", "serviceusage.googleapis.com/v1/projects/{p}/services/{service}:enable")
def enable_service(project: "Project", request: Request, p: str, service: str) -> Any:
    project.enabled.setdefault(service, project.now + project.visible_after)
    return DONE


@route("GET", "serviceusage.googleapis.com/v1/operations/{name}")
def get_service_operation(project: "Project", request: Request, name: str) -> Any:
    return DONE


# Accounts


@route("POST", "oauth2.googleapis.com/token")
def give_tokens(project: "Project", request: Request) -> Any:
    """Issues access and identity tokens for the project's owner, or for a service account's key."""
    asked = dict(parse_qsl(request.body.decode()))
    claims = {"member": "user:owner@example.com", "aud": "gcloud", "exp": 2**33}
    if "assertion" in asked:
        signed = decode_token(asked["assertion"])
        claims |= {
            "member": f"serviceAccount:{signed['iss']}",
            "aud": signed.get("target_audience", "gcloud"),
        }
    answer = {"id_token": encode_token(claims), "expires_in": 3600, "token_type": "Bearer"}
    return answer | {"access_token": "an access token"}


def encode_token(claims: dict) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims))
    return b".".join([*(base64.urlsafe_b64encode(part) for part in parts), b"AA=="]).decode()


def decode_token(token: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def email_of(name: str) -> str:
    return f"{name}@acme.iam.gserviceaccount.com"


@route("POST", "iam.googleapis.com/v1/projects/{p}/serviceAccounts")
def create_account(project: "Project", request: Request, p: str) -> Any:
    email = email_of(request.content["accountId"])
    if email in project.accounts:
        raise already_exists(f"Service account {email}")
    project.accounts[email] = project.now + project.visible_after
    return {"name": f"projects/acme/serviceAccounts/{email}", "email": email}


@route("GET", "iam.googleapis.com/v1/projects/{p}/serviceAccounts/{email}")
def get_account(project: "Project", request: Request, p: str, email: str) -> Any:
    if not project.is_known(email):
        raise not_found(f"Service account {email}")
    return {"name": f"projects/acme/serviceAccounts/{email}", "email": email}


@route("DELETE", "iam.googleapis.com/v1/projects/{p}/serviceAccounts/{email}")
def delete_account(project: "Project", request: Request, p: str, email: str) -> Any:
    if project.accounts.pop(email, None) is None:
        raise not_found(f"Service account {email}")
    for policy in project.policies.values():
        for binding in policy.get("bindings", []):
            binding["members"] = [
                f"deleted:{member}?uid=1" if member == f"serviceAccount:{email}" else member
                for member in binding["members"]
            ]
    return {}


# Policies

URL_SAFE = str.maketrans("+/", "-_")  # the clients differ in how they write an etag


def read_policy(project: "Project", resource: str) -> dict:
    return project.policies.setdefault(resource, {"version": 1, "etag": "AAAA", "bindings": []})


def write_policy(project: "Project", resource: str, policy: dict) -> dict:
    """Replaces a policy if nobody changed it since it was read and all its members are known."""
    before = read_policy(project, resource)
    if policy.get("etag", before["etag"]).translate(URL_SAFE) != before["etag"]:
        raise refused("changed meanwhile")
    for binding in policy.get("bindings", []):
        for member in binding["members"]:
            kind, _, name = member.partition(":")
            ours = name.endswith("@acme.iam.gserviceaccount.com")
            if kind == "serviceAccount" and ours and not project.is_known(name):
                raise refused("account unknown", account=name)
            if member == "allUsers" and project.forbids_all_users:
                raise refused("policy forbids everyone")
    changed = hashlib.sha256(json.dumps(policy).encode()).digest()[:6]
    etag = base64.urlsafe_b64encode(changed).decode()
    project.policies[resource] = policy | {"etag": etag}
    return project.policies[resource]


@route("POST", "cloudresourcemanager.googleapis.com/v1/projects/{p}:getIamPolicy")
def get_project_policy(project: "Project", request: Request, p: str) -> Any:
    return read_policy(project, "project")


@route("POST", "cloudresourcemanager.googleapis.com/v1/projects/{p}:setIamPolicy")
def set_project_policy(project: "Project", request: Request, p: str) -> Any:
    return write_policy(project, "project", request.content["policy"])


# Buckets


@route("POST", "storage.googleapis.com/storage/v1/b")
def create_bucket(project: "Project", request: Request) -> Any:
    name = request.content["name"]
    if name in project.buckets:
        own = project.buckets[name]["projectNumber"] == "424242"
        message = "you already own it." if own else "The requested bucket name is not available."
        raise StorageRefused(409, "conflict", message)
    project.buckets[name] = {
        **request.content,
        "id": name,
        "projectNumber": "424242",
        "kind": "storage#bucket",
        "storageClass": "STANDARD",
    }
    return project.buckets[name]


@route("GET", "storage.googleapis.com/storage/v1/b")
def list_buckets(project: "Project", request: Request) -> Any:
    prefix = request.query.get("prefix", "")
    own = [each for each in project.buckets.values() if each["projectNumber"] == "424242"]
    return {"items": [each for each in own if each["name"].startswith(prefix)]}


def find_bucket(project: "Project", name: str) -> dict:
    if name not in project.buckets:
        raise StorageRefused(404, "notFound", "The specified bucket does not exist.")
    if project.buckets[name]["projectNumber"] != "424242":
        raise StorageRefused(403, "forbidden", f"No storage.buckets.get access to {name}.")
    return project.buckets[name]


@route("GET", "storage.googleapis.com/storage/v1/b/{name}")
def get_bucket(project: "Project", request: Request, name: str) -> Any:
    return find_bucket(project, name)


@route("PATCH", "storage.googleapis.com/storage/v1/b/{name}")
def update_bucket(project: "Project", request: Request, name: str) -> Any:
    project.buckets[name] = find_bucket(project, name) | request.content
    return project.buckets[name]


@route("GET", "storage.googleapis.com/storage/v1/b/{name}/iam")
def get_bucket_policy(project: "Project", request: Request, name: str) -> Any:
    find_bucket(project, name)
    return read_policy(project, f"bucket {name}")


@route("PUT", "storage.googleapis.com/storage/v1/b/{name}/iam")
def set_bucket_policy(project: "Project", request: Request, name: str) -> Any:
    find_bucket(project, name)
    return write_policy(project, f"bucket {name}", request.content)


@route("GET", "storage.googleapis.com/storage/v1/b/{bucket}/o")
def list_objects(project: "Project", request: Request, bucket: str) -> Any:
    return {"items": []}


@route("GET", "storage.googleapis.com/storage/v1/b/{bucket}/o/{name}")
def get_object(project: "Project", request: Request, bucket: str, name: str) -> Any:
    if (bucket, name) not in project.objects:
        raise StorageRefused(404, "notFound", f"No such object: {bucket}/{name}")
    if request.query.get("alt") == "media":
        return Raw(200, project.objects[bucket, name], "application/octet-stream")
    return described(project, bucket, name)


def described(project: "Project", bucket: str, name: str) -> dict:
    content = project.objects[bucket, name]
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "generation": "7",
        "size": str(len(content)),
        "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),  # noqa: S324
    }


@route("POST", "storage.googleapis.com/(?:resumable/)?upload/storage/v1/b/{bucket}/o")
def upload(project: "Project", request: Request, bucket: str) -> Any:
    find_bucket(project, bucket)
    if request.query["uploadType"] == "resumable":
        name = request.query.get("name") or request.content["name"]
        number = str(len(project.uploads))
        project.uploads[number] = {"bucket": bucket, "name": name, "content": b""}
        address = f"http://storage.googleapis.com/resumable/upload/{number}?upload_id={number}"
        return Raw(200, b"", headers={"Location": address})
    kind = request.headers["content-type"].replace("'", '"')
    head = f"Content-Type: {kind}\n\n".encode()
    about, content = email.message_from_bytes(head + request.body).get_payload()
    name = request.query.get("name") or json.loads(about.get_payload())["name"]
    project.objects[bucket, name] = content.get_payload(decode=True)
    return described(project, bucket, name)


@route("PUT", "storage.googleapis.com/resumable/upload/{number}")
def continue_upload(project: "Project", request: Request, number: str) -> Any:
    under_way = project.uploads[number]
    under_way["content"] += request.body
    if request.headers.get("content-range", "/1").endswith("/*"):
        end = len(under_way["content"]) - 1
        return Raw(308, b"", headers={"Range": f"bytes=0-{end}"})
    project.objects[under_way["bucket"], unquote(under_way["name"])] = under_way["content"]
    return described(project, under_way["bucket"], under_way["name"])


# Secrets


def find_secret(project: "Project", name: str) -> list[dict]:
    if name not in project.secrets:
        raise not_found(f"Secret [projects/424242/secrets/{name}]")
    return project.secrets[name]


def find_version(project: "Project", name: str, version: str) -> dict:
    versions = find_secret(project, name)
    number = len(versions) if version == "latest" else int(version)
    if not 1 <= number <= len(versions):
        raise not_found(f"Secret Version [projects/424242/secrets/{name}/versions/{version}]")
    return versions[number - 1]


@route("POST", "secretmanager.googleapis.com/v1/projects/{p}/secrets")
def create_secret(project: "Project", request: Request, p: str) -> Any:
    name = request.query["secretId"]
    if name in project.secrets:
        raise already_exists(f"Secret [projects/424242/secrets/{name}]")
    if project.forbids_global and "automatic" in request.content["replication"]:
        raise refused("policy forbids a place", what="secret")
    project.secrets[name] = []
    return {"name": f"projects/424242/secrets/{name}"}


@route("GET", "secretmanager.googleapis.com/v1/projects/{p}/secrets/{name}")
def get_secret(project: "Project", request: Request, p: str, name: str) -> Any:
    find_secret(project, name)
    return {"name": f"projects/424242/secrets/{name}"}


@route("POST", "secretmanager.googleapis.com/v1/projects/{p}/secrets/{name}:addVersion")
def add_version(project: "Project", request: Request, p: str, name: str) -> Any:
    versions = find_secret(project, name)
    number = len(versions) + 1
    version = {"name": f"projects/424242/secrets/{name}/versions/{number}", "state": "ENABLED"}
    version["clientSpecifiedPayloadChecksum"] = True
    versions.append(version | {"data": request.content["payload"]["data"]})
    return version


@route("GET", "secretmanager.googleapis.com/v1/projects/{p}/secrets/{name}/versions/{version}")
def get_version(project: "Project", request: Request, p: str, name: str, version: str) -> Any:
    found = find_version(project, name, version)
    return {"name": found["name"], "state": found["state"]}


@route(
    "GET", "secretmanager.googleapis.com/v1/projects/{p}/secrets/{name}/versions/{version}:access"
)
def access_version(project: "Project", request: Request, p: str, name: str, version: str) -> Any:
    found = find_version(project, name, version)
    return {"name": found["name"], "payload": {"data": found["data"]}}


@route("GET", "secretmanager.googleapis.com/v1/projects/{p}/secrets/{name}:getIamPolicy")
def get_secret_policy(project: "Project", request: Request, p: str, name: str) -> Any:
    find_secret(project, name)
    return read_policy(project, f"secret {name}")


@route("POST", "secretmanager.googleapis.com/v1/projects/{p}/secrets/{name}:setIamPolicy")
def set_secret_policy(project: "Project", request: Request, p: str, name: str) -> Any:
    find_secret(project, name)
    return write_policy(project, f"secret {name}", request.content["policy"])


# Repositories of images

REPOSITORIES = "artifactregistry.googleapis.com/v1/projects/{p}/locations/{r}/repositories"


@route("POST", REPOSITORIES)
def create_repository(project: "Project", request: Request, p: str, r: str) -> Any:
    name = request.query["repositoryId"]
    if name in project.repositories:
        raise already_exists(f"Repository {name}")
    project.repositories[name] = request.content
    return DONE | {"name": "projects/acme/locations/europe-west1/operations/done", "response": {}}


@route("GET", REPOSITORIES + "/{name}")
def get_repository(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    if name not in project.repositories:
        raise not_found(f"Repository {name}")
    full = f"projects/acme/locations/europe-west1/repositories/{name}"
    return project.repositories[name] | {"name": full}


@route("PATCH", REPOSITORIES + "/{name}")
def update_repository(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    get_repository(project, request, p, r, name)
    project.repositories[name] |= request.content
    return get_repository(project, request, p, r, name)


@route("GET", "artifactregistry.googleapis.com/v1/projects/{p}/locations/{r}/operations/{name}")
def get_repository_operation(
    project: "Project", request: Request, p: str, r: str, name: str
) -> Any:
    return DONE | {"response": {}}


@route("GET", REPOSITORIES + "/{name}:getIamPolicy")
def get_repository_policy(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    get_repository(project, request, p, r, name)
    return read_policy(project, f"repository {name}")


@route("POST", REPOSITORIES + "/{name}:setIamPolicy")
def set_repository_policy(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    get_repository(project, request, p, r, name)
    return write_policy(project, f"repository {name}", request.content["policy"])


# Instances and scheduled jobs


@route("GET", "sqladmin.googleapis.com/sql/v1beta4/projects/{p}/instances/{name}")
def get_instance(project: "Project", request: Request, p: str, name: str) -> Any:
    if name not in project.instances:
        raise StorageRefused(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
    return project.instances[name]


@route("GET", "sqladmin.googleapis.com/sql/v1beta4/projects/{p}/instances/{name}/users")
def list_users(project: "Project", request: Request, p: str, name: str) -> Any:
    get_instance(project, request, p, name)
    return {"items": [{"name": user, "host": "%"} for user in project.database_users]}


@route("GET", "sqladmin.googleapis.com/sql/v1beta4/projects/{p}/instances/{name}/listServerCas")
def list_authorities(project: "Project", request: Request, p: str, name: str) -> Any:
    """The certificates of an instance that is its own authority."""
    instance = get_instance(project, request, p, name)
    if instance["settings"]["ipConfiguration"]["serverCaMode"] != "GOOGLE_MANAGED_INTERNAL_CA":
        raise StorageRefused(400, "invalid", "The instance has no server CA of its own.")
    certificates = described_certificates(instance["authority"])
    return {"certs": certificates, "activeVersion": certificates[0]["sha1Fingerprint"]}


@route(
    "GET",
    "sqladmin.googleapis.com/sql/v1beta4/projects/{p}/instances/{name}/listServerCertificates",
)
def list_certificates(project: "Project", request: Request, p: str, name: str) -> Any:
    """The certificates of an instance with a shared authority, each with its authority's."""
    instance = get_instance(project, request, p, name)
    if instance["settings"]["ipConfiguration"]["serverCaMode"] == "GOOGLE_MANAGED_INTERNAL_CA":
        raise StorageRefused(400, "invalid", "The instance has no shared server CA.")
    own = described_certificates([certificate("server")] * len(instance["authority"]))
    authorities = described_certificates(instance["authority"])
    return {
        "serverCerts": own,
        "caCerts": authorities,
        "activeVersion": own[0]["sha1Fingerprint"],
    }


def described_certificates(certificates: list[str]) -> list[dict]:
    return [
        {
            "cert": each,
            "sha1Fingerprint": f"{number:040}",
            "createTime": f"2026-11-2{number}T20:00:00Z",
            "expirationTime": "2036-11-24T20:00:00Z",
        }
        for number, each in enumerate(certificates)
    ]


JOBS = "cloudscheduler.googleapis.com/v1/projects/{p}/locations/{r}/jobs"


@route("POST", JOBS)
def create_job(project: "Project", request: Request, p: str, r: str) -> Any:
    name = request.content["name"].rpartition("/")[2]
    if name in project.scheduled:
        raise already_exists(f"Job {name}")
    project.scheduled[name] = request.content
    return request.content


@route("GET", JOBS + "/{name}")
def get_job(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    if name not in project.scheduled:
        raise not_found("Job")
    return project.scheduled[name]


@route("PATCH", JOBS + "/{name}")
def update_job(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    project.scheduled[name] = get_job(project, request, p, r, name) | request.content
    return project.scheduled[name]


@route("DELETE", JOBS + "/{name}")
def delete_job(project: "Project", request: Request, p: str, r: str, name: str) -> Any:
    get_job(project, request, p, r, name)
    del project.scheduled[name]
    return {}
