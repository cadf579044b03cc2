"""`manage.py bigquery` prints the `bq` commands that load a backup into BigQuery.

https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-avro
"""

import argparse
import io
import json
import re

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
"""BigQuery takes the first of them that holds a decimal column's digits.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad
"""


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
    with storage_client.translated(folder.bucket):
        bucket = storage_client.client().get_bucket(
            folder.bucket, timeout=storage_client.TIMEOUT_SECONDS
        )
    place = bucket.location or "US"
    answer(
        f"# Backup of database {found.manifest.database}, taken at {found.manifest.taken_at}.",
        f"# The dataset must be in the location of bucket {folder.bucket}: {place}.",
    )
    for name in TABLES:
        table = found.manifest.tables[name]
        columns = _read_columns(folder, table.objects[0].name)
        answer("", f"# Table {name}: {counted(table.rows, 'row')}.", *_notes(columns, table))
        addresses = [folder.address + stored.name for stored in table.objects]
        answer(*_commands(f"{options.dataset}.{name}", place, addresses))
    return 0


def _commands(table: str, place: str, addresses: list[str]) -> list[str]:
    """The lines that load objects into a table, or make an external table of them."""
    load = ["load", "--source_format=AVRO", "--use_avro_logical_types"]
    load += [f"--decimal_target_types={target}" for target in DECIMAL_TARGETS]
    definition = {
        "sourceFormat": "AVRO",
        "sourceUris": addresses,
        "avroOptions": {"useAvroLogicalTypes": True},
        "decimalTargetTypes": DECIMAL_TARGETS,
    }
    file = f"{table.rpartition('.')[2]}.external.json"
    make = ["mk", f"--external_table_definition={file}", f"{table}_external"]
    return [
        for_shell(["bq", f"--location={place}", *load, table, ",".join(addresses)]),
        "# Or as an external table, which reads the objects at each query:",
        f"printf %s {for_shell([json.dumps(definition)])} > {file}",
        for_shell(["bq", f"--location={place}", *make]),
    ]


def _read_columns(folder: CloudFolder, name: str) -> tuple[Column, ...]:
    try:
        with folder.open(name, to_end=False) as stream:
            return container.read(io.BufferedReader(stream, BUFFER_BYTES))[0]
    except ValueError as error:
        raise BadSource(f"{folder.address}{name} can't be read: {error}") from error


def _notes(columns: tuple[Column, ...], table: StoredTable) -> list[str]:
    """The differences between the table and its copy in BigQuery, a comment each."""
    kept = {
        "STRING": [each for each in columns if _becomes_string(each)],
        "BYTES": [each for each in columns if each.type.avro == "bytes"],
    }
    notes = [
        f"# Stays {kind}: {', '.join(f'{each.name} ({each.mysql_type})' for each in found)}."
        for kind, found in kept.items()
        if found
    ]
    if table.invalid_rows:
        notes.append(f"# Not in it: {counted(table.invalid_rows, 'invalid record')}, in invalid/.")
    return notes


def _becomes_string(column: Column) -> bool:
    """Whether BigQuery has a STRING for a column that is not a text in MySQL.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
    """
    kind = column.type.avro
    if isinstance(kind, dict) and kind.get("logicalType") == "decimal":
        return bool(kind["scale"] > 38 or kind["precision"] - kind["scale"] > 38)
    return kind == "string" and not re.match(
        r"(var)?char|(tiny|medium|long)?text", column.mysql_type
    )
