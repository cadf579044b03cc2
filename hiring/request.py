"""Reads a request to a function: method, body and parameters, before anything is opened for it."""

import io
import os
from collections.abc import Callable, Mapping
from typing import Any

import flask

from hiring import bounded, logs
from hiring.errors import BadParameter, MethodNotAllowed, PrefetchRefused

REPORT_METHODS = ("GET", "HEAD")
CHANGE_METHODS = ("GET", "POST")

Parameters = Mapping[str, Mapping[str, Any] | Callable[[str], Any]]
"""By the name of each parameter, what its words mean; or what converts or refuses a value."""
SWITCH = {"true": True, "false": False}


def read_request(
    request: flask.Request, methods: tuple[str, ...], parameters: Parameters
) -> dict[str, Any]:
    """Checks everything in a request; returns the converted values of its parameters.

    Raises:
        MethodNotAllowed, PrefetchRefused, BadParameter: the request is refused.
    """
    has_body = _has_body(request)
    if len(request.query_string) > QUERY_BYTES:
        request.query_string = b""  # nobody parses it: the error asks for its format, too
        raise BadParameter(f"this function takes a query of at most {QUERY_BYTES:,} bytes")
    if request.method not in methods:
        raise MethodNotAllowed(request.method, methods)
    if methods is CHANGE_METHODS and _is_prefetch(request):
        raise PrefetchRefused("this address changes data, so it refuses a prefetch")
    if "#" in request.environ.get("RAW_URI", ""):
        raise BadParameter("the address holds a #; put parameters into the query, after a ?")
    if request.path != "/":
        raise BadParameter("this function takes no path; put parameters into the query, after a ?")
    if has_body:
        raise BadParameter("this function takes no request body; put parameters into the query")
    values = {}
    for name, words in request.args.lists():
        if name not in parameters:
            raise BadParameter(f"unknown parameter; this function takes: {', '.join(parameters)}")
        if len(words) > 1:
            raise BadParameter(f"{name} is given more than once")
        values[name] = _converted(name, words[0], parameters[name])
    logs.request.set(logs.request.get({}) | {name: _cut(value) for name, value in values.items()})
    return values


def _converted(name: str, value: str, meant: Mapping[str, Any] | Callable[[str], Any]) -> Any:
    if callable(meant):
        return meant(value)
    if value in meant:
        return meant[value]
    words = list(meant)
    raise BadParameter(f"{name} takes one of {', '.join(words)}; for example {name}={words[0]}")


QUERY_BYTES = 65_536
"""Maximum length of a query: each link of the page repeats it."""
BODY_SECONDS = 5
"""How long a caller may take to show that a body of unknown length is empty."""
PREFETCH_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
"""Headers with which old and new browsers mark a prefetch."""
LOGGED_CHARACTERS = 200
"""Number of characters of a header or a parameter that are logged; both can have any length."""


def _has_body(request: flask.Request) -> bool:
    """Whether there is a body; nobody reads it, however long the caller takes to send it.

    functions-framework would read it to its end before it sends the answer.
    """
    environment = request.environ
    length, body = request.content_length, environment["wsgi.input"]
    environment |= {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
    try:
        if length or "Transfer-Encoding" not in request.headers:
            return bool(length)
        with bounded.reading_ends(environment.get("gunicorn.socket"), BODY_SECONDS):
            return bool(body.read(1))
    except Exception:  # noqa: BLE001 - each web server has its own error for a malformed body
        return True


def _is_prefetch(request: flask.Request) -> bool:
    purposes = (request.headers.get(name, "").lower() for name in PREFETCH_HEADERS)
    return any("prefetch" in purpose or "preview" in purpose for purpose in purposes)


def request_fields(request: flask.Request) -> dict[str, object]:
    """The log's fields about the caller, from the platform and from the caller, unchanged.

    No account is among them: the platform checks the token and passes on no proven identity.
    """
    fields = {
        "method": request.method,
        "address": request.headers.get("X-Forwarded-For", request.remote_addr),
        "agent": request.headers.get("User-Agent"),
        "logging.googleapis.com/trace": _trace(request),
    }
    return {name: _cut(value) for name, value in fields.items() if value}


def _cut(value: object) -> object:
    return value[:LOGGED_CHARACTERS] if isinstance(value, str) else value


def _trace(request: flask.Request) -> str | None:
    # https://cloud.google.com/trace/docs/trace-context#legacy-http-header: TRACE_ID/SPAN_ID;o=1
    trace_id = request.headers.get("X-Cloud-Trace-Context", "").partition("/")[0]
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    return f"projects/{project}/traces/{trace_id}" if trace_id and project else trace_id or None
