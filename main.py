"""The four HTTP functions: what a request may ask and what an answer looks like.

functions-framework calls a function for every method and path, so each function has the request
checked first. Errors become answers in one place, `_answering`.
"""

import datetime
import functools
import json
import time
import traceback
from collections.abc import Callable
from typing import Any

import flask
from werkzeug.datastructures import MIMEAccept

import db
import reports
import truncation
from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import BadParameter, BundleError
from hiring.mysql.connection import Connection
from hiring.request import (
    CHANGE_METHODS,
    REPORT_METHODS,
    SWITCH,
    Parameters,
    read_request,
    request_fields,
)
from hiring.settings import current_settings
from pages import page
from pages.query import CSV, FORMATS, HTML, JSON, REPORT_PARAMETERS, TEXT, read_query
from pages.rendered import rendered

REPORT_FUNCTIONS = ("quarterly_hired", "hiring_by_department")

EVERY_ANSWER = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def _age(name: str, most: int, example: int, value: str) -> int:
    short = value.isascii() and value.isdigit() and len(value) <= 4
    if short and 1 <= int(value) <= most:
        return int(value)
    raise BadParameter(
        f"{name} takes a whole number from 1 to {most}; for example {name}={example}"
    )


BACKUP_PARAMETERS: Parameters = {
    "dry_run": SWITCH,
    # A year at most.
    "max_age_hours": functools.partial(_age, "max_age_hours", 8760, 26),
    "max_drill_age_days": functools.partial(_age, "max_drill_age_days", 365, 35),
}
TRUNCATION_PARAMETERS: Parameters = {"dry_run": SWITCH, "backup_first": SWITCH}


# Answers


def _json(content: object, status: int = 200) -> flask.Response:
    text = json.dumps(content, ensure_ascii=False) + "\n"
    return flask.Response(text, status=status, mimetype=JSON)


def _error(error: BundleError, request: flask.Request, function: str) -> flask.Response:
    if _wants_page(request):
        # A query alone would keep a path that was refused.
        up = "" if request.path == "/" else "./" + "../" * (request.path.count("/") - 1)
        back = f"{up}?format=html" if function in REPORT_FUNCTIONS else ""
        content = page.render_error(error.status, error.code, str(error), back)
        response = flask.Response(content, status=error.status)
        response.headers["Content-Security-Policy"] = page.CONTENT_SECURITY_POLICY
    else:
        response = _json({"error": {"code": error.code, "message": str(error)}}, error.status)
    response.headers.update(error.headers)
    return response


def _answering(
    function: Callable[[flask.Request], flask.Response],
) -> Callable[..., flask.Response]:
    """Makes a function an entry point: logs each request, and turns errors into answers.

    The entry point can be called without a request, as if by a plain GET.
    """

    @functools.wraps(function)
    def entry_point(request: flask.Request | None = None) -> flask.Response:
        if request is None:
            with flask.Flask(__name__).test_request_context() as context:
                return entry_point(context.request)
        started = time.monotonic()
        logs.request.set({"function": function.__name__, **request_fields(request)})
        try:
            response = function(request)
        except Exception as error:  # noqa: BLE001 - the boundary: the caller gets no traceback
            if isinstance(error, BundleError):
                answered, details = error, {"reason": str(error), "cause": _cause(error)}
            else:
                answered = BundleError("internal error; the log has the details")
                details = {"stack_trace": traceback.format_exc()}
            severity = "ERROR" if answered.status >= 500 else "WARNING"
            logs.event("request failed", severity, code=answered.code, **details)
            response = _error(answered, request, function.__name__)
        response.headers.update(EVERY_ANSWER)
        # A report says otherwise: it may be kept, and is asked for again by its ETag.
        response.headers.setdefault("Cache-Control", "no-store")
        seconds = round(time.monotonic() - started, 3)
        logs.event("answered", status=response.status_code, seconds=seconds)
        return response

    return entry_point


def _wants_page(request: flask.Request) -> bool:
    """Whether a browser asks, and asks for no other format."""
    return FORMATS.get(request.args.get("format", ""), _acceptable(request)) == HTML


