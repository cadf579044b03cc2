"""The steps of a load: check, create missing tables, fill, compare, commit, set the next ids."""

import contextlib
import datetime
from dataclasses import dataclass

import pymysql

import db
from hiring.avro.schema import Table, read_table
from hiring.deadline import Deadline
from hiring.errors import BadSource, BundleError, Misconfigured
from hiring.mysql.connection import Connection
from hiring.progress import Progress, status
from hiring.settings import Settings, StorageLocation
from hiring.storage import folders
from hiring.storage.manifest import MANIFEST
from hiring.storage.objects import OutputFolder
from hiring.tables import TABLES
from restore import backup_source, choice, constraints, csv_files, plan, transaction
from restore.table_loader import TableLoader

Source = backup_source.Backup | csv_files.CsvFiles


@dataclass(frozen=True)
class Outcome:
    """Row counts for one table; `where` locates the invalid rows."""

    table: str
    read: int
    loaded: int
    invalid: int
    where: str


class Unfinished(Exception):
    """The load failed at or after its commit; the message says what is left to do."""


@dataclass(frozen=True)
class Options:
    """The options of a load's command line.

    Attributes:
        source: the address to read from.
        is_import: whether it holds CSV files, and not a backup.
        table: the only table to fill; None for all three.
        from_database: the database whose backup to load from a folder of backups; None is the
            database to fill.
        replace: delete the present rows in the same transaction.
        dry_run: check everything, change nothing.
        ask: whether to ask on a terminal before rows are replaced.
    """

    source: str
    is_import: bool
    table: str | None
    from_database: str | None
    replace: bool
    dry_run: bool
    ask: bool

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables to fill."""
        return (self.table,) if self.table else TABLES


def open_source(options: Options, database: str) -> Source:
    """Opens the source at an address.

    Args:
        options: with the address of a backup, a folder of backups, or CSV files.
        database: whose backups count in a folder of backups, unless the options say.

    Raises:
        BadSource: the source is not what the command reads, or is incomplete.
        StorageFailed: Cloud Storage refused or failed.
    """
    folder = folders.find(options.source)
    if options.is_import:
        return csv_files.CsvFiles(folder)
    if found := choice.find_backup(folder, options.from_database or database, options.tables):
        return found
    if csv_files.CsvFiles.are_in(folder):
        raise BadSource(f"{folder.address} holds CSV files, which `import` loads")
    raise BadSource(f"{folder.address} is not a backup, which has a {MANIFEST}, and holds none")


def load(settings: Settings, options: Options) -> list[Outcome]:
    """Fills the tables.

    Args:
        settings: of the database, and for CSV files of Cloud Storage too.
        options: of the command line.

    Raises:
        BundleError: nothing was loaded; the message says why.
        Declined: nothing was loaded; the operator did not confirm.
        Unfinished: all rows are loaded but a next id is not set, or it is unknown whether they are.
    """
    deadline = Deadline(transaction.LOAD_SECONDS)
    # The login is tried before the source is read, which may take minutes.
    with db.own_connection(settings, deadline) as connection:
        source = open_source(options, settings.database)
        found = source if isinstance(source, backup_source.Backup) else None
        plan.show(plan.read(connection, settings, options.source, found, options.tables))
    if options.replace and options.ask and not options.dry_run:
        plan.confirm(settings.database, options.table)
    if isinstance(source, backup_source.Backup):
        with Progress("checking", source.all_rows(options.tables)) as progress:
            source.check(progress, options.tables)
    elif not options.dry_run:
        settings.require_storage()
    tables = _check_tables(source, settings, deadline, options)
    if options.dry_run:
        return _try(source, tables, options.tables)
    _create_missing_tables(source, settings, deadline)
    committing = False
    try:
        with transaction.loading(settings, deadline, source.sql_mode) as connection:
            outcomes = _fill(connection, source, settings, deadline, options)
            next_ids = source.next_ids()  # read before the commit, because storage may fail
            committing = True
            connection.commit()
            for name in options.tables:
                if name in next_ids:
                    _set_next_id(connection, name, next_ids[name])
    except (BundleError, KeyboardInterrupt) as error:
        if not committing:
            raise
        raise Unfinished(
            "the load was interrupted or lost its connection at its commit; all rows are loaded or"
            " none: look at the tables"
        ) from error
    return outcomes


def _fill(
    connection: Connection,
    source: Source,
    settings: Settings,
    deadline: Deadline,
    options: Options,
) -> list[Outcome]:
    """Fills the tables and checks them, inside the transaction; returns the outcomes."""
    if options.replace:
        transaction.empty(connection, options.tables)
    else:
        transaction.check_empty(connection, options.tables)
    filled = [source.fit(read_table(connection, name)) for name in options.tables]
    if isinstance(source, csv_files.CsvFiles):
        return _migrate(connection, source, filled, settings.require_storage(), deadline)
    return _restore(connection, source, filled, deadline)


def _check_tables(
    source: Source, settings: Settings, deadline: Deadline, options: Options
) -> dict[str, Table]:
    """Checks the existing tables; returns them with the columns that the source fills.

    Raises:
        BadSource, Misconfigured: the rows would not fit, or would not be safe.
    """
    with db.own_connection(settings, deadline) as connection:
        missing = transaction.missing_tables(connection)
        for name in missing:
            if name not in options.tables:
                raise Misconfigured(
                    f"table {name} is missing, and --table {options.table} neither creates nor"
                    " fills it: create it, or restore all three tables"
                )
        names = [name for name in options.tables if name not in missing]
        tables = {name: source.fit(read_table(connection, name)) for name in names}
        transaction.check_loadable(connection, [name for name in TABLES if name not in missing])
        if options.replace:
            transaction.check_replaceable(connection, names)
        else:
            transaction.check_empty(connection, names)
        return tables


def _create_missing_tables(source: Source, settings: Settings, deadline: Deadline) -> None:
    # Foreign keys may point to a table that is created later.
    with db.own_connection(settings, deadline, foreign_key_checks=0) as connection:
        for name in transaction.missing_tables(connection):
            statement = source.statements().get(name)
            if statement is None:
                raise BadSource(f"table {name} is missing, and {source.origin} has no such table")
            transaction.create_table(connection, name, statement, source.origin)
            status("table created", table=name)


def _try(source: Source, tables: dict[str, Table], names: tuple[str, ...]) -> list[Outcome]:
    """The outcomes that the load would have, as far as they are known without loading."""
    if isinstance(source, backup_source.Backup):
        return [
            Outcome(
                name,
                read=source.rows(name) + source.invalid_rows(name),
                loaded=source.rows(name),
                invalid=source.invalid_rows(name),
                where=source.invalid_address(name),
            )
            for name in names
        ]
    outcomes = []
    for name in names:
        invalid = csv_files.InvalidRows(None, name, contextlib.ExitStack())
        table = tables.get(name) or source.missing_table(name)
        valid = 0
        with Progress(f"checking {name}") as progress:
            for cells in source.read_rows(table, invalid):
                rows = len(cells[0].nulls)
                progress(rows)
                valid += rows
        outcomes.append(Outcome(name, valid + invalid.count, valid, invalid.count, "not stored"))
    return outcomes


def _restore(
    connection: Connection,
    source: backup_source.Backup,
    tables: list[Table],
    deadline: Deadline,
) -> list[Outcome]:
    loaders, outcomes = [], []
    constraints.leave_unchecked(connection)
    for table in tables:
        name = table.name
        loader = TableLoader(connection, table, deadline)
        loaders.append(loader)
        rows, invalid_rows = source.rows(name), source.invalid_rows(name)
        refused = 0
        with Progress(f"loading {name}", rows + invalid_rows) as progress:
            loader.insert(source.read_rows(table), progress)
            for origin, reason in loader.insert_accepted(source.read_invalid_rows(table), progress):
                status("invalid record rejected", "WARNING", record=origin, reason=reason)
                refused += 1
        where = source.invalid_address(name) if refused else ""
        outcomes.append(Outcome(name, rows + invalid_rows, loader.rows, refused, where))
    _check_filled(connection, loaders, source.statements())
    return outcomes


def _migrate(
    connection: Connection,
    source: csv_files.CsvFiles,
    tables: list[Table],
    location: StorageLocation,
    deadline: Deadline,
) -> list[Outcome]:
    run = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
    folder = OutputFolder(location, f"invalid/{run}/", connection, deadline)
    loaders, outcomes = [], []
    try:
        for table in tables:
            name = table.name
            loader = TableLoader(connection, table, deadline)
            loaders.append(loader)
            with contextlib.ExitStack() as opened:
                invalid = csv_files.InvalidRows(folder, name, opened)
                with Progress(f"loading {name}") as progress:
                    loader.insert(source.read_rows(table, invalid), progress)
            read = loader.rows + invalid.count
            outcomes.append(Outcome(name, read, loader.rows, invalid.count, invalid.address))
        _check_filled(connection, loaders, {})
    except BaseException:
        folder.remove()
        raise
    return outcomes


def _check_filled(
    connection: Connection, loaders: list[TableLoader], backed_up: dict[str, str]
) -> None:
    for loader in loaders:
        with Progress(f"comparing {loader.table.name}", loader.rows) as progress:
            loader.check(progress)
    constraints.check(connection, backed_up, [loader.table.name for loader in loaders])


def _set_next_id(connection: Connection, table: str, next_id: int) -> None:
    try:
        transaction.set_next_id(connection, table, next_id)
    except pymysql.err.Error as error:
        raise Unfinished(
            f"all rows are loaded, but the next id of {table} could not be set to {next_id}:"
            f" {error.args[-1]}"
        ) from error
