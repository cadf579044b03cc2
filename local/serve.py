"""The four functions on one port: functions-framework's own apps, each under its own URL.

Settings come from the environment, as they do on Google Cloud.

    python -m local.serve PORT
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import functions_framework
import jinja2
from functions_framework._http.gunicorn import GunicornApplication
from markupsafe import Markup
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Request, Response

SOURCE = Path(__file__).resolve().parent.parent / "main.py"
STYLE = SOURCE.parent / "hiring/pages/templates/report.css"
INDEX = Path(__file__).with_name("index.html")
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
    """Answer the paths that are no function's: `/` shows what there is."""
    request = Request(environment)
    found = request.path in ("", "/")
    # `*/*` is what curl sends: the first of equals is what it gets.
    if found and request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/html":
        template = jinja2.Environment(autoescape=True).from_string(INDEX.read_text())
        style = Markup(STYLE.read_text())  # noqa: S704 - a file of our own
        page = template.render(url=request.host_url, style=style)
        response = Response(page, mimetype="text/html")
    else:
        listed = "".join(f"{url}\n" for url in ENTRY_POINTS)
        response = Response(listed, 200 if found else 404, mimetype="text/plain")
    return response(environment, start_response)


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
