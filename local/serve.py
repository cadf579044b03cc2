"""Serves the four functions on one port: functions-framework's apps, each at a URL of its own.

python -m local.serve PORT        settings come from the environment, as on Google Cloud
"""

import os
import sys
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import functions_framework
import jinja2
from markupsafe import Markup
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

SOURCE = Path(__file__).resolve().parent.parent / "main.py"
TEMPLATES = SOURCE.parent / "pages/templates"
ENTRY_POINTS = {
    "/quarterly-hired": "quarterly_hired",
    "/hiring-by-department": "hiring_by_department",
    "/backup-data": "backup_data",
    "/truncate-tables": "truncar_tablas",
}
YEAR_HOURS = 8760
# How long running requests may go on after the server is told to stop.
GRACE_SECONDS = 10


def application() -> WSGIApplication:
    """All four functions as one app; each sees the path `/`, as a deployed function does."""
    functions = {
        url: at_root(functions_framework.create_app(target=entry_point, source=str(SOURCE)))
        for url, entry_point in ENTRY_POINTS.items()
    }

    @Request.application
    def index(request: Request) -> Response:
        """Answers `/` with a page on the functions, any other path with 404 and their URLs."""
        if request.path not in ("", "/"):
            return Response("".join(f"{url}\n" for url in ENTRY_POINTS), 404)
        loader = jinja2.FileSystemLoader([Path(__file__).parent, TEMPLATES])
        template = jinja2.Environment(loader=loader, autoescape=True).get_template("index.html")
        style = Markup((TEMPLATES / "report.css").read_text())  # noqa: S704 - a file of our own
        newest = newest_backup(functions["/backup-data"])
        page = template.render(url=request.host_url, style=style, newest=newest)
        return Response(page, mimetype="text/html")

    return DispatcherMiddleware(index, functions)


def at_root(app: WSGIApplication) -> WSGIApplication:
    """Wraps an app so that it sees the path `/` at its own URL and does not redirect to `URL/`."""

    def with_path(environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environment["PATH_INFO"] = environment["PATH_INFO"] or "/"
        return app(environment, start_response)

    return with_path


def newest_backup(backup: WSGIApplication) -> str:
    """A sentence on the newest backup, from what the function `backup_data` answers."""
    answer = Client(backup).get("/", query_string={"max_age_hours": YEAR_HOURS})
    found: dict[str, Any] = answer.get_json()
    if answer.status_code != HTTPStatus.OK:
        return f"No newest backup to show: {found['error']['message']}."
    return f"The newest backup is {found['age_hours']} hours old: {found['backup']}"


def main() -> None:
    """Becomes gunicorn, as functions-framework starts it, on 127.0.0.1 until SIGINT or SIGTERM."""
    threads = os.environ.get("THREADS", str(4 * (os.cpu_count() or 1)))
    command = [sys.executable, "-m", "gunicorn", "local.serve:application()", "--timeout=0"]
    command += [f"--bind=127.0.0.1:{sys.argv[1]}", f"--threads={threads}", "--log-level=error"]
    command += ["--limit-request-line=0", f"--graceful-timeout={GRACE_SECONDS}"]
    # gunicorn would create its control socket in the user's home folder.
    os.execv(sys.executable, [*command, "--no-control-socket"])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
