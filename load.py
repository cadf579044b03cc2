"""Fills the three tables from a folder: a backup, or CSV files. An operator's command.

    python load.py SOURCE [--replace] [--dry-run]

Everything that can be known before is checked before; then the rows go in under table locks in one
transaction, are read back and compared, and are committed all at once. The settings are those of
the functions.

    status
    0   everything valid was loaded; invalid rows, if any, are where the last table says
    1   something unforeseen went wrong
    2   the command, a setting or a table of the database is not what it must be
    3   the source is missing, incomplete or damaged, or does not fit the tables
    4   the database refused or changed a row
    5   the database or Cloud Storage was not available, or somebody else used the tables: try again
    6   everything was loaded but a table's next id could not be set, or the answer to the commit
        was lost: the message says which

With 1 to 5, and 130 after Ctrl-C, nothing was loaded: the tables hold the rows that they held
before.
"""

import argparse
import contextlib
import dataclasses
import datetime
import signal
import sys
from dataclasses import dataclass

import pymysql
import tabulate
from pymysql.connections import Connection

import backup
import db
import mapping
from errors import (
    BadSource,
    BundleError,
    Busy,
    DatabaseUnavailable,
    Misconfigured,
    RowRefused,
    StorageFailed,
    TimedOut,
)
from loading import migration, restore, sources, target
from loading.filling import Filling
from loading.progress import Progress, say

EXIT_STATUSES: dict[type[BundleError], int] = {
    Misconfigured: 2,
    BadSource: 3,
    RowRefused: 4,
    Busy: 5,
    DatabaseUnavailable: 5,
    StorageFailed: 5,
    TimedOut: 5,
}
UNFINISHED = 6
INTERRUPTED = 128 + signal.SIGINT

Source = restore.Backup | migration.CsvFiles


@dataclass(frozen=True)
class Outcome:
    """What became of the rows of a table: `invalid` ones are not in it, but `where` that says."""

    table: str
    read: int
    loaded: int
    invalid: int
    where: str


class Unfinished(Exception):
    """The load got to its commit and not to its end; the message says what is left to do."""


def open_source(address: str) -> Source:
    """What lies at an address.

    Raises:
        BadSource: neither a backup nor CSV files, or not all of one.
        StorageFailed: Cloud Storage refused or failed.
    """
    folder = sources.find(address)
    if found := restore.find_backup(folder):
        say("backup found", backup=found.address)
        return restore.Backup(found)
    if migration.CsvFiles.are_in(folder):
        return migration.CsvFiles(folder)
    raise BadSource(
        f"{folder.address} is neither a backup, which has a {backup.MANIFEST}, nor does it hold"
        f" {', '.join(names[0] for names in migration.FILES.values())}"
    )


def load(source: Source, settings: db.Settings, *, replace: bool, dry_run: bool) -> list[Outcome]:
    """Fills the tables.

    Args:
        source: what with.
        settings: of the database, and for CSV files of Cloud Storage.
        replace: delete the rows that are there, in the same transaction.
        dry_run: check everything, change nothing.

    Raises:
        BundleError: nothing was loaded; the message says why.
        Unfinished: everything was, or it is not known.
    """
    deadline = db.Deadline(target.LOAD_SECONDS)
    if isinstance(source, restore.Backup):
        with Progress("checking", source.all_rows) as progress:
            source.check(progress)
    elif not dry_run:
        settings.require_storage()
    tables = _check_tables(source, settings, deadline, replace)
    if dry_run:
        return _try(source, tables)
    _create_missing_tables(source, settings, deadline)
    committing = False
    try:
        with target.loading(settings, deadline, source.sql_mode) as connection:
            outcomes = _fill(connection, source, settings, deadline, replace)
            committing = True
            connection.commit()
            _set_next_ids(connection, source.next_ids())
    except (BundleError, KeyboardInterrupt) as error:
        if not committing:
            raise
        raise Unfinished(
            "the load was interrupted, or lost its connection, at its commit: whether the rows are"
            " loaded, all or none, the tables will say"
        ) from error
    return outcomes


def _fill(
    connection: Connection,
    source: Source,
    settings: db.Settings,
    deadline: db.Deadline,
    replace: bool,
) -> list[Outcome]:
    """All that happens in the transaction before its commit."""
    if replace:
        target.empty(connection)
    else:
        target.check_empty(connection)
    filled = [source.fit(mapping.read_table(connection, name)) for name in db.TABLES]
    if isinstance(source, migration.CsvFiles):
        return _migrate(connection, source, filled, settings.require_storage(), deadline)
    return _restore(connection, source, filled, deadline)


def _check_tables(
    source: Source, settings: db.Settings, deadline: db.Deadline, replace: bool
) -> dict[str, mapping.Table]:
    """The tables that are there, as the source fills them.

    Raises:
        BadSource, Misconfigured: the rows would not fit, or not be safe.
    """
    with db.own_connection(settings, deadline) as connection:
        missing = target.missing_tables(connection)
        names = [name for name in db.TABLES if name not in missing]
        tables = {name: source.fit(mapping.read_table(connection, name)) for name in names}
        target.check_loadable(connection, names)
        if not replace:
            target.check_empty(connection, names)
        return tables


