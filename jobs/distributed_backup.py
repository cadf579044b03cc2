"""A backup by many workers at one moment, for tables whose rows take one process too long.

    spark-submit jobs/distributed_backup.py [--workers N]

The driver splits each table into ranges of its primary key with about the same number of rows. Then
one barrier stage runs, whose tasks start all together or not at all. `one_moment` opens a snapshot
for each, and each stores its ranges with the function's reader and writer. The first one also reads
time, position, schema and reports. The driver stores the manifest last, as the function does.

If a task dies, all is done again: with a new lock, at a new moment, in a new folder.
"""

import argparse
import functools
import itertools
import math
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark import BarrierTaskContext, SparkContext
from pyspark.sql import SparkSession

import backup
import db
from hiring import logs
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.errors import BundleError, Busy
from hiring.mysql.connection import Connection
from hiring.mysql.statements import quote, select
from hiring.settings import Settings, StorageLocation
from hiring.storage.manifest import MANIFEST
from hiring.storage.objects import OutputFolder
from hiring.storage.rows import store_rows
from hiring.tables import TABLES
from jobs import command, one_moment

RANGES_OF_A_WORKER = 4
"""So that workers end at about the same time, though ranges differ in size."""
ATTEMPTS = 4
"""As often as Spark tries a task."""
CONFIGURATION = {
    "spark.barrier.sync.timeout": f"{one_moment.BARRIER_SECONDS}s",
    # This job repeats the stage itself, in a folder of its own.
    "spark.stage.maxConsecutiveAttempts": "1",
}

ORDERED = re.compile(
    r"(tinyint|smallint|mediumint|int|bigint|decimal|year|date|datetime|timestamp"
    r"|char|varchar|binary|varbinary)\b"
)
"""MySQL types whose comparison with a literal has the order of ORDER BY.

An ENUM, for example, is ordered by its number but compared by its name: ranges would overlap.
"""


class Range(NamedTuple):
    """A part of a table's rows: each row meets the condition of exactly one range."""

    table: Table
    number: int
    condition: str


class Work(NamedTuple):
    """What the tasks of one attempt share: where they store which ranges."""

    settings: Settings
    location: StorageLocation
    path: str
    ranges: list[Range]

    def folder(self, connection: Connection | None, deadline: Deadline) -> OutputFolder:
        return OutputFolder(self.location, self.path, connection, deadline)


# On a worker


def store_share(work: Work, _numbers: Iterator[int]) -> Iterator[tuple[int | str, Any]]:
    """Does the work of one task.

    Returns:
        The manifest's entry for stored rows by the place of their range. From the first task also
        `entries` of the manifest and the `rows` of each table in the snapshot, or only why the
        tables were `refused`.
    """
    context = BarrierTaskContext.get()
    task, tasks = context.partitionId(), len(context.getTaskInfos())
    deadline = Deadline(command.JOB_SECONDS)
    with db.own_connection(
        work.settings, deadline, patience=db.BACKUP_CONNECT_SECONDS, **db.SNAPSHOT_LIMITS
    ) as connection:
        head: dict[str, Any] = {}
        refusal: BundleError | None = None
        if task:
            one_moment.follow(connection, work.path, task)
        else:
            head, refusal = one_moment.lead(connection, work.path, tasks, work.settings, deadline)
        if any(context.allGather("refused" if refusal else "")):
            if refusal:
                yield "refused", refusal
            return
        for table in {part.table.name: part.table for part in work.ranges}.values():
            if read_table(connection, table.name) != table:
                raise Busy(f"{table.name} was altered before it could be locked")
        folder = work.folder(connection, deadline)
        for place in range(task, len(work.ranges), tasks):
            table, number, condition = work.ranges[place]
            name = f"{table.name}-{number:05}-{context.taskAttemptId()}.avro"
            statement = f"{table.statement} WHERE {condition}"
            yield place, store_rows(connection, table, statement, folder, name)
        if head:
            db.check_base_tables(connection, engine="InnoDB")
            reports = backup.store_reports(connection, folder, None)
            schema = backup.store_schema(connection, folder)
            yield "entries", {**head, "workers": tasks, "reports": reports, "schema": schema}
            yield "rows", db.count_rows(connection)


# On the driver


def split(connection: Connection, table: Table, rows: int, most: int) -> list[Range]:
    """Splits a table of so many rows, by its key's first column, into ranges of `most` at most."""
    conditions = ["TRUE"]
    if rows > most and (bounds := list(_bounds(connection, table, most))):
        column = quote(table.primary_key[0])
        conditions = [
            f"{column} < {bounds[0]}",
            *(
                f"{column} >= {low} AND {column} < {high}"
                for low, high in itertools.pairwise(bounds)
            ),
            f"{column} >= {bounds[-1]}",
        ]
    return [Range(table, number, condition) for number, condition in enumerate(conditions)]


