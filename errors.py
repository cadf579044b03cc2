"""The errors that a caller can see: each knows its HTTP status and its code.

    BundleError
    ├── BadParameter          400 bad_parameter
    ├── PrefetchRefused       403 prefetch_refused
    ├── MethodNotAllowed      405 method_not_allowed
    ├── Busy                  409 busy
    ├── Misconfigured         500 misconfigured
    ├── StorageFailed         502 storage_failed
    ├── DatabaseUnavailable   503 database_unavailable
    ├── TimedOut              504 timed_out
    ├── BadSource             raised by load.py alone, never answered over HTTP
    └── RowRefused            the same

`main.py` turns them into answers, in one place; `load.py` into exit statuses. A message is read by
people who may not be operators: it never holds a password, SQL or a traceback.
"""


class BundleError(Exception):
    """An error with an HTTP status, a code for programs, and a message for people.

    `headers` are sent with the answer.
    """

    status = 500
    code = "internal"
    headers: dict[str, str] = {}  # noqa: RUF012 - a constant of the class, never changed


class BadParameter(BundleError):
    """The request asks for something that this function does not take."""

    status = 400
    code = "bad_parameter"


class PrefetchRefused(BundleError):
    """A browser fetched ahead, unasked, the address of a function that changes something."""

    status = 403
    code = "prefetch_refused"


class MethodNotAllowed(BundleError):
    """The function does not answer this HTTP method.

    Args:
        method: the request's method.
        allowed: the methods that the function answers.
    """

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        methods = ", ".join(allowed)
        super().__init__(f"{method} is not allowed here; allowed: {methods}")
        self.headers = {"Allow": methods}


class Busy(BundleError):
    """A lock was not to be had in time: somebody else reads or changes the tables."""

    status = 409
    code = "busy"
    headers = {"Retry-After": "30"}  # noqa: RUF012


class Misconfigured(BundleError):
    """A setting, table, column or privilege is missing or not what it must be: always named."""

    code = "misconfigured"


class StorageFailed(BundleError):
    """Cloud Storage refused, or failed after the client's retries."""

    status = 502
    code = "storage_failed"


class DatabaseUnavailable(BundleError):
    """The database server can't be reached, went away, or refuses the login."""

    status = 503
    code = "database_unavailable"
    headers = {"Retry-After": "10"}  # noqa: RUF012


class TimedOut(BundleError):
    """A query, a backup or a truncation ran past its time limit and was stopped."""

    status = 504
    code = "timed_out"


class BadSource(BundleError):
    """The folder that a load reads is missing, incomplete, damaged, or does not fit the tables."""

    code = "bad_source"


class RowRefused(BundleError):
    """The database refused or changed a row of a load, so that nothing was loaded."""

    code = "row_refused"
