"""A backup by many workers, for tables that one function cannot read within its hour.

    spark-submit jobs/distributed_backup.py [--ranges N] [--allow-changes]

For Spark on Dataproc. The driver splits each table into ranges of its primary key with about the
same number of rows. Spark's workers store each range as one object, with the function's reader and
writer. The driver stores the manifest last, as the function does, so every reader of backups reads
this one.

Each worker has its own connection and its own view: one view across many connections would need a
lock on the whole server. So the source should be a server that nobody writes to, a clone or a
stopped replica. The job compares the tables' row counts and checksums before the first range and
after the last. If they changed, there is no backup, unless --allow-changes is given: the manifest
then names the changed tables. The manifest always has the server's GTID position before and after:
if both are equal and not empty, nothing was written to the server.

If a worker dies, Spark gives its range to another one. Each attempt stores its own object; the
manifest lists those of the attempts that Spark counts, and the job removes the others.

Needs the functions' settings; DB_PASS_SECRET may replace DB_PASS.
"""

import argparse
import functools
import itertools
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyspark import SparkContext, TaskContext
from pyspark.sql import SparkSession

import backup
import db
from hiring import logs
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.errors import Busy
from hiring.mysql.connection import Connection
from hiring.mysql.statements import quote, select
from hiring.pipeline import Stage
from hiring.settings import Settings, StorageLocation
from hiring.storage.objects import OutputFolder
from hiring.storage.rows import StoredRows, store_rows
from hiring.tables import TABLES
from jobs import command

RANGES = 32
"""More ranges than workers, so that a lost range costs little."""

ORDERED = re.compile(
    r"(tinyint|smallint|mediumint|int|bigint|decimal|year|date|datetime|timestamp"
    r"|char|varchar|binary|varbinary)\b"
)
"""MySQL types whose comparison with a literal has the order of ORDER BY.

An ENUM, for example, is ordered by its number but compared by its name: ranges would overlap.
"""

EVERYTHING = "TRUE"


# Ranges


@dataclass(frozen=True)
class Range:
    """A part of a table's rows.

    Attributes:
        table: its name.
        number: of the range in its table.
        condition: as SQL; each row of the table meets the condition of exactly one range.
    """

    table: str
    number: int
    condition: str


def split(connection: Connection, table: Table, rows: int, most: int) -> list[Range]:
    """Splits a table by the first column of its primary key.

    Args:
        connection: to find the bounds with.
        table: to split.
        rows: its number of rows.
        most: rows of a range, at most.
    """
    bounds = list(_bounds(connection, table, most)) if rows > most else []
    if not bounds:
        return [Range(table.name, 0, EVERYTHING)]
    column = quote(table.primary_key[0])
    conditions = [
        f"{column} < {bounds[0]}",
        *(f"{column} >= {low} AND {column} < {high}" for low, high in itertools.pairwise(bounds)),
        f"{column} >= {bounds[-1]}",
    ]
    return [Range(table.name, number, condition) for number, condition in enumerate(conditions)]


def _bounds(connection: Connection, table: Table, most: int) -> Iterator[str]:
    """The first value of each range except the first, as SQL, found one after the other."""
    key = next((each for each in table.columns if each.name in table.primary_key[:1]), None)
    if key is None or not ORDERED.match(key.mysql_type):
        logs.event("table not split", "WARNING", table=table.name)
        return
    column, name = quote(key.name), quote(table.name)
    condition, skipped = EVERYTHING, most
    while found := select(
        connection,
        f"SELECT {column} FROM {name} WHERE {condition} ORDER BY {column} LIMIT 1 OFFSET {skipped}",
    ):
        bound = _literal(connection, found[0][0])
        yield bound
        # Greater, not at least: many rows may share the key's first column, and bounds must rise.
        condition, skipped = f"{column} > {bound}", most - 1


def _literal(connection: Connection, value: Any) -> str:
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    with connection.cursor() as cursor:
        return str(cursor.mogrify("%s", (value,)))


# On a worker


def store_range(
    settings: Settings, location: StorageLocation, part: Range
) -> tuple[str, StoredRows]:
    """Stores a range; returns its table's name and its objects."""
    deadline = Deadline(command.JOB_SECONDS)
    attempt = TaskContext.get().taskAttemptId()
    with db.snapshot(settings, deadline) as connection:
        table = read_table(connection, part.table)
        folder = OutputFolder(location, "", connection, deadline)
        name = f"{part.table}-{part.number:05}-{attempt}.avro"
        statement = f"{table.statement} WHERE {part.condition}"
        try:
            stored = store_rows(connection, table, statement, folder, name, deadline)
        except BaseException:
            folder.remove()
            raise
    return part.table, stored


# On the driver


State = dict[str, tuple[int, int]]
"""The number of rows and the checksum of each table, which show changes."""


