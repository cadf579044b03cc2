"""`manage.py bigquery` prints the `bq` commands that load a backup into BigQuery.

https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-avro
"""

import argparse

from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.progress import answer
from hiring.settings import Settings
from hiring.storage import catalog, storage_client
from hiring.storage.folders import find_in_cloud
from hiring.tables import TABLES
from hiring.terminal import counted, for_shell

LOAD = (
    *("load", "--source_format=AVRO", "--use_avro_logical_types"),
    # BigQuery takes the first type that holds a column's digits.
    *(f"--decimal_target_types={each}" for each in ("NUMERIC", "BIGNUMERIC", "STRING")),
)


def run(_: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Prints the lines for one backup; returns the exit status."""
    folder = find_in_cloud(options.address, deadline)
    found = catalog.read_one(folder)
    manifest = found.manifest
    if not manifest:
        raise BadSource(f"{folder.address} is not a backup: {found.faults[0]}")
    with storage_client.translated(folder.bucket):
        bucket = storage_client.client().get_bucket(
            folder.bucket, timeout=storage_client.TIMEOUT_SECONDS
        )
    place = bucket.location or "US"
    answer(
        f"# Backup of database {manifest.database}, taken at {manifest.taken_at}.",
        f"# The dataset must be in the location of bucket {folder.bucket}: {place}.",
    )
    for name in TABLES:
        table = manifest.tables[name]
        answer("", f"# Table {name}: {counted(table.rows, 'row')}.")
        if table.invalid_rows:
            answer(f"# Not in it: {counted(table.invalid_rows, 'invalid record')}, in invalid/.")
        addresses = ",".join(folder.address + stored.name for stored in table.objects)
        command = ["bq", f"--location={place}", *LOAD, f"{options.dataset}.{name}", addresses]
        answer(for_shell(command))
    return 0
