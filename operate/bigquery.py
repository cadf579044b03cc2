"""`manage.py bigquery` prints the `bq` commands that load a backup into BigQuery.

https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-avro
"""

import argparse
import io
import json
import re
from typing import Any

from hiring.avro import container
from hiring.avro.schema import Column
from hiring.errors import BadSource
from hiring.progress import answer
from hiring.settings import Settings
from hiring.storage import catalog, storage_client
from hiring.storage.folders import CloudFolder, find_in_cloud
from hiring.storage.manifest import StoredTable
from hiring.storage.reader import BUFFER_BYTES
from hiring.tables import TABLES
from hiring.terminal import counted, for_shell

DECIMAL_TARGETS = ("NUMERIC", "BIGNUMERIC", "STRING")
"""BigQuery's types for decimals, in the order in which it tries them."""


def run(settings: Settings, options: argparse.Namespace) -> int:  # noqa: ARG001 - of every command
    """Prints the lines for one backup; returns the exit status.

    Raises:
        BadSource: the address is not that of a backup in Cloud Storage.
        StorageFailed: Cloud Storage refused or failed.
    """
    folder = find_in_cloud(options.address)
    found = catalog.read_one(folder)
    if not found.manifest:
        raise BadSource(f"{folder.address} is not a backup: {found.faults[0]}")
    place = _place(folder.bucket)
    answer(f"# Backup of database {found.manifest.database}, taken at {found.manifest.taken_at}.")
    answer(f"# The dataset must be in the location of bucket {folder.bucket}: {place}.")
    for name in TABLES:
        _print_table(folder, name, found.manifest.tables[name], options.dataset, place)
    return 0


def _place(bucket: str) -> str:
    with storage_client.translated(bucket):
        found = storage_client.client().get_bucket(bucket, timeout=storage_client.TIMEOUT_SECONDS)
    return str(found.location or "US")


def _print_table(
    folder: CloudFolder, name: str, table: StoredTable, dataset: str, place: str
) -> None:
    fields = _fields(folder, table)
    targets = _decimal_targets(fields)
    addresses = [folder.address + stored.name for stored in table.objects]
    answer("")
    answer(f"# Table {name}: {counted(table.rows, 'row')}.")
    for line in _notes(fields, table):
        answer(f"# {line}")
    answer(
        for_shell(
            [
                "bq",
                f"--location={place}",
                "load",
                "--source_format=AVRO",
                "--use_avro_logical_types",
                *(f"--decimal_target_types={target}" for target in targets),
                f"{dataset}.{name}",
                ",".join(addresses),
            ]
        )
    )
    definition: dict[str, Any] = {
        "sourceFormat": "AVRO",
        "sourceUris": addresses,
        "avroOptions": {"useAvroLogicalTypes": True},
    }
    if targets:
        definition["decimalTargetTypes"] = targets
    file = f"{name}.external.json"
    answer("# Or as an external table, which reads the objects at each query:")
    answer(f"printf %s {for_shell([json.dumps(definition)])} > {file}")
    answer(
        for_shell(
            [
                "bq",
                f"--location={place}",
                "mk",
                f"--external_table_definition={file}",
                f"{dataset}.{name}_external",
            ]
        )
    )


def _fields(folder: CloudFolder, table: StoredTable) -> tuple[Column, ...]:
    """The fields of the table's Avro schema."""
    name = table.objects[0].name
    try:
        fields, _ = container.read(io.BufferedReader(folder.beginning(name), BUFFER_BYTES))
    except ValueError as error:
        raise BadSource(f"{folder.address}{name} can't be read: {error}") from error
    return fields


def _target(field: Column) -> str | None:
    """BigQuery's type for a decimal field; None for another field.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
    """
    kind = field.type.avro
    if not isinstance(kind, dict) or field.type.logical != "decimal":
        return None
    scale, whole = kind["scale"], kind["precision"] - kind["scale"]
    if scale <= 9 and whole <= 29:
        return "NUMERIC"
    return "BIGNUMERIC" if scale <= 38 and whole <= 38 else "STRING"


def _decimal_targets(fields: tuple[Column, ...]) -> list[str]:
    """The targets up to the widest that a field needs; none if all fit NUMERIC, the default."""
    needed = {_target(field) for field in fields}
    last = max((DECIMAL_TARGETS.index(each) for each in needed if each), default=0)
    return list(DECIMAL_TARGETS[: last + 1]) if last else []


def _notes(fields: tuple[Column, ...], table: StoredTable) -> list[str]:
    """The differences between the table and its copy in BigQuery, a sentence each."""
    kept = {
        "STRING": [each for each in fields if _target(each) == "STRING" or _is_text(each)],
        "BYTES": [each for each in fields if each.type.avro == "bytes"],
    }
    notes = [
        f"Stays {kind}: {', '.join(map(_described, found))}."
        for kind, found in kept.items()
        if found
    ]
    if table.invalid_rows:
        notes.append(f"Not in it: {counted(table.invalid_rows, 'invalid record')}, in invalid/.")
    return notes


def _is_text(field: Column) -> bool:
    """Whether a field is a string although its column is not a text in MySQL."""
    return field.type.avro == "string" and not re.match(
        r"(var)?char|(tiny|medium|long)?text", field.mysql_type
    )


def _described(field: Column) -> str:
    return f"{field.name} ({field.mysql_type})"