def read_state(connection: Connection) -> State:
    """Counts all rows and computes their checksum: https://dev.mysql.com/doc/refman/8.4/en/checksum-table.html"""
    names = ", ".join(quote(name) for name in TABLES)
    sums = select(connection, f"CHECKSUM TABLE {names}")
    rows = db.count_rows(connection)
    return {name: (rows[name], checksum) for name, (_, checksum) in zip(TABLES, sums, strict=True)}


def read_position(settings: Settings, deadline: Deadline) -> str:
    """The server's GTID position now, on a connection that has no older view."""
    with db.own_connection(settings, deadline) as connection:
        return backup.read_position(connection)


class Export:
    """Stores the rows of a backup with Spark's workers.

    Args:
        context: Spark's.
        settings: of the database.
        ranges: approximate number of ranges of all tables together.
        allow_changes: store a manifest even if the tables changed meanwhile.
    """

    def __init__(
        self, context: SparkContext, settings: Settings, *, ranges: int, allow_changes: bool
    ) -> None:
        self._context = context
        self._settings = settings
        self._ranges = ranges
        self._allow_changes = allow_changes

    def store_tables(
        self,
        connection: Connection,
        folder: OutputFolder,
        tables: list[Table],
        deadline: Deadline,
    ) -> dict[str, Any]:
        """Stores all ranges, as the `store_tables` of `backup.store`.

        Raises:
            Busy: a table changed meanwhile, and that is not allowed.
        """
        start, before = read_position(self._settings, deadline), read_state(connection)
        try:
            stored = self._store(folder, self._split(connection, tables, before), deadline)
            entries = [backup.table_entry(name, stored[name]) for name in TABLES]
            with db.snapshot(self._settings, deadline) as another:
                after = read_state(another)
            end = read_position(self._settings, deadline)
            changed = _changed(before, after, entries)
            if changed and not self._allow_changes:
                raise Busy(
                    f"{', '.join(changed)} changed while the backup was taken: take it from a"
                    " clone or a stopped replica, or allow it with --allow-changes"
                )
        except BaseException:
            self._context.stop()  # otherwise a range in progress would still be stored
            folder.remove_others(set())
            raise
        folder.remove_others(_names(entries))
        changes = {
            "allowed": self._allow_changes,
            "tables": changed,
            "gtid_start": start,
            "gtid_end": end,
        }
        return {"tables": entries, "changes": changes}

    def _split(self, connection: Connection, tables: list[Table], state: State) -> list[Range]:
        rows = {name: count for name, (count, _) in state.items()}
        most = max(1, math.ceil(sum(rows.values()) / self._ranges))
        return [
            part for table in tables for part in split(connection, table, rows[table.name], most)
        ]

    def _store(
        self, folder: OutputFolder, parts: list[Range], deadline: Deadline
    ) -> dict[str, list[StoredRows]]:
        """Stores the ranges of each table and keeps the driver's connection alive meanwhile."""
        found: list[tuple[str, StoredRows]] = []
        work = functools.partial(store_range, self._settings, folder.location)

        def export() -> None:
            found.extend(self._context.parallelize(parts, len(parts)).map(work).collect())

        logs.event("ranges", number=len(parts), backup=folder.address)
        with Stage("spark", deadline) as exporting:
            exporting.submit(export)
            folder.wait_for(exporting)
        return {name: [part for table, part in found if table == name] for name in TABLES}


def _changed(before: State, after: State, entries: list[dict[str, Any]]) -> list[str]:
    """The tables that changed, or whose ranges do not hold each row once."""
    stored = backup.row_counts(entries)
    return [
        name for name in TABLES if before[name] != after[name] or stored[name] != before[name][0]
    ]


def _names(entries: list[dict[str, Any]]) -> set[str]:
    kinds = ("objects", "invalid_objects")
    return {stored["name"] for entry in entries for kind in kinds for stored in entry.get(kind, [])}


# The command


def run(options: argparse.Namespace) -> None:
    """Takes the backup.

    Raises:
        BundleError: the backup failed; no manifest is left, and as far as possible no object.
    """
    settings = command.database_settings()
    location = settings.require_storage()
    deadline = Deadline(command.JOB_SECONDS)
    spark = SparkSession.builder.appName("hiring-backup").getOrCreate()
    export = Export(
        spark.sparkContext, settings, ranges=options.ranges, allow_changes=options.allow_changes
    )
    with db.snapshot(settings, deadline) as connection:
        backup.store(connection, location, deadline, export.store_tables)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Backs the tables up with Spark's workers.")
    parser.add_argument(
        "--ranges",
        type=int,
        default=RANGES,
        help=f"approximate number of ranges; {RANGES} by default",
    )
    parser.add_argument(
        "--allow-changes", action="store_true", help="accept a backup that is not of one moment"
    )
    options = parser.parse_args()
    if options.ranges < 1:
        parser.error("--ranges takes a whole number of at least 1")
    return options


if __name__ == "__main__":
    sys.exit(command.run(functools.partial(run, read_arguments())))
