"""The errors that a caller can see; each has its HTTP status and its code.

`main.py` turns them into answers, `manage.py` into exit statuses, each in one place. Callers who
are not operators read the messages: a message never holds a password, SQL or a traceback.
"""

from typing import Any


class BundleError(Exception):
    """An error with HTTP status, headers and code, a command's exit status, and a message.

    A subclass names those that differ: `class Busy(BundleError, status=409)`.
    """

    status = 500
    code = "internal"
    exit_status = 1
    headers: dict[str, str] = {}  # noqa: RUF012 - a constant of the class, never changed

    def __init_subclass__(cls, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(cls, name, value)


class BadParameter(BundleError, status=400, code="bad_parameter"):
    """The request asks for something that this function does not take."""


class TooManyRows(BadParameter, code="too_many_rows"):
    """The report has more rows, or is longer, than an answer may be."""


class PrefetchRefused(BundleError, status=403, code="prefetch_refused"):
    """A browser prefetched the address of a function that changes something."""


class MethodNotAllowed(BundleError, status=405, code="method_not_allowed"):
    """The function does not answer the request's method, only those that are allowed."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        methods = ", ".join(allowed)
        super().__init__(f"{method} is not allowed here; allowed: {methods}")
        self.headers = {"Allow": methods}


class Busy(BundleError, status=409, code="busy", exit_status=5, headers={"Retry-After": "30"}):
    """The tables could not be locked in time: someone else reads or changes them."""


class Misconfigured(BundleError, code="misconfigured", exit_status=2):
    """A setting, table, column or privilege is missing or wrong; the message names it."""


class NoCredentials(Misconfigured, exit_status=5):
    """This process has no Google credentials, or they are malformed."""


class PartlyEmptied(BundleError, code="partly_emptied"):
    """A truncation failed after its first table was empty.

    `hold_rows` says which tables hold rows, None if unknown; `backup` is the one that it took.
    """

    def __init__(self, hold_rows: dict[str, bool | None], backup: str | None) -> None:
        parts = ["the truncation failed half way"]
        for state, held in {"empty": False, "still full": True, "empty or full": None}.items():
            if tables := [table for table, holds in hold_rows.items() if holds is held]:
                parts.append(f"{state}: {', '.join(tables)}")
        if backup:
            parts.append(f"all rows are in the backup {backup}")
        super().__init__("; ".join(parts))


class StorageFailed(BundleError, status=502, code="storage_failed", exit_status=5):
    """Cloud Storage refused a request, or failed after the client's retries."""


class DatabaseUnavailable(
    BundleError,
    status=503,
    code="database_unavailable",
    exit_status=5,
    headers={"Retry-After": "10"},
):
    """The database server can't be reached, went away, or refuses the login."""

    def __init__(self, reason: str) -> None:
        prefix = "the database server is not available: "
        super().__init__(prefix + reason.removeprefix(prefix))  # unpickling passes the message


class BackupMissing(BundleError, status=503, code="backup_missing"):
    """No complete backup of the database is as young as the caller asks."""


class DrillMissing(BundleError, status=503, code="drill_missing"):
    """No good drill of the database is as young as the caller asks."""


class TimedOut(BundleError, status=504, code="timed_out", exit_status=5):
    """A query, a backup or a truncation ran past its time limit and was stopped."""


class BadSource(BundleError, code="bad_source", exit_status=3):
    """The folder to load is missing, incomplete or damaged, or does not fit: manage.py alone."""


class RowRefused(BundleError, code="row_refused", exit_status=4):
    """The database refused or changed a row, or too many are invalid: manage.py alone."""
