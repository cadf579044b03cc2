"""The errors that a caller can see; each has its HTTP status and its code.

`main.py` turns them into answers, `manage.py` into exit statuses, each in one place. Callers who
are not operators read the messages: a message never holds a password, SQL or a traceback.
"""


class BundleError(Exception):
    """An error with HTTP status, headers and code, a command's exit status, and a message."""

    status = 500
    code = "internal"
    exit_status = 1
    headers: dict[str, str] = {}  # noqa: RUF012 - a constant of the class, never changed


class BadParameter(BundleError):
    """The request asks for something that this function does not take."""

    status = 400
    code = "bad_parameter"


class TooManyRows(BadParameter):
    """The report has more rows, or is longer, than an answer may be."""

    code = "too_many_rows"


class PrefetchRefused(BundleError):
    """A browser prefetched the address of a function that changes something."""

    status = 403
    code = "prefetch_refused"


class MethodNotAllowed(BundleError):
    """The function does not answer the request's method, only those that are allowed."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        methods = ", ".join(allowed)
        super().__init__(f"{method} is not allowed here; allowed: {methods}")
        self.headers = {"Allow": methods}


class Busy(BundleError):
    """The tables could not be locked in time: someone else reads or changes them."""

    status = 409
    code = "busy"
    exit_status = 5
    headers = {"Retry-After": "30"}  # noqa: RUF012


class Misconfigured(BundleError):
    """A setting, table, column or privilege is missing or wrong; the message names it."""

    code = "misconfigured"
    exit_status = 2


class NoCredentials(Misconfigured):
    """This process has no Google credentials, or they are malformed."""

    exit_status = 5


class PartlyEmptied(BundleError):
    """A truncation failed after its first table was empty; `backup` is the one that it took."""

    code = "partly_emptied"

    def __init__(
        self, empty: list[str], full: list[str], unknown: list[str], backup: str | None
    ) -> None:
        states = {"empty": empty, "still full": full, "empty or full": unknown}
        parts = [f"{state}: {', '.join(tables)}" for state, tables in states.items() if tables]
        if backup:
            parts.append(f"all rows are in the backup {backup}")
        super().__init__("; ".join(["the truncation failed half way", *parts]))


class StorageFailed(BundleError):
    """Cloud Storage refused a request, or failed after the client's retries."""

    status = 502
    code = "storage_failed"
    exit_status = 5


class DatabaseUnavailable(BundleError):
    """The database server can't be reached, went away, or refuses the login."""

    status = 503
    code = "database_unavailable"
    exit_status = 5
    headers = {"Retry-After": "10"}  # noqa: RUF012


class BackupMissing(BundleError):
    """No complete backup of the database is as young as the caller asks."""

    status = 503
    code = "backup_missing"


class DrillMissing(BundleError):
    """No good drill of the database is as young as the caller asks."""

    status = 503
    code = "drill_missing"


class TimedOut(BundleError):
    """A query, a backup or a truncation ran past its time limit and was stopped."""

    status = 504
    code = "timed_out"
    exit_status = 5


class BadSource(BundleError):
    """The folder to load is missing, incomplete or damaged, or does not fit: manage.py alone."""

    code = "bad_source"
    exit_status = 3


class RowRefused(BundleError):
    """The database refused or changed a row, or too many are invalid: manage.py alone."""

    code = "row_refused"
    exit_status = 4
