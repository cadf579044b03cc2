"""Fills the three tables from a folder, a backup or CSV files. An operator's command.

    python load.py SOURCE [--replace] [--dry-run]

Every possible check comes first. Then the rows are inserted under table locks in one transaction,
read back, compared, and committed together. The settings are those of the functions.

    status
    0   all valid rows were loaded; the final table locates the invalid ones
    1   an unforeseen error
    2   the command, a setting or a table of the database is wrong
    3   the source is missing, incomplete or damaged, or does not fit the tables
    4   the database refused or changed a row
    5   the database or Cloud Storage was not available, or the tables were in use: try again
    6   the rows were loaded but a table's next id could not be set, or the answer to the commit was
        lost; the message says which

With 1 to 5, and 130 after Ctrl-C, nothing was loaded: the tables hold their former rows.
"""

import argparse
import dataclasses
import signal
import sys

import tabulate

from hiring.core.errors import (
    BadSource,
    BundleError,
    Busy,
    DatabaseUnavailable,
    Misconfigured,
    RowRefused,
    StorageFailed,
    TimedOut,
)
from hiring.core.settings import current_settings
from loading.progress import status
from loading.steps import Unfinished, load, open_source

EXIT_STATUSES: dict[type[BundleError], int] = {
    Misconfigured: 2,
    BadSource: 3,
    RowRefused: 4,
    Busy: 5,
    DatabaseUnavailable: 5,
    StorageFailed: 5,
    TimedOut: 5,
}
UNFORESEEN = 1
UNFINISHED = 6
INTERRUPTED = 128 + signal.SIGINT


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _read_arguments(arguments)
    try:
        outcomes = load(
            open_source(options.source),
            current_settings(),
            replace=options.replace,
            dry_run=options.dry_run,
        )
    except BundleError as error:
        status("nothing was loaded", "ERROR", reason=str(error))
        return _exit_status(error)
    except Unfinished as error:
        status("load not finished", "ERROR", reason=str(error))
        return UNFINISHED
    except KeyboardInterrupt:
        status("nothing was loaded", "ERROR", reason="interrupted")
        return INTERRUPTED
    headers = ["table", "read", "valid" if options.dry_run else "loaded", "invalid", "where"]
    rows = [dataclasses.astuple(outcome) for outcome in outcomes]
    print(tabulate.tabulate(rows, headers, intfmt=","))
    return 0


def _exit_status(error: BundleError) -> int:
    for kind, exit_status in EXIT_STATUSES.items():
        if isinstance(error, kind):
            return exit_status
    return UNFORESEEN


def _read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="load.py", description="Fills the three tables from a backup or from CSV files."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder, local or gs://bucket/path; .../backups/ means the newest backup in it",
    )
    parser.add_argument("--replace", action="store_true", help="replace the present rows")
    parser.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
