"""Stores small backups for tests of many of them, and compares what is left."""

import datetime
import json
from collections.abc import Iterable
from typing import Any

from conftest import Bucket

from hiring.tables import TABLES

NOW = datetime.datetime.now(datetime.UTC)


def write_backup(
    bucket: Bucket,
    taken: datetime.datetime,
    database: str = "hiring",
    *,
    is_copy: bool = True,
    rows: int = 1,
    **manifest_keys: Any,
) -> str:
    """Stores a backup with a given time and objects of one byte each; returns its name.

    A copy has other generations than its manifest says, so the time at which it is stored here
    says nothing.
    """
    name = f"{taken:%Y%m%dT%H%M%S.%fZ}"
    folder = f"hiring/backups/{name}/"

    def put(inner: str, content: bytes = b"x") -> dict[str, Any]:
        blob = bucket.blob(folder + inner)
        blob.upload_from_string(content)
        return {
            "name": inner,
            "bytes": len(content),
            "crc32c": blob.crc32c,
            "generation": blob.generation - is_copy,
        }

    manifest = {
        "format": 1,
        "taken_at": f"{taken:%Y-%m-%dT%H:%M:%S.%fZ}",
        "database": database,
        "server_version": "10.11.0-MariaDB",
        "tables": [
            {
                "table": table,
                "rows": rows,
                "invalid_rows": 0,
                "objects": [put(f"{table}.avro") | {"rows": rows}],
            }
            for table in TABLES
        ],
        "schema": put("schema.sql"),
        "reports": [],
        **manifest_keys,
    }
    put("manifest.json", json.dumps(manifest).encode())
    return name


def write_backups(bucket: Bucket, ages: Iterable[int]) -> list[str]:
    """Stores backups of these ages in days, oldest first; returns their names in given order."""
    names = {
        age: write_backup(bucket, NOW - datetime.timedelta(days=age))
        for age in sorted(ages, reverse=True)
    }
    return [names[age] for age in ages]


def folders(bucket: Bucket) -> dict[str, set[str]]:
    """The names of the objects in each folder."""
    found: dict[str, set[str]] = {}
    for blob in bucket.client.list_blobs(bucket.name, prefix="hiring/backups/"):
        folder, _, inner = blob.name.removeprefix("hiring/backups/").partition("/")
        found.setdefault(folder, set()).add(inner)
    return found


def no_manifest_lies(bucket: Bucket) -> None:
    """Checks that every folder with a manifest has all objects that it names."""
    for name, inner in folders(bucket).items():
        if "manifest.json" in inner:
            content = bucket.blob(f"hiring/backups/{name}/manifest.json").download_as_bytes()
            manifest = json.loads(content)
            named = {each["objects"][0]["name"] for each in manifest["tables"]}
            assert named | {"schema.sql"} <= inner, name
