"""The four functions on one port: functions-framework's own apps, each under its own URL.

Settings come from the environment, as they do on Google Cloud.

    python -m local.serve PORT
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import functions_framework
from functions_framework._http.gunicorn import GunicornApplication
from werkzeug.middleware.dispatcher import DispatcherMiddleware

SOURCE = Path(__file__).resolve().parent.parent / "main.py"
ENTRY_POINTS = {
    "/quarterly-hired": "quarterly_hired",
    "/hiring-by-department": "hiring_by_department",
    "/backup-data": "backup_data",
    "/truncate-tables": "truncar_tablas",
}
# How long requests that run when the server is told to stop may go on.
GRACE_SECONDS = 10


def application(source: Path = SOURCE) -> WSGIApplication:
    """All four functions as one app; each sees the path `/`, as a deployed one does."""
    return DispatcherMiddleware(
        index,
        {
            url: at_root(functions_framework.create_app(target=entry_point, source=str(source)))
            for url, entry_point in ENTRY_POINTS.items()
        },
    )


def at_root(app: WSGIApplication) -> WSGIApplication:
    """Let an app that is mounted at a URL see `/` there, without a redirect to a `/` at its end."""

    def with_path(environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environment["PATH_INFO"] = environment["PATH_INFO"] or "/"
        return app(environment, start_response)

    return with_path


def index(environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the paths that are no function's: `/` lists what there is."""
    found = environment["PATH_INFO"] in ("", "/")
    status = "200 OK" if found else "404 Not Found"
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{url}\n".encode() for url in ENTRY_POINTS]


def main() -> None:
    """Serve on 127.0.0.1, with functions-framework's own server, until SIGINT or SIGTERM."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m local.serve PORT")
    GunicornApplication(
        application(),
        "127.0.0.1",
        sys.argv[1],
        debug=False,
        graceful_timeout=GRACE_SECONDS,
        # It would be put into the user's home folder.
        control_socket_disable=True,
    ).run()


if __name__ == "__main__":
    main()
