"""The results of a job: a folder in Cloud Storage, completed by a manifest.

gs://bucket/prefix/KIND/20261122T151624.123456Z/
    ...
    manifest.json      the source of the results, stored last; without it the folder is incomplete
"""

import datetime
import json
from collections.abc import Mapping
from typing import Any

import backup
from hiring import logs
from hiring.deadline import Deadline
from hiring.settings import StorageLocation
from hiring.storage.manifest import MANIFEST
from hiring.storage.objects import OutputFolder
from hiring.version import WRITER
from jobs.command import JOB_SECONDS

FORMAT = 1
"""The version of the manifest's rules."""


def store(
    location: StorageLocation, kind: str, contents: Mapping[str, bytes], manifest: dict[str, Any]
) -> str:
    """Stores objects, then the manifest that lists them; returns the folder's address.

    Args:
        location: to store into.
        kind: of the folder, such as `forecasts`.
        contents: of the objects, by name.
        manifest: its entries beside the objects.

    Raises:
        StorageFailed: storing failed; no manifest is left, and as far as possible no object.
    """
    run = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
    folder = OutputFolder(location, f"{kind}/{run}/", None, Deadline(JOB_SECONDS))
    try:
        objects = [
            folder.put(name, _media_type(name), content) for name, content in contents.items()
        ]
        backup.store_manifest(
            folder, {"format": FORMAT, "writer": WRITER, **manifest, "objects": objects}
        )
    except BaseException:
        folder.remove(first=MANIFEST)
        raise
    logs.event("results stored", kind=kind, address=folder.address)
    return folder.address


def _media_type(name: str) -> str:
    return "text/html; charset=utf-8" if name.endswith(".html") else "application/json"


def as_json(content: object) -> bytes:
    """JSON for people and programs, the same bytes for the same content."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"
