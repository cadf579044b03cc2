"""`manage.py restore` and `import`: show what will change, ask, load, print what became of it."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import db
from hiring import logs
from hiring.deadline import Deadline
from hiring.mysql.connection import is_mariadb
from hiring.progress import answer, status
from hiring.settings import Settings
from hiring.storage import folders
from hiring.tables import TABLES
from hiring.terminal import age_in_words, confirm, printable, table_lines
from operate import endings
from restore import csv_files, importing, restoring
from restore.plan import ImportPlan, Outcome, Plan, RestorePlan, find_backup
from restore.transaction import missing_tables

PlanT = TypeVar("PlanT", bound=Plan)


def run_restore(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Restores a backup, and prints what became of each table; returns the exit status."""
    into, now = _look(settings, deadline)
    tables = (options.table,) if options.table else TABLES
    database = options.from_database or settings.database
    backup = find_backup(options.source, database, deadline, tables)
    plan = RestorePlan(tables, options.replace, backup.statements(), backup)
    manifest = backup.manifest
    into |= {"source": backup.address, "database": manifest.database}
    into |= {"taken_at": manifest.taken_at, "age": age_in_words(backup.age)}
    _show(into, now, {name: manifest.all_rows([name]) for name in tables})
    return _load(settings, options, deadline, plan, restoring.check, restoring.restore)


def run_import(settings: Settings, options: argparse.Namespace, deadline: Deadline) -> int:
    """Imports CSV files, and prints what became of each table; returns the exit status."""
    into, now = _look(settings, deadline)
    folder = folders.find(options.source, deadline)
    files, statements = csv_files.find_files(folder), csv_files.statements()
    plan = ImportPlan(TABLES, options.replace, statements, folder, files, options.max_invalid)
    _show(into | {"source": folder.address}, now, dict.fromkeys(TABLES))
    return _load(settings, options, deadline, plan, importing.check, importing.import_files)


def _load(
    settings: Settings,
    options: argparse.Namespace,
    deadline: Deadline,
    plan: PlanT,
    check: Callable[[Settings, PlanT, Deadline], Sequence[Outcome]],
    fill: Callable[[Settings, PlanT, Deadline, Callable[[], None]], Sequence[Outcome]],
) -> int:
    """Asks, then fills the tables, or in a dry run checks whether that could be done."""
    if options.dry_run:
        _answer("valid", check(settings, plan, deadline))
        status("dry run: nothing was changed")
        return 0
    if plan.replace and not options.yes:
        only = "" if plan.tables == TABLES else f".{plan.tables[0]}"
        confirm(f"Replace the rows of {settings.database}{only}?")
    outcomes = fill(settings, plan, deadline, endings.hold_off_interrupts)
    with endings.output_may_fail():
        _answer("loaded", outcomes)
    return 0


def _look(settings: Settings, deadline: Deadline) -> tuple[dict[str, str], dict[str, int | None]]:
    """The database, its server, and the present rows; None for a missing table.

    It logs in before the source is read, which may take minutes.
    """
    with db.own_connection(settings, deadline) as connection:
        missing = missing_tables(connection)
        there = db.count_rows(connection, [name for name in TABLES if name not in missing])
        kind = "MariaDB" if is_mariadb(connection) else "MySQL"
        into = f"{settings.user}@{settings.address}/{settings.database}"
        return (
            {"into": into, "server": f"{kind} {connection.server_version}"},
            {name: there.get(name) for name in TABLES},
        )


def _show(where: dict[str, str], now: dict[str, int | None], filled: dict[str, int | None]) -> None:
    """Writes what will change: as lines and a table on a terminal, elsewhere as one log line.

    Args:
        where: `into` which database of which `server`, from which `source`; for a backup also its
            `database`, `taken_at` and `age`.
        now, filled: rows of each table before and after; None if only reading the files shows it.
    """
    if not sys.stderr.isatty():
        logs.event("about to load", **where, tables=[*filled], now=now, afterwards=now | filled)
        return
    lines = ["into {into}, {server}".format(**where), "from {source}".format(**where)]
    if "taken_at" in where:
        lines.append("     database {database}, taken {taken_at}, {age} ago".format(**where))
    before = {name: "missing" if rows is None else rows for name, rows in now.items()}
    after = {name: "as in the files" if rows is None else rows for name, rows in filled.items()}
    rows = [(name, before[name], after.get(name, "unchanged")) for name in TABLES]
    table = table_lines(rows, ["table", "rows now", "afterwards"])
    sys.stderr.write("\n".join([*map(printable, lines), *table, ""]))


def _answer(valid: str, outcomes: Sequence[Outcome]) -> None:
    rows = [dataclasses.asdict(each) for each in outcomes]
    # A restore counts no blanks; the addresses come last, as the widest.
    names = [each for each, value in rows[0].items() if value is not None and each != "where"]
    headers = [valid if name == "loaded" else name for name in [*names, "where"]]
    answer(*table_lines([[row[name] for name in [*names, "where"]] for row in rows], headers))
