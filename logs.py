"""Log lines for Cloud Logging: one JSON object a line, grouped by request through its trace.

The fields `severity`, `message` and `logging.googleapis.com/trace` are Cloud Logging's own:
https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields

Every line of a request also says which function it is of, and who asked for it.
"""

import contextvars
import json
import sys

request: contextvars.ContextVar[dict[str, object]] = contextvars.ContextVar("request")
"""The fields that each line of the request at hand has."""


def event(message: str, severity: str = "INFO", **fields: object) -> None:
    """Writes one log line.

    Args:
        message: what happened, the same words each time, so that it can be searched for.
        severity: one of Cloud Logging's: INFO, WARNING, ERROR.
        fields: what it happened to: numbers and names, never a secret.
    """
    line = {"severity": severity, "message": message, **fields, **request.get({})}
    # One write, so that lines of requests that run at once never mix.
    sys.stderr.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    sys.stderr.flush()
