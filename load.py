"""Fills the three tables from a folder, a backup or CSV files. An operator's command.

    python load.py SOURCE [--table NAME] [--replace] [--yes] [--from-database NAME] [--dry-run]

A folder of backups means the newest complete backup of DB_NAME's database in it. Every possible
check comes first. Then the rows are inserted under table locks in one transaction, read back,
compared, and committed together. The settings are those of the functions.

Exit statuses, as loading/exit_statuses.py has them: after 0 all valid rows are loaded, and the
final table locates the invalid ones. After 6 the rows are loaded but a table's next id could not be
set, or the answer to the commit was lost; the message says which. After any other one nothing was
loaded: the tables hold their former rows.
"""

import argparse
import dataclasses
import sys

import tabulate

import db
from hiring.core.errors import BundleError
from hiring.core.settings import current_settings
from loading import exit_statuses
from loading.plan import Declined
from loading.progress import status
from loading.steps import Options, Unfinished, load


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _read_arguments(arguments)
    try:
        outcomes = load(current_settings(), options)
    except BundleError as error:
        status("nothing was loaded", "ERROR", reason=str(error))
        return exit_statuses.exit_status(error)
    except Unfinished as error:
        status("load not finished", "ERROR", reason=str(error))
        return exit_statuses.UNFINISHED
    except Declined:
        status("nothing was loaded", "ERROR", reason="not confirmed")
        return exit_statuses.INTERRUPTED
    except KeyboardInterrupt:
        status("nothing was loaded", "ERROR", reason="interrupted")
        return exit_statuses.INTERRUPTED
    headers = ["table", "read", "valid" if options.dry_run else "loaded", "invalid", "where"]
    rows = [dataclasses.astuple(outcome) for outcome in outcomes]
    print(tabulate.tabulate(rows, headers, intfmt=","))
    return 0


def _read_arguments(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="load.py", description="Fills the three tables from a backup or from CSV files."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder, local or gs://bucket/path; .../backups/ means the newest backup in it",
    )
    parser.add_argument(
        "--table",
        metavar="NAME",
        choices=db.TABLES,
        help=f"restore only this table of a backup: {', '.join(db.TABLES)}; CSV files always fill"
        " all three",
    )
    parser.add_argument(
        "--replace", action="store_true", help="replace the present rows; a terminal is asked first"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--from-database",
        metavar="NAME",
        help="whose newest backup is meant by a folder of backups; DB_NAME's by default",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    found = parser.parse_args(arguments)
    return Options(
        source=found.source,
        table=found.table,
        from_database=found.from_database,
        replace=found.replace,
        dry_run=found.dry_run,
        ask=not found.yes,
    )


if __name__ == "__main__":
    sys.exit(main())
