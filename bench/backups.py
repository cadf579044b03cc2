"""How long backups.py takes with many backups, and how many requests it sends.

    python -m bench.backups [BACKUPS]     1,000 unless told

Stores small backups, a day apart, in a Cloud Storage emulator; then lists them, and prunes all but
the newest. Prints the seconds and CPU seconds of each command and the requests that it sent. The
emulator runs beside it; its CPU seconds are not counted.
"""

import datetime
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tabulate
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

import db
from bench import stack
from bench.load import measure
from local.storage import Fault, StorageEmulator

WRITERS = 8
NEWEST = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
REPORTS = [
    f"reports/{report}-2021.{kind}"
    for report in ("quarterly-hired", "hiring-by-department")
    for kind in ("json", "ndjson")
]
COMMANDS = (
    ("list", "--json"),
    ("prune", "--keep-last", "1", "--keep-days", "0"),
)
REQUESTS = (
    ("listings", "GET", r"/o\?"),
    ("reads", "GET", "/download/"),
    ("batches", "POST", "^/batch/"),
    ("removals in them", "DELETE", ""),
)


def store_backup(bucket: storage.Bucket, taken: datetime.datetime) -> None:
    """Stores a backup of a day, with as many objects as the function's, of a byte each."""
    folder = f"backups/{taken:%Y%m%dT%H%M%S.%fZ}/"

    def put(name: str, content: bytes = b"x") -> dict[str, Any]:
        blob = bucket.blob(folder + name)
        blob.upload_from_string(content)
        size, crc32c, generation = len(content), blob.crc32c, blob.generation
        return {"name": name, "bytes": size, "crc32c": crc32c, "generation": generation}

    manifest = {
        "format": 1,
        "taken_at": f"{taken:%Y-%m-%dT%H:%M:%S.%fZ}",
        "database": stack.DATABASE,
        "server_version": "8.4.0",
        "tables": [
            {
                "table": table,
                "rows": 1,
                "invalid_rows": 0,
                "objects": [put(f"{table}.avro") | {"rows": 1}],
            }
            for table in db.TABLES
        ],
        "schema": put("schema.sql"),
        "reports": [put(name) for name in REPORTS],
    }
    put("manifest.json", json.dumps(manifest).encode())


def run(emulator: StorageEmulator, backups: int) -> None:
    """Stores the backups, runs each command, prints the table."""
    client = storage.Client(
        project="bench",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": emulator.url},
    )
    bucket = client.bucket(stack.BUCKET)
    days = (NEWEST - datetime.timedelta(days=age) for age in range(backups))
    with ThreadPoolExecutor(WRITERS) as writers:
        # The newest comes last, as it does in life: prune keeps the one that was stored last.
        list(writers.map(lambda taken: store_backup(bucket, taken), reversed(list(days))))
    environment = {
        **os.environ,
        "GCS_PATH": stack.BUCKET,
        "DB_NAME": stack.DATABASE,
        "STORAGE_EMULATOR_HOST": emulator.url,
    }
    lines = []
    for command in COMMANDS:
        # A fault that does nothing counts what it fits.
        counters = [
            Fault(match, method, times=None, action="none") for _, method, match in REQUESTS
        ]
        emulator.faults = list(counters)
        command_line = [sys.executable, str(stack.PROJECT / "backups.py"), *command]
        found = measure(command_line, environment, None)
        counted = [each.seen for each in counters]
        lines.append(
            [" ".join(command), f"{found.seconds:.1f}", f"{found.cpu_seconds:.1f}", *counted]
        )
    print(f"{backups:,} backups, {stack.machine()}")
    headers = ["backups.py", "seconds", "CPU s", *(name for name, *_ in REQUESTS)]
    print(
        tabulate.tabulate(lines, headers, disable_numparse=True, colalign=["left"] + ["right"] * 6)
    )


def main() -> None:
    backups = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        emulator = StorageEmulator(Path(folder))
        emulator.start()
        try:
            emulator.ensure_bucket(stack.BUCKET)
            run(emulator, backups)
        finally:
            emulator.stop()


if __name__ == "__main__":
    main()
