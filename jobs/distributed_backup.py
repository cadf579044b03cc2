"""A backup by many workers at one moment, for tables that one function cannot read within its hour.

    spark-submit jobs/distributed_backup.py [--workers N]

For Spark on Dataproc. The driver splits each table into ranges of its primary key with about the
same number of rows. Then one barrier stage runs, whose tasks start all together or not at all, each
with a connection of its own:

    1. One task locks the three tables for reading. Writers wait from here on.
    2. Each task opens a snapshot. Nobody can commit meanwhile, so all snapshots hold the same.
    3. The lock is let go, some milliseconds later. Writers go on.
    4. The tasks store their ranges, with the function's reader and writer. The first one also reads
       time, position, schema and reports in its snapshot.

The driver stores the manifest last, as the function does, so every reader of backups reads this
one. If a task dies, all is done again: with a new lock, at a new moment, in a new folder.

Needs the functions' settings; DB_PASS_SECRET may replace DB_PASS. The database user needs SELECT
and LOCK TABLES.
"""

import argparse
import functools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pyspark import BarrierTaskContext, SparkContext
from pyspark.sql import SparkSession

import backup
import db
from hiring import logs
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.errors import BundleError, Busy
from hiring.mysql.connection import Connection
from hiring.mysql.statements import select
from hiring.settings import Settings, StorageLocation
from hiring.storage.manifest import MANIFEST
from hiring.storage.objects import OutputFolder
from hiring.storage.rows import StoredRows, store_rows
from hiring.tables import TABLES
from jobs import command, one_moment
from jobs.ranges import Range, split

RANGES_OF_A_WORKER = 4
"""So that workers end at about the same time, though ranges differ in size."""
ATTEMPTS = 4
"""As often as Spark tries a task."""

CONFIGURATION = {
    "spark.barrier.sync.timeout": f"{one_moment.BARRIER_SECONDS}s",
    # This job repeats the stage itself, in a folder of its own.
    "spark.stage.maxConsecutiveAttempts": "1",
}


@dataclass(frozen=True)
class Work:
    """What the tasks of one attempt share: the folder to store into, and the split tables."""

    settings: Settings
    folder: StorageLocation
    tables: list[Table]
    ranges: list[Range]


# On a worker


@dataclass(frozen=True)
class Share:
    """What one task stored.

    Attributes:
        parts: its ranges with their objects.
        entries: of the manifest, from the first task.
        rows: of each table in the snapshot, from the first task.
        error: why nothing was stored, and no other attempt would do better.
    """

    parts: list[tuple[Range, StoredRows]] = field(default_factory=list)
    entries: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    error: BundleError | None = None


def store_share(work: Work, _numbers: Iterator[int]) -> Iterator[Share]:
    """Does the work of one task of the barrier stage."""
    context = BarrierTaskContext.get()
    task, tasks = context.partitionId(), len(context.getTaskInfos())
    deadline = Deadline(command.JOB_SECONDS)
    name = work.folder.prefix.rstrip("/").rpartition("/")[2]
    with db.own_connection(
        work.settings, deadline, patience=db.BACKUP_CONNECT_SECONDS, **db.SNAPSHOT_LIMITS
    ) as connection:
        head: dict[str, Any] = {}
        refused: BundleError | None = None
        if task:
            one_moment.follow(connection, name, task)
        else:
            head, refused = one_moment.lead(connection, name, tasks, work.settings, deadline)
        if any(context.allGather("refused" if refused else "")):
            yield Share(error=refused)
        else:
            yield _store(work, connection, deadline, head, context)


def _store(
    work: Work,
    connection: Connection,
    deadline: Deadline,
    head: dict[str, Any],
    context: BarrierTaskContext,
) -> Share:
    """Stores every n-th range, and, where there is a head, schema and reports."""
    for table in work.tables:
        if read_table(connection, table.name) != table:
            raise Busy(f"{table.name} was altered before it could be locked")
    number, tasks = context.partitionId(), len(context.getTaskInfos())
    tables = {table.name: table for table in work.tables}
    folder = OutputFolder(work.folder, "", connection, deadline)
    parts = []
    for part in work.ranges[number::tasks]:
        name = f"{part.table}-{part.number:05}-{context.taskAttemptId()}.avro"
        statement = f"{tables[part.table].statement} WHERE {part.condition}"
        stored = store_rows(connection, tables[part.table], statement, folder, name, deadline)
        parts.append((part, stored))
    if not head:
        return Share(parts)
    db.check_base_tables(connection, engine="InnoDB")
    reports = backup.store_reports(connection, folder, None)
    schema = backup.store_schema(connection, folder)
    entries = {**head, "workers": tasks, "reports": reports, "schema": schema}
    return Share(parts, entries, db.count_rows(connection))


