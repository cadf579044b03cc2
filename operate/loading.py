"""`manage.py restore` and `import`: show what will change, ask, load, print what became of it."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import db
from hiring import logs
from hiring.deadline import Deadline
from hiring.mysql.session import is_mariadb
from hiring.progress import answer
from hiring.settings import Settings
from hiring.tables import TABLES
from hiring.terminal import age_in_words, confirm, printable, table_lines
from operate import after_commit
from restore import importing, restoring
from restore.importing import ImportOutcome
from restore.plan import Outcome, Plan, plan_import, plan_restore
from restore.table_creation import missing_tables
from restore.transaction import LOAD_SECONDS

PlanT = TypeVar("PlanT", bound=Plan)
Outcomes = Sequence[Outcome | ImportOutcome]


@dataclasses.dataclass(frozen=True)
class Present:
    """The database before the load: its place, its server, its rows; None for a missing table."""

    into: str
    server: str
    rows: dict[str, int | None]


def run_restore(settings: Settings, options: argparse.Namespace) -> int:
    """Restores a backup, and prints what became of each table; returns the exit status.

    Raises:
        Declined: the operator did not confirm.
        BundleError, Unfinished: as `restoring.restore`.
    """
    present = _look(settings)
    plan = plan_restore(
        options.source,
        options.from_database or settings.database,
        tables=(options.table,) if options.table else TABLES,
        replace=options.replace,
    )
    manifest = plan.backup.manifest
    _show(
        present,
        plan,
        {name: manifest.all_rows([name]) for name in plan.tables},
        database=manifest.database,
        taken_at=manifest.taken_at,
        age=age_in_words(plan.backup.age),
    )
    return _load(settings, options, plan, restoring.check, restoring.restore)


def run_import(settings: Settings, options: argparse.Namespace) -> int:
    """Imports CSV files, and prints what became of each table; returns the exit status.

    Raises:
        Declined: the operator did not confirm.
        BundleError, Unfinished: as `importing.import_files`.
    """
    present = _look(settings)
    plan = plan_import(options.source, options.max_invalid, replace=options.replace)
    _show(present, plan, dict.fromkeys(plan.tables))
    return _load(settings, options, plan, importing.check, importing.import_files)


def _load(
    settings: Settings,
    options: argparse.Namespace,
    plan: PlanT,
    check: Callable[[Settings, PlanT], Outcomes],
    fill: Callable[[Settings, PlanT, Callable[[], None]], Outcomes],
) -> int:
    """Asks, then fills the tables, or in a dry run checks whether that could be done."""
    _confirm(settings, options, plan)
    if options.dry_run:
        _answer("valid", check(settings, plan))
    else:
        outcomes = fill(settings, plan, after_commit.hold_off_interrupts)
        with after_commit.output_may_fail():
            _answer("loaded", outcomes)
    return 0


def _look(settings: Settings) -> Present:
    """Logs in, before the source is read, which may take minutes; counts the present rows."""
    with db.own_connection(settings, Deadline(LOAD_SECONDS)) as connection:
        missing = missing_tables(connection)
        there = db.count_rows(connection, [name for name in TABLES if name not in missing])
        kind = "MariaDB" if is_mariadb(connection) else "MySQL"
        return Present(
            into=f"{settings.user}@{settings.address}/{settings.database}",
            server=f"{kind} {connection.server_version}",
            rows={name: there.get(name) for name in TABLES},
        )


def _show(present: Present, plan: Plan, filled: dict[str, int | None], **backup: str) -> None:
    """Writes what will change: as lines and a table on a terminal, elsewhere as one log line.

    Args:
        present: the database.
        plan: of the load.
        filled: rows of each table afterwards; None if only reading the files shows it.
        backup: database, time and age of a backup.
    """
    if not sys.stderr.isatty():
        logs.event(
            "about to load",
            into=present.into,
            server=present.server,
            source=plan.address,
            database=backup.get("database"),
            taken_at=backup.get("taken_at"),
            age=backup.get("age"),
            now=present.rows,
            afterwards=present.rows | filled,
            tables=plan.tables,
        )
        return
    lines = [f"into {present.into}, {present.server}", f"from {plan.address}"]
    if backup:
        lines.append("     database {database}, taken {taken_at}, {age} ago".format(**backup))
    rows = [
        (
            name,
            _shown(present.rows[name], "missing"),
            _shown(filled[name], "as in the files") if name in filled else "unchanged",
        )
        for name in TABLES
    ]
    table = table_lines(rows, ["table", "rows now", "afterwards"])
    sys.stderr.write("\n".join([*map(printable, lines), *table, ""]))


def _shown(rows: int | None, unknown: str) -> int | str:
    return unknown if rows is None else rows


def _confirm(settings: Settings, options: argparse.Namespace, plan: Plan) -> None:
    """Asks before rows are replaced, if a person can answer on a terminal."""
    if plan.replace and not options.dry_run and not options.yes:
        only = "" if plan.tables == TABLES else f".{plan.tables[0]}"
        confirm(f"Replace the rows of {settings.database}{only}?")


def _answer(valid: str, outcomes: Outcomes) -> None:
    rows = [dataclasses.asdict(each) for each in outcomes]
    headers = [valid if name == "loaded" else name for name in rows[0]]
    answer(*table_lines([list(row.values()) for row in rows], headers))