def _cause(error: BundleError) -> str | None:
    """Kind and number of the underlying error; its text may hold SQL or addresses."""
    if not (cause := error.__cause__):
        return None
    number = next((word for word in cause.args if isinstance(word, int)), "")
    return f"{type(cause).__name__} {number}".strip()


def _report(report: reports.Report, request: flask.Request) -> flask.Response:
    asked = read_request(request, REPORT_METHODS, REPORT_PARAMETERS)
    wanted = asked.get("format") or _acceptable(request)
    query = read_query(report, asked, wanted)
    settings, deadline = current_settings(), Deadline(db.REPORT_SECONDS)
    read_at = datetime.datetime.now(datetime.UTC)
    with db.report_connection(settings, deadline) as connection:
        content = rendered(connection, query, wanted, request.host, settings.database)
    response = flask.Response(content, mimetype=wanted)
    if wanted == CSV:
        name = f"{report.name}-{query.years}.csv"
        response.headers.set("Content-Disposition", "attachment", filename=name)
    response.headers["Vary"] = "Accept"
    # Caches must revalidate with the ETag before each use, so no stale report is shown.
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    if wanted == HTML:
        response.headers["Content-Security-Policy"] = page.CONTENT_SECURITY_POLICY
        # After the ETag, which is of the rows alone: a 304 leaves the earlier time.
        response.set_data(page.dated(content, read_at))
    # If-Match is for changes: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1
    response.make_conditional({**request.environ, "HTTP_IF_MATCH": ""})
    return response


def _acceptable(request: flask.Request) -> str:
    """The format that `Accept` prefers by its q-values; text where it names no known format.

    Between equal q-values the first one wins: fetch libraries ask for
    `application/json, text/plain, */*` and expect JSON.
    """
    accept = [(kind.partition(";")[0].strip(), q) for kind, q in request.accept_mimetypes]
    named = [kind for kind, _ in accept if kind in FORMATS.values()]
    return MIMEAccept(accept).best_match([*named, *FORMATS.values()], TEXT)


# The entry points


@_answering
def quarterly_hired(request: flask.Request) -> flask.Response:
    """Hires per department and job in each quarter of `year`."""
    return _report(reports.QUARTERLY_HIRED, request)


@_answering
def hiring_by_department(request: flask.Request) -> flask.Response:
    """Departments that hired more than the mean in `year`."""
    return _report(reports.HIRING_BY_DEPARTMENT, request)


@_answering
def backup_data(request: flask.Request) -> flask.Response:
    """Backs up the three tables, or says what it would store, or how old a backup or drill is."""
    asked = read_request(request, CHANGE_METHODS, BACKUP_PARAMETERS)
    if len(asked) > 1:
        raise BadParameter("give one of dry_run, max_age_hours and max_drill_age_days")
    settings = current_settings()
    settings.require_storage()
    deadline = settings.deadline()
    # Imported here: the Cloud Storage client is slow to import, and a report does not need it.
    import backup
    from hiring.storage import newest

    if "max_age_hours" in asked:
        return _json(newest.check_age(settings, asked["max_age_hours"], deadline))
    if "max_drill_age_days" in asked:
        return _json(newest.check_drill_age(settings, asked["max_drill_age_days"], deadline))
    if asked.get("dry_run", False):
        return _json(backup.preview(settings, deadline))
    return _json(backup.take(settings, deadline))


@_answering
def truncar_tablas(request: flask.Request) -> flask.Response:
    """Empties the three tables, after a backup if `backup_first`; answers the rows they had."""
    asked = read_request(request, CHANGE_METHODS, TRUNCATION_PARAMETERS)
    dry_run = asked.get("dry_run", False)
    settings = current_settings()
    deadline = settings.deadline()
    answer: dict[str, Any] = {"dry_run": dry_run}
    while_locked = None
    if asked.get("backup_first", False):
        location = settings.require_storage()
        import backup

        def while_locked(connection: Connection, rows: dict[str, int]) -> str:
            answer["backup"] = backup.store(connection, location, deadline)
            backup.check_restorable(answer["backup"], rows)
            return str(answer["backup"]["backup"])

    answer["rows"] = truncation.truncate(
        settings, deadline, dry_run=dry_run, while_locked=while_locked
    )
    return _json(answer)
