"""The changes that a load plans: shown before the first one, and confirmed on a terminal."""

import sys
from dataclasses import dataclass

import tabulate

import db
from hiring.core import logs
from hiring.core.connection import Connection
from hiring.core.settings import Settings
from hiring.export import catalog
from loading import backup_source, target


class Declined(Exception):
    """The operator did not confirm; nothing was changed."""


@dataclass(frozen=True)
class Plan:
    """The changes that a load plans.

    Attributes:
        into: user, host and database.
        server: its kind and version.
        source: the address of the backup or of the CSV files.
        database: the database that was backed up; None for CSV files.
        taken_at: time of the backup; None for CSV files.
        age: of the backup, in words; None for CSV files.
        now: present rows of each table; None for a missing table.
        afterwards: rows of each table after the load; None if only reading the files shows it.
    """

    into: str
    server: str
    source: str
    database: str | None
    taken_at: str | None
    age: str | None
    now: dict[str, int | None]
    afterwards: dict[str, int | None]


def read(
    connection: Connection, settings: Settings, address: str, backup: backup_source.Backup | None
) -> Plan:
    """Finds out what a load would change.

    Args:
        connection: to the database to fill.
        settings: of the connection.
        address: to read from.
        backup: at the address; None for CSV files.
    """
    missing = target.missing_tables(connection)
    there = db.count_rows(connection, [name for name in db.TABLES if name not in missing])
    kind = "MariaDB" if db.is_mariadb(connection) else "MySQL"
    return Plan(
        into=f"{settings.user}@{settings.address}/{settings.database}",
        server=f"{kind} {connection.server_version}",
        source=backup.address if backup else address,
        database=backup.database if backup else None,
        taken_at=backup.taken_at if backup else None,
        age=catalog.age_in_words(backup.age_seconds) if backup else None,
        now={name: there.get(name) for name in db.TABLES},
        afterwards={
            name: backup.rows(name) + backup.invalid_rows(name) if backup else None
            for name in db.TABLES
        },
    )


def show(plan: Plan) -> None:
    """Writes the plan: as lines and a table on a terminal, elsewhere as one log line."""
    if not sys.stderr.isatty():
        logs.event("about to load", **vars(plan))
        return
    lines = [f"into {plan.into}, {plan.server}", f"from {plan.source}"]
    if plan.database:
        lines.append(f"     database {plan.database}, taken {plan.taken_at}, {plan.age} ago")
    rows = [
        (name, _shown(plan.now[name], "missing"), _shown(plan.afterwards[name], "as in the files"))
        for name in db.TABLES
    ]
    headers = ["table", "rows now", "afterwards"]
    table = tabulate.tabulate(rows, headers, colalign=("left", "right", "right"))
    sys.stderr.write("\n".join([*lines, table, ""]))


def _shown(rows: int | None, unknown: str) -> str:
    return unknown if rows is None else f"{rows:,}"


def confirm(database: str) -> None:
    """Asks before rows are replaced, if a person can answer on a terminal.

    Raises:
        Declined: the answer is not yes.
    """
    if not sys.stdin.isatty():
        return
    sys.stderr.write(f"Replace the rows of {database}? Type yes to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise Declined