# On the driver


def prepare(settings: Settings, location: StorageLocation, workers: int) -> Work:
    """Splits the tables as they are now, for an attempt with a folder of its own.

    Raises:
        BundleError: a table is missing, is not a base table, or cannot be read.
    """
    deadline = Deadline(command.JOB_SECONDS)
    with db.snapshot(settings, deadline, patience=db.BACKUP_CONNECT_SECONDS) as connection:
        ((started, *_),) = select(connection, backup.SERVER)
        db.check_base_tables(connection, engine="InnoDB")
        tables = [read_table(connection, name) for name in TABLES]
        rows = db.count_rows(connection)
        most = max(1, math.ceil(sum(rows.values()) / (workers * RANGES_OF_A_WORKER)))
        ranges = [
            part for table in tables for part in split(connection, table, rows[table.name], most)
        ]
    folder = StorageLocation(location.bucket, location.prefix + backup.folder_path(started))
    return Work(settings, folder, tables, ranges)


def attempt(context: SparkContext, work: Work, workers: int) -> dict[str, Any]:
    """Runs the stage; returns the manifest.

    Raises:
        BundleError: no other attempt would do better.
        Exception: Spark's, with a worker's error in its text.
    """
    logs.event("ranges", number=len(work.ranges), workers=workers)
    numbers = context.parallelize(range(workers), workers).barrier()
    shares = numbers.mapPartitions(functools.partial(store_share, work)).collect()
    for share in shares:
        if share.error:
            raise share.error
    parts = sorted(
        (each for share in shares for each in share.parts), key=lambda each: each[0].number
    )
    entries = [
        backup.table_entry(name, [stored for part, stored in parts if part.table == name])
        for name in TABLES
    ]
    (lead,) = (share for share in shares if share.entries)
    if backup.row_counts(entries) != lead.rows:
        raise BundleError(f"the ranges have {backup.row_counts(entries)} rows, not {lead.rows}")
    return {**lead.entries, "tables": entries}


def take(
    context: SparkContext, settings: Settings, location: StorageLocation, workers: int
) -> None:
    """Takes the backup, in several attempts where workers fail.

    Raises:
        Exception: the backup failed; no manifest is left, and as far as possible no object.
    """
    given_up: list[OutputFolder] = []
    started = time.monotonic()
    try:
        for number in range(1, ATTEMPTS + 1):
            try:
                work = prepare(settings, location, workers)
            except Busy:  # a table is being altered or swapped
                if number == ATTEMPTS:
                    raise
                continue
            folder = OutputFolder(work.folder, "", None, Deadline(command.JOB_SECONDS))
            logs.event("backup started", backup=folder.address)
            given_up.append(folder)
            try:
                manifest = attempt(context, work, workers)
                break
            except Exception as error:
                if isinstance(error, BundleError) or number == ATTEMPTS:
                    raise
                logs.event("backup begins again", "WARNING", backup=folder.address)
        given_up.remove(folder)
        try:
            backup.store_manifest(folder, manifest)
        except BaseException:
            if not folder.remove(first=MANIFEST):
                given_up.append(folder)
            raise
        seconds = round(time.monotonic() - started, 3)
        logs.event("backup stored", backup=folder.address, seconds=seconds)
    finally:
        if given_up:
            context.stop()  # otherwise a range in progress would still be stored
        for folder in given_up:
            folder.remove_all()


# The command


def run(options: argparse.Namespace) -> None:
    """Takes the backup.

    Raises:
        Exception: as `take`.
    """
    settings = command.database_settings()
    location = settings.require_storage()
    builder = SparkSession.builder.appName("hiring-backup")
    for name, value in CONFIGURATION.items():
        builder = builder.config(name, value)
    context = builder.getOrCreate().sparkContext
    take(context, settings, location, options.workers or context.defaultParallelism)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Backs the tables up with Spark's workers.")
    parser.add_argument("--workers", type=int, help="number of tasks; all slots by default")
    options = parser.parse_args()
    if options.workers is not None and options.workers < 1:
        parser.error("--workers takes a whole number of at least 1")
    return options


if __name__ == "__main__":
    sys.exit(command.run(functools.partial(run, read_arguments())))
