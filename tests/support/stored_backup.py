"""Reads, copies and edits stored backups in tests."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import google_crc32c
from conftest import Bucket


def path(answer: dict[str, Any]) -> str:
    """The folder of a backup in its bucket, from the function's answer."""
    return str(answer["backup"]).split("/", 3)[3]


def records(bucket: Bucket, answer: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """The rows of a table, as fastavro reads them."""
    content = bucket.blob(f"{path(answer)}{table}.avro").download_as_bytes()
    return list(fastavro.reader(io.BytesIO(content)))


def invalid_records(bucket: Bucket, answer: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """The invalid records of a table."""
    content = bucket.blob(f"{path(answer)}invalid/{table}.jsonl").download_as_bytes()
    return [json.loads(line) for line in content.splitlines()]


def entry(answer: dict[str, Any], table: str) -> dict[str, Any]:
    """The manifest's entry for a table."""
    found: dict[str, Any]
    (found,) = (each for each in answer["tables"] if each["table"] == table)
    return found


def download(bucket: Bucket, answer: dict[str, Any], folder: Path) -> Path:
    """Copies a backup into a local folder; returns the copy's path."""
    copy = folder / "backups" / path(answer).rstrip("/").rpartition("/")[2]
    for name, content in bucket.blobs(path(answer)).items():
        file = copy / name.removeprefix(path(answer))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return copy


def rewrite(copy: Path, name: str, content: bytes) -> None:
    """Replaces a file of a copied backup, with its size and checksum in the manifest."""
    (copy / name).write_bytes(content)
    crc32c = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()

    def renew(entry: dict[str, Any]) -> dict[str, Any]:
        if entry.get("name") == name:
            entry |= {"bytes": len(content), "crc32c": crc32c}
        return entry

    manifest = json.loads((copy / "manifest.json").read_text(), object_hook=renew)
    (copy / "manifest.json").write_text(json.dumps(manifest))
