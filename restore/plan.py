"""The changes that a load plans: shown before the first one, and confirmed on a terminal."""

import sys
from dataclasses import dataclass

import tabulate

import db
from hiring import logs
from hiring.mysql.connection import Connection
from hiring.mysql.session import is_mariadb
from hiring.settings import Settings
from hiring.storage import catalog
from hiring.tables import TABLES
from restore import backup_source, transaction


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
        tables: that are filled; the others stay as they are.
    """

    into: str
    server: str
    source: str
    database: str | None
    taken_at: str | None
    age: str | None
    now: dict[str, int | None]
    afterwards: dict[str, int | None]
    tables: tuple[str, ...]


def read(
    connection: Connection,
    settings: Settings,
    address: str,
    backup: backup_source.Backup | None,
    tables: tuple[str, ...],
) -> Plan:
    """Finds out what a load would change.

    Args:
        connection: to the database to fill.
        settings: of the connection.
        address: to read from.
        backup: at the address; None for CSV files.
        tables: to fill.
    """
    missing = transaction.missing_tables(connection)
    there = db.count_rows(connection, [name for name in TABLES if name not in missing])
    now = {name: there.get(name) for name in TABLES}
    filled = {name: backup.all_rows([name]) if backup else None for name in tables}
    kind = "MariaDB" if is_mariadb(connection) else "MySQL"
    return Plan(
        into=f"{settings.user}@{settings.address}/{settings.database}",
        server=f"{kind} {connection.server_version}",
        source=backup.address if backup else address,
        database=backup.database if backup else None,
        taken_at=backup.taken_at if backup else None,
        age=catalog.age_in_words(backup.age_seconds) if backup else None,
        now=now,
        afterwards=now | filled,
        tables=tables,
    )


def show(plan: Plan) -> None:
    """Writes the plan: as lines and a table on a terminal, elsewhere as one log line."""
    if not sys.stderr.isatty():
        logs.event("about to load", **vars(plan))
        return
    lines = [f"into {plan.into}, {plan.server}", f"from {plan.source}"]
    if plan.database:
        lines.append(f"     database {plan.database}, taken {plan.taken_at}, {plan.age} ago")
    rows = [(name, _shown(plan.now[name], "missing"), _afterwards(plan, name)) for name in TABLES]
    headers = ["table", "rows now", "afterwards"]
    table = tabulate.tabulate(rows, headers, colalign=("left", "right", "right"))
    sys.stderr.write("\n".join([*lines, table, ""]))


def _afterwards(plan: Plan, table: str) -> str:
    if table not in plan.tables:
        return "unchanged"
    return _shown(plan.afterwards[table], "as in the files")


def _shown(rows: int | None, unknown: str) -> str:
    return unknown if rows is None else f"{rows:,}"


def confirm(database: str, table: str | None) -> None:
    """Asks before rows are replaced, if a person can answer on a terminal.

    Args:
        database: whose rows.
        table: the only one that is filled; None for all three.

    Raises:
        Declined: the answer is not yes.
    """
    if not sys.stdin.isatty():
        return
    rows = f"the rows of {database}.{table}" if table else f"the rows of {database}"
    sys.stderr.write(f"Replace {rows}? Type yes to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise Declined
