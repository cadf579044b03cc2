"""Log lines for Cloud Logging: one JSON object a line, grouped by request through its trace.

The fields `severity`, `message` and `logging.googleapis.com/trace` are Cloud Logging's own:
https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
"""

import contextvars
import json
import sys

from hiring.version import VERSION

request: contextvars.ContextVar[dict[str, object]] = contextvars.ContextVar("request")
"""The fields that each line of the current request has."""


def event(message: str, severity: str = "INFO", **fields: object) -> None:
    """Writes one log line.

    Args:
        message: what happened, one of a fixed list of names, so that it can be searched for.
        severity: one of Cloud Logging's.
        fields: what varies: numbers, names, texts of errors; never a secret.
    """
    line = {"severity": severity, "message": message, **fields, **request.get({})}
    line["version"] = VERSION
    # One write, so that lines of concurrent requests never mix.
    sys.stderr.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    sys.stderr.flush()
