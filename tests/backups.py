"""What the tests look up in a backup that was stored."""

import io
import json
from typing import Any

import fastavro
from conftest import Bucket


def path(answer: dict[str, Any]) -> str:
    """The folder of a backup within its bucket, from the function's answer."""
    return answer["backup"].split("/", 3)[3]


def records(bucket: Bucket, answer: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """The rows of a table, as fastavro reads them."""
    content = bucket.blob(f"{path(answer)}{table}.avro").download_as_bytes()
    return list(fastavro.reader(io.BytesIO(content)))


def invalid_records(bucket: Bucket, answer: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """The invalid records of a table."""
    content = bucket.blob(f"{path(answer)}invalid/{table}.jsonl").download_as_bytes()
    return [json.loads(line) for line in content.splitlines()]


def entry(answer: dict[str, Any], table: str) -> dict[str, Any]:
    """What the manifest says of a table."""
    (found,) = (each for each in answer["tables"] if each["table"] == table)
    return found
