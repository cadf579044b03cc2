"""The exit statuses of manage.py."""

import signal

from hiring.errors import (
    BadSource,
    BundleError,
    Busy,
    DatabaseUnavailable,
    Misconfigured,
    NoCredentials,
    RowRefused,
    StorageFailed,
    TimedOut,
)

MEANINGS = """\
0   done
1   an unforeseen error
2   the command, a setting or a table of the database is wrong
3   the backup or the folder is missing, incomplete or damaged, or does not fit the tables
4   the database refused or changed a row, or too many rows of a CSV file are invalid
5   the database or Cloud Storage was not available or refused the credentials, or the tables
    were in use: try again
6   done in part; the message says what is left
130 interrupted, or not confirmed
"""

UNFORESEEN = 1
UNFINISHED = 6
INTERRUPTED = 128 + signal.SIGINT

EXIT_STATUSES: dict[type[BundleError], int] = {
    NoCredentials: 5,
    Misconfigured: 2,
    BadSource: 3,
    RowRefused: 4,
    Busy: 5,
    DatabaseUnavailable: 5,
    StorageFailed: 5,
    TimedOut: 5,
}
"""The status of each class of errors; the first class that an error belongs to decides."""


def exit_status(error: BundleError) -> int:
    """The exit status for an error."""
    for kind, status in EXIT_STATUSES.items():
        if isinstance(error, kind):
            return status
    return UNFORESEEN
