"""A backup: the three tables as Avro in Cloud Storage, and the manifest that completes it.

Everything is read from one consistent view of the tables. Nothing is ever overwritten. The manifest
is stored last and read back: a folder without one is not a backup.
`docs/backups.md` shows the folder.
"""

import functools
import json
import operator
import time
from collections.abc import Iterator
from typing import Any

import db
import reports
from hiring import logs
from hiring.avro.hires import HireCounts, count_hires
from hiring.avro.schema import Table, columns_without_avro, read_table
from hiring.deadline import Deadline
from hiring.errors import BundleError, Misconfigured, StorageFailed, TimedOut
from hiring.mysql import create_table
from hiring.mysql.connection import Connection, is_mariadb
from hiring.mysql.statements import quote, select
from hiring.settings import Settings, StorageLocation
from hiring.storage import catalog, retention
from hiring.storage.folders import MOST_SMALL_BYTES
from hiring.storage.manifest import FORMAT, MANIFEST
from hiring.storage.objects import OutputFolder
from hiring.storage.rows import store_rows
from hiring.tables import TABLES
from hiring.version import WRITER


def table_entry(name: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest's entry for a table, from those of the parts in which its rows were stored."""
    joined = {
        key: functools.reduce(operator.add, [part[key] for part in parts]) for key in parts[0]
    }
    optional = ("invalid_objects", "warnings")
    return {"table": name} | {
        key: each for key, each in joined.items() if each or key not in optional
    }


def row_counts(entries: list[dict[str, Any]]) -> dict[str, int]:
    """The rows of each table in a manifest's entries, invalid records included."""
    return {entry["table"]: entry["rows"] + entry["invalid_rows"] for entry in entries}


SERVER = """
SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ'), DATABASE(), @@lower_case_table_names
"""
BINLOG_PLACE = "SHOW STATUS LIKE 'binlog_snapshot_%'"
BINLOG_POSITION = "SELECT BINLOG_GTID_POS(%s, %s)"
"""MariaDB reads the file up to there, which takes seconds for a gigabyte; NULL if it is unknown."""


def _read_position(connection: Connection) -> str:
    """The server's GTID position: everything committed so far. Empty where it keeps none."""
    variable = "gtid_current_pos" if is_mariadb(connection) else "gtid_executed"
    ((position,),) = select(connection, f"SELECT @@GLOBAL.{variable}")
    return str(position).replace("\n", "")


def _read_place(connection: Connection) -> tuple[str, int]:
    """The file and the byte up to which a view that is opened next holds MariaDB's binary log.

    The server reads both under the lock under which it commits, while it moves its GTID position
    before a transaction's rows are visible. The file is empty where there is no log.
    """
    found = dict(select(connection, BINLOG_PLACE))
    return found.get("Binlog_snapshot_file", ""), int(found.get("Binlog_snapshot_position") or 0)


def take(settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """Backs the tables up as they are at one moment, without blocking writers; then prunes.

    Returns:
        The manifest, with the backup's address as `backup`, and with `pruned` where the settings
        say which backups are kept.

    Raises:
        BundleError: the backup failed; no manifest is left, and as far as possible no object.
    """
    location = settings.require_storage()
    with db.snapshot(settings, deadline, patience=db.BACKUP_CONNECT_SECONDS) as connection:
        answer = store(connection, location, deadline)
    if rules := retention.rules_of_function(settings):
        answer["pruned"] = retention.after_backup(settings, rules, deadline)
    return answer


def preview(settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """The rows that a backup would have, and the columns without Avro type; raises as `take`."""
    with db.snapshot(settings, deadline) as connection:
        return {
            "dry_run": True,
            "rows": db.count_rows(connection),
            "columns_without_avro": [
                {"table": name, "column": column, "type": kind}
                for name in TABLES
                for column, kind in columns_without_avro(connection, name)
            ],
        }


def read_head(connection: Connection, *, locked: bool = False) -> dict[str, Any]:
    """The manifest's entries on what is backed up: time, position, database and server.

    This opens the view of the connection's snapshot, unless it holds locks on the tables. `locked`:
    nobody can commit meanwhile, so the server's position is exact.

    Raises Misconfigured if a table is not a base table of InnoDB.
    """
    # First, because the next statements open the view: time and position may not be later.
    ((taken_at, database, lower_case),) = select(connection, SERVER)
    place = _read_place(connection) if is_mariadb(connection) and not locked else None
    position = "" if place else _read_position(connection)
    if not locked:
        db.check_base_tables(connection, engine="InnoDB")
    if place and place[0]:
        # The view is open by now.
        position = select(connection, BINLOG_POSITION, *place)[0][0] or ""
    return {
        "format": FORMAT,
        "writer": WRITER,
        "taken_at": taken_at,
        **({"gtid": position} if position else {}),
        "database": database,
        "lower_case_table_names": lower_case,
        "server_version": connection.server_version,
    }


def folder_path(taken_at: str) -> str:
    """The folder of a backup, below the prefix."""
    return f"{catalog.BACKUPS}{taken_at.replace('-', '').replace(':', '')}/"


def store(connection: Connection, location: StorageLocation, deadline: Deadline) -> dict[str, Any]:
    """Backs up what the connection sees: in a snapshot, or holding locks on the tables.

    Returns, Raises: as `take`.
    """
    started = time.monotonic()
    head = read_head(connection)
    tables = [read_table(connection, name) for name in TABLES]
    hires = count_hires(connection, {table.name: table for table in tables})
    folder = OutputFolder(location, folder_path(head["taken_at"]), connection, deadline)
    logs.event("backup started", backup=folder.address)

    def store_table(table: Table) -> dict[str, Any]:
        on_block = hires.add if hires and table.name == "employees" else None
        name = f"{table.name}.avro"
        stored = store_rows(connection, table, table.statement, folder, name, on_block)
        return table_entry(table.name, [stored])

    try:
        manifest = {
            **head,
            "tables": [store_table(table) for table in tables],
            "reports": store_reports(connection, folder, hires),
            "schema": store_schema(connection, folder),
        }
        store_manifest(folder, manifest)
    except BaseException as error:
        reason = error.code if isinstance(error, BundleError) else type(error).__name__
        logs.event("backup failed", "ERROR", backup=folder.address, reason=reason)
        left = folder.remove(first=MANIFEST)
        if left and isinstance(error, BundleError):
            error.args = (f"{error}; left behind in {folder.address}: {', '.join(left)}",)
        raise
    return report_stored(folder, manifest, started)


def report_stored(folder: OutputFolder, manifest: dict[str, Any], started: float) -> dict[str, Any]:
    """Logs that a backup is stored, and if it holds no rows; returns what a request is answered."""
    seconds = round(time.monotonic() - started, 3)
    logs.event("backup stored", backup=folder.address, seconds=seconds)
    answer = {"backup": folder.address, **manifest}
    if not any(row_counts(manifest["tables"]).values()):
        logs.event("backup without rows", "WARNING", backup=folder.address)
        answer["warning"] = "the backup holds no rows, so it counts for no rule and no check of age"
    return answer


def check_restorable(manifest: dict[str, Any], rows: dict[str, int]) -> None:
    """Checks that a backup brings back all rows of the tables, before they are emptied.

    Raises:
        Misconfigured: no restore brings some back; the message names table, column and a key.
        BundleError: it does not have as many rows.
    """
    for entry in manifest["tables"]:
        for warning in entry.get("warnings", ()):
            raise Misconfigured(f"nothing is emptied; {warning}")
    stored = row_counts(manifest["tables"])
    if stored != rows:
        raise BundleError(f"the backup has {stored} rows, the tables have {rows}")


def store_reports(
    connection: Connection, folder: OutputFolder, hires: HireCounts | None
) -> list[dict[str, Any]]:
    """Stores the reports on every year; returns the manifest's entries.

    The server counts where there are no counts of all rows of employees in `hires`.
    """
    stored = []
    for report in reports.REPORTS:
        if hires is None or not hires.possible:
            rows = reports.run(connection, report, reports.FIRST_YEAR, reports.LAST_YEAR)
        elif report is reports.QUARTERLY_HIRED:
            rows = hires.quarterly_hired()
        else:
            rows = hires.hiring_by_department()
        stored += _store_report(folder, report, rows)
    return stored


def _store_report(
    folder: OutputFolder, report: reports.Report, rows: Iterator[reports.ReportRow]
) -> list[dict[str, Any]]:
    """Stores rows, each with its year in front, as JSON and as one object a line."""
    columns = ("year", *report.columns)
    names = [f"reports/{report.name}.{suffix}" for suffix in ("json", "ndjson")]
    with (
        folder.create(names[0], "application/json") as whole,
        folder.create(names[1], "application/x-ndjson") as lines,
    ):
        between = b"["
        for row in reports.as_objects(columns, rows):
            printed = row.encode()
            whole.write(between + printed)
            lines.write(printed + b"\n")
            between = b",\n "
        whole.write(b"[]\n" if between == b"[" else b"]\n")
    return [folder.stored(name) for name in names]


def store_schema(connection: Connection, folder: OutputFolder) -> dict[str, Any]:
    statements = [select(connection, f"SHOW CREATE TABLE {quote(name)}")[0][1] for name in TABLES]
    content = ";\n\n".join([*statements, ""]).encode()
    warnings = []
    for name, statement in zip(TABLES, statements, strict=True):
        if fault := create_table.fault(name, statement):
            warnings.append(f"no restore creates table {name}: in its CREATE TABLE, {fault}")
        elif others := set(create_table.references(statement)) - set(map(quote, TABLES)):
            needed = ", ".join(sorted(others))
            warnings.append(f"no restore fills table {name} without {needed}, which no backup has")
    for warning in warnings:
        logs.event("table cannot be created", "WARNING", reason=warning)
    stored = folder.put("schema.sql", "application/sql", content)
    return stored | ({"warnings": warnings} if warnings else {})


def store_manifest(folder: OutputFolder, manifest: dict[str, Any]) -> None:
    """Stores the manifest, which makes the folder complete.

    Raises StorageFailed if it could not be stored, or does not read back as it was written, and
    BundleError if it is longer than any that is read.
    """
    content = json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"
    if len(content) > MOST_SMALL_BYTES:
        raise BundleError(f"the manifest has {len(content):,} bytes, too many to be read again")
    try:
        folder.put(MANIFEST, "application/json", content)
        if folder.read(MANIFEST) != content:
            raise StorageFailed(f"{folder.address}{MANIFEST} does not read back as it was written")
    except (StorageFailed, TimedOut):
        # A manifest that is stored and right makes a backup, whatever failed on the way.
        if not folder.holds(MANIFEST, content):
            raise