def _create_missing_tables(source: Source, settings: db.Settings, deadline: db.Deadline) -> None:
    with db.own_connection(settings, deadline) as connection:
        for name in target.missing_tables(connection):
            statement = source.statements().get(name)
            if statement is None:
                raise BadSource(f"table {name} is missing, and {source.origin} has no such table")
            target.create_table(connection, name, statement, source.origin)
            say("table created", table=name)


def _try(source: Source, tables: dict[str, mapping.Table]) -> list[Outcome]:
    """What would become of the rows, as far as can be told without giving them to the server."""
    if isinstance(source, restore.Backup):
        return [
            Outcome(
                name,
                read=source.rows(name) + source.invalid_rows(name),
                loaded=source.rows(name),
                invalid=source.invalid_rows(name),
                where=source.invalid_address(name),
            )
            for name in db.TABLES
        ]
    outcomes = []
    for name in db.TABLES:
        invalid = migration.InvalidRows(None, name, contextlib.ExitStack())
        table = tables.get(name) or source.missing_table(name)
        valid = 0
        with Progress(f"checking {name}") as progress:
            for _ in source.read_rows(table, invalid):
                progress()
                valid += 1
        outcomes.append(Outcome(name, valid + invalid.count, valid, invalid.count, "not stored"))
    return outcomes


def _restore(
    connection: Connection,
    source: restore.Backup,
    tables: list[mapping.Table],
    deadline: db.Deadline,
) -> list[Outcome]:
    fillings, outcomes = [], []
    for table in tables:
        name = table.name
        filling = Filling(connection, table, deadline)
        fillings.append(filling)
        rows, invalid_rows = source.rows(name), source.invalid_rows(name)
        refused = 0
        with Progress(f"loading {name}", rows + invalid_rows) as progress:
            filling.add(source.read_rows(table), progress)
            for where, reason in filling.offer(source.read_invalid_rows(table), progress):
                say("invalid record refused", "WARNING", record=where, reason=reason)
                refused += 1
        where = source.invalid_address(name) if refused else ""
        outcomes.append(Outcome(name, rows + invalid_rows, filling.rows, refused, where))
    _check_filled(connection, fillings)
    return outcomes


def _migrate(
    connection: Connection,
    source: migration.CsvFiles,
    tables: list[mapping.Table],
    location: db.StorageLocation,
    deadline: db.Deadline,
) -> list[Outcome]:
    run = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
    folder = backup.Folder(location, f"invalid/{run}/", connection, deadline)
    fillings, outcomes = [], []
    try:
        for table in tables:
            name = table.name
            filling = Filling(connection, table, deadline)
            fillings.append(filling)
            with contextlib.ExitStack() as opened:
                invalid = migration.InvalidRows(folder, name, opened)
                with Progress(f"loading {name}") as progress:
                    filling.add(source.read_rows(table, invalid), progress)
            read = filling.rows + invalid.count
            outcomes.append(Outcome(name, read, filling.rows, invalid.count, invalid.address))
        _check_filled(connection, fillings)
    except BaseException:
        folder.remove()
        raise
    return outcomes


def _check_filled(connection: Connection, fillings: list[Filling]) -> None:
    for filling in fillings:
        with Progress(f"comparing {filling.table.name}", filling.rows) as progress:
            filling.check(progress)
    target.check_references(connection)


def _set_next_ids(connection: Connection, next_ids: dict[str, int]) -> None:
    for table, next_id in next_ids.items():
        try:
            target.set_next_id(connection, table, next_id)
        except pymysql.err.Error as error:
            raise Unfinished(
                f"all rows are loaded, but the next id of {table} could not be set to {next_id}:"
                f" {error.args[-1]}"
            ) from error


# The command


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _read_arguments(arguments)
    try:
        outcomes = load(
            open_source(options.source),
            db.settings(),
            replace=options.replace,
            dry_run=options.dry_run,
        )
    except BundleError as error:
        say(f"nothing was loaded: {error}", "ERROR")
        return EXIT_STATUSES[type(error)]
    except Unfinished as error:
        say(str(error), "ERROR")
        return UNFINISHED
    except KeyboardInterrupt:
        say("nothing was loaded: interrupted", "ERROR")
        return INTERRUPTED
    headers = ["table", "read", "valid" if options.dry_run else "loaded", "invalid", "where"]
    rows = [dataclasses.astuple(outcome) for outcome in outcomes]
    print(tabulate.tabulate(rows, headers, intfmt=","))
    return 0


def _read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="load.py", description="Fills the three tables from a backup or from CSV files."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder, here or as gs://bucket/path; of .../backups/ the newest one is taken",
    )
    parser.add_argument(
        "--replace", action="store_true", help="take the place of the rows that are there"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