def _bounds(connection: Connection, table: Table, most: int) -> Iterator[str]:
    """The first value of each range except the first, as SQL, found one after the other."""
    key = next((each for each in table.columns if each.name in table.primary_key[:1]), None)
    if key is None or not ORDERED.match(key.mysql_type):
        logs.event("table not split", "WARNING", table=table.name)
        return
    select_key = f"SELECT {quote(key.name)} FROM {quote(table.name)}"
    condition, skipped = "TRUE", most
    while found := select(
        connection,
        f"{select_key} WHERE {condition} ORDER BY {quote(key.name)} LIMIT 1 OFFSET {skipped}",
    ):
        yield (bound := _literal(connection, found[0][0]))
        # Greater, not at least: many rows may share the key's first column, and bounds must rise.
        condition, skipped = f"{quote(key.name)} > {bound}", most - 1


def _literal(connection: Connection, value: Any) -> str:
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    with connection.cursor() as cursor:
        return str(cursor.mogrify("%s", (value,)))


def prepare(settings: Settings, location: StorageLocation, workers: int) -> Work:
    """Splits the tables as they are now, for an attempt with a folder of its own."""
    deadline = Deadline(command.JOB_SECONDS)
    with db.snapshot(settings, deadline, patience=db.BACKUP_CONNECT_SECONDS) as connection:
        ((started, *_),) = select(connection, backup.SERVER)
        db.check_base_tables(connection, engine="InnoDB")
        rows = db.count_rows(connection)
        most = max(1, math.ceil(sum(rows.values()) / (workers * RANGES_OF_A_WORKER)))
        tables = [read_table(connection, name) for name in TABLES]
        ranges = [
            part for each in tables for part in split(connection, each, rows[each.name], most)
        ]
    return Work(settings, location, backup.folder_path(started), ranges)


def combine(work: Work, stored: dict[int | str, Any]) -> dict[str, Any]:
    """The manifest, of what the tasks returned; raises if no lock was had, or rows are missing."""
    if refusal := stored.get("refused"):
        raise refusal
    ranges = list(enumerate(work.ranges))
    tables = [
        backup.table_entry(
            name, [stored[place] for place, part in ranges if part.table.name == name]
        )
        for name in TABLES
    ]
    if (rows := backup.row_counts(tables)) != stored["rows"]:
        raise BundleError(f"the ranges have {rows} rows, not {stored['rows']}")
    return {**stored["entries"], "tables": tables}


def take(
    context: SparkContext, settings: Settings, location: StorageLocation, workers: int
) -> None:
    """Takes the backup, in several attempts where workers fail.

    An exception leaves no manifest, and as far as possible no object.
    """
    given_up: list[OutputFolder] = []
    started = time.monotonic()
    try:
        for number in range(1, ATTEMPTS + 1):
            try:
                work = prepare(settings, location, workers)
                given_up.append(work.folder(None, Deadline(command.JOB_SECONDS)))
                logs.event("backup started", backup=given_up[-1].address)
                logs.event("ranges", number=len(work.ranges), workers=workers)
                tasks = context.parallelize(range(workers), workers).barrier()
                stored = tasks.mapPartitions(functools.partial(store_share, work)).collect()
                break
            except (Busy, Py4JJavaError):  # a table is being altered, or a worker failed
                if number == ATTEMPTS:
                    raise
                logs.event("backup begins again", "WARNING", attempt=number)
        manifest = combine(work, dict(stored))
        folder = given_up.pop()
        try:
            backup.store_manifest(folder, manifest)
        except BaseException:
            if not folder.remove(first=MANIFEST):
                given_up.append(folder)
            raise
        backup.report_stored(folder, manifest, started)
    finally:
        if given_up:
            context.stop()  # otherwise a range in progress would still be stored
        for each in given_up:
            each.remove_all()


def run(workers: int) -> None:
    """Takes the backup by this many workers; 0 for as many as Spark has slots."""
    settings = command.database_settings()
    location = settings.require_storage()
    builder = SparkSession.builder.appName("hiring-backup").config(map=CONFIGURATION)
    context = builder.getOrCreate().sparkContext
    take(context, settings, location, workers or context.defaultParallelism)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Backs the tables up with Spark's workers.")
    parser.add_argument("--workers", type=int, default=0, help="tasks; by default all slots")
    workers = parser.parse_args().workers
    if workers < 0:
        parser.error("--workers takes a whole number of at least 1")
    sys.exit(command.run(functools.partial(run, workers)))
