"""`manage.py drill` proves a backup: restores it into a scratch database and compares everything.

The scratch database is DB_NAME and `_drill`, on the server of the settings. It is dropped before
and after; the tables of DB_NAME are never opened. The result is stored as `drills/<time>.json`.
"""

import argparse
import contextlib
import dataclasses
import datetime
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pymysql

import db
import reports
from hiring.deadline import Deadline
from hiring.errors import BadSource, BundleError, Busy, Misconfigured
from hiring.mysql import create_table
from hiring.mysql.connection import Connection
from hiring.mysql.statements import execute, quote, select
from hiring.progress import answer_json, status
from hiring.settings import Settings
from hiring.storage import newest
from hiring.storage.catalog import BACKUPS
from hiring.storage.manifest import StoredFile
from hiring.storage.newest import DRILLS, GOOD
from hiring.storage.objects import OutputFolder
from hiring.tables import TABLES
from hiring.terminal import counted
from hiring.version import WRITER
from restore import restoring
from restore.backup_source import Backup
from restore.plan import RestorePlan, find_backup

STRANGERS = """
SELECT table_name
FROM information_schema.tables
WHERE table_schema = %s AND table_name NOT IN %s
"""
"""The tables of a database that no drill made."""


def run(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Drills, prints the record, and returns the exit status."""
    location = settings.require_storage()
    address = options.address or f"gs://{location.bucket}/{location.prefix}{BACKUPS}"
    # What comes after the deadline: the scratch database goes, and the record is stored.
    end = Deadline(settings.task_seconds)
    with _scratch_database(settings, end) as (scratch, keeper):
        started = datetime.datetime.now(datetime.UTC)
        where = {"scratch_database": scratch.database, "server_address": scratch.address}
        status("drill started", **where)
        record: dict[str, Any] = {
            "started_at": started.isoformat(),
            "writer": WRITER,
            **where,
            "backup": address,
            "seconds": {},
        }
        try:
            backup = find_backup(address, settings.database, deadline)
            manifest = backup.manifest
            is_own = newest.is_of(manifest, settings.database)
            record |= {
                "backup": backup.address,
                "database": settings.database if is_own else manifest.database,
                "taken_at": manifest.taken_at,
                "rows": {name: manifest.all_rows([name]) for name in TABLES},
            }
            _drill(scratch, backup, record, deadline)
            record["result"] = GOOD
        except BaseException as error:
            record["result"] = str(error) or "interrupted"
            raise
        finally:
            with _timed(record, "drop"):
                _drop(keeper, scratch, end)
            content = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
            folder = OutputFolder(location, DRILLS, None, end)
            try:
                name = f"{started:%Y%m%dT%H%M%S.%fZ}.json"
                folder.put(name, "application/json", content.encode())
            finally:
                answer_json(record)
    return 0


@contextlib.contextmanager
def _scratch_database(
    settings: Settings, deadline: Deadline
) -> Iterator[tuple[Settings, Connection]]:
    """An empty scratch database: its settings, and the connection that keeps other drills out."""
    scratch = dataclasses.replace(settings, database=f"{settings.database}_drill")
    # An account without rights on any existing database may use this one.
    anywhere = dataclasses.replace(settings, database="information_schema")
    with db.own_connection(anywhere, deadline, wait_timeout=settings.task_seconds) as keeper:
        _keep_others_out(keeper, scratch)
        for (table,) in select(keeper, STRANGERS, scratch.database, TABLES):
            raise Misconfigured(f"{scratch.database}, which a drill drops, holds table {table}")
        execute(keeper, f"DROP DATABASE IF EXISTS {quote(scratch.database)}")
        execute(keeper, f"CREATE DATABASE {quote(scratch.database)}")
        yield scratch, keeper


def _keep_others_out(connection: Connection, scratch: Settings) -> None:
    if select(connection, "SELECT GET_LOCK(%s, 5)", scratch.database) != [(1,)]:
        raise Busy(f"another drill uses database {scratch.database}")


def _drop(keeper: Connection, scratch: Settings, deadline: Deadline) -> None:
    drop = f"DROP DATABASE IF EXISTS {quote(scratch.database)}"
    try:
        try:
            execute(keeper, drop)
        except pymysql.err.Error:  # it waited for hours, in which a connection may be lost
            anywhere = dataclasses.replace(scratch, database="information_schema")
            with db.own_connection(anywhere, deadline) as another:
                _keep_others_out(another, scratch)
                execute(another, drop)
    except (BundleError, pymysql.err.Error) as error:
        reason = str(error.args[-1])
        status("scratch database left", "WARNING", database=scratch.database, reason=reason)


def _drill(scratch: Settings, backup: Backup, record: dict[str, Any], deadline: Deadline) -> None:
    """Restores the backup, compares its reports, and notes in the record what was done."""
    statements, record["left_out"] = backup.statements(), []
    for table, statement in statements.items():
        if create_table.fault(table, statement) is None:  # else the restore refuses it
            statements[table], outside = create_table.within(statement, TABLES)
            record["left_out"] += [f"{table}: {each}" for each in outside]
    plan = RestorePlan(TABLES, False, statements, backup)
    with _timed(record, "restore"):
        outcomes = restoring.restore(scratch, plan, deadline)
    for each in outcomes:
        if each.invalid:
            invalid = counted(each.invalid, "row")
            raise BadSource(f"{invalid} of {each.table} did not come back: {each.where}")
    with _timed(record, "reports"), db.own_connection(scratch, deadline) as connection:
        record["server"] = str(connection.server_version)
        compared = {_compare_report(connection, backup, each) for each in backup.manifest.reports}
    for report in reports.REPORTS:
        if report.name not in compared:
            raise BadSource(f"{backup.address} stores no report {report.name}")


@contextlib.contextmanager
def _timed(record: dict[str, Any], step: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        record["seconds"][step] = round(time.monotonic() - began, 3)


def _compare_report(connection: Connection, backup: Backup, stored: StoredFile) -> str | None:
    """Compares a stored report with that of the restored tables; order counts on one version only.

    Returns its name, or None for a file that is not compared; raises BadSource where they differ.
    """
    # Version 1 stored a list for 2021, in its first release nothing else; both have a row a line.
    found = re.fullmatch(r"reports/(.+?)(?:-(2021)\.json|\.ndjson)", stored.name)
    report = next((each for each in reports.REPORTS if found and each.name == found[1]), None)
    if report is None or found is None:
        return None  # of a version that had other reports, or the same rows as a list
    if found[2]:
        rows, columns = reports.run(connection, report, int(found[2])), report.columns
    else:
        rows = reports.run(connection, report, reports.FIRST_YEAR, reports.LAST_YEAR)
        columns = ("year", *report.columns)
    here = reports.as_objects(columns, rows)
    there: Iterator[str] = filter(
        None, (line.decode().strip("[], \n") for line in backup.lines(stored))
    )
    if str(connection.server_version) != backup.manifest.server_version:
        restored, before = Counter(here), Counter(there)
        here, there = (restored - before).elements(), (before - restored).elements()
    for ours, theirs in itertools.zip_longest(here, there, fillvalue="nothing"):
        if ours != theirs:
            raise BadSource(
                f"{backup.address}{stored.name} has {theirs}, the restored tables have {ours}"
            )
    return report.name
