"""Measures how many reports a second one instance answers, and how long a request takes.

    python -m bench.measure_requests

The functions answer reports on the sample data through functions-framework's server. Each of 8
clients sends one request after another over one connection. For comparison, the same functions
connect to the database for every request.

MYSQLD names the server to measure with; see local/programs.py.
"""

import http.client
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tabulate
from functions_framework._http.gunicorn import GunicornApplication

from bench import stack
from local import process, sample, serve
from local.database import DatabaseServer

PROJECT = Path(__file__).parent.parent
DATABASE = "hiring"
CLIENTS = 8
WARM_SECONDS = 1
SECONDS = 5
START_SECONDS = 30
REPORTS = ("quarterly-hired", "hiring-by-department")
FORMATS = ("text", "html", "json", "csv")
KEPT, RECONNECTING = "kept", "reconnecting"


# The functions


def serve_functions(port: str, way: str) -> None:
    """Serves the functions as local/serve.py does, with or without kept database connections."""
    application = serve.application()

    def reconnecting(environment: Any, start_response: Any) -> Any:
        import db

        if connection := getattr(db._kept, "connection", None):
            connection.close()
            db._kept.connection = None
        return application(environment, start_response)

    GunicornApplication(
        application if way == KEPT else reconnecting,
        "127.0.0.1",
        port,
        debug=False,
        control_socket_disable=True,
    ).run()


@contextmanager
def functions(server: DatabaseServer, folder: Path, way: str) -> Iterator[int]:
    """Runs the functions in a process of their own on the sample data; yields their port."""
    port = process.free_port()
    settings = {
        "DB_SOCKET": str(server.socket),
        "DB_USER": "root",
        "DB_PASS": "",
        "DB_NAME": DATABASE,
    }
    command = [sys.executable, "-m", "bench.measure_requests", "serve", str(port), way]
    with (folder / f"{way}.log").open("ab") as log:
        functions = process.start(command, log, folder=PROJECT, environment=os.environ | settings)
        try:
            process.wait_for_port(functions, port, START_SECONDS, Path(log.name).read_text)
            yield port
        finally:
            process.stop(functions)


def load_sample(server: DatabaseServer) -> None:
    server.create_database(DATABASE)
    server.run_script(PROJECT / "restore/schema.sql", DATABASE)
    with server.connect(database=DATABASE) as connection, connection.cursor() as cursor:
        for table, rows in sample.TABLES.items():
            columns = sample.COLUMNS[table]
            places = ", ".join(["%s"] * len(columns))
            cursor.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows()
            )
        connection.commit()


# The clients


def send(port: int, path: str, until: float, seconds: list[float]) -> None:
    """Sends one client's requests until a time; appends the seconds that each took."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while time.monotonic() < until:
        started = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        seconds.append(time.perf_counter() - started)
        assert response.status == http.client.OK, path
    connection.close()


def measure(port: int, path: str, duration: float) -> tuple[float, float]:
    """Measures requests a second, and the 95th percentile of a request in milliseconds."""
    seconds: list[float] = []
    until = time.monotonic() + duration
    clients = [
        threading.Thread(target=send, args=(port, path, until, seconds)) for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return len(seconds) / duration, statistics.quantiles(seconds, n=20)[-1] * 1000


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve_functions(*sys.argv[2:])
        return
    results: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = DatabaseServer(folder / "database")
        server.start()
        try:
            load_sample(server)
            for way in (KEPT, RECONNECTING):
                with functions(server, folder, way) as port:
                    for report in REPORTS:
                        for wanted in FORMATS:
                            path = f"/{report}?format={wanted}"
                            measure(port, path, WARM_SECONDS)
                            results.setdefault((report, wanted), []).extend(
                                measure(port, path, SECONDS)
                            )
        finally:
            server.stop()
    print(f"{CLIENTS} clients ({stack.machine(server)})")
    headers = ["report", "format", "requests/s", "p95 ms", "reconnecting: requests/s", "p95 ms"]
    rows = [[*key, *figures] for key, figures in results.items()]
    print(tabulate.tabulate(rows, headers, "github", floatfmt=".0f"))


if __name__ == "__main__":
    main()
