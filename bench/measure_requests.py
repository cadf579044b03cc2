"""Measures how many reports a second one instance answers, and how long a request takes.

    [MYSQLD=...] python -m bench.measure_requests

Each of CLIENTS clients sends one request after another over one connection, on the sample data.
"""

import http.client
import statistics
import threading
import time
import urllib.parse

import tabulate

from bench import stack
from bench.stack import Stack
from local import sample, serve

CLIENTS = 8
WARM_SECONDS = 1
SECONDS = 5
FORMATS = ("text", "html", "json", "ndjson", "csv")
COLUMNS = ["report", "format", "requests/s", "p95 ms"]


def fill(running: Stack) -> None:
    """Inserts the sample data."""
    with running.connect() as connection, connection.cursor() as cursor:
        for table, rows in sample.TABLES.items():
            places = ", ".join(["%s"] * len(sample.COLUMNS[table]))
            columns = ", ".join(sample.COLUMNS[table])
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows())
        connection.commit()


def send(address: str, path: str, until: float, seconds: list[float]) -> None:
    """Sends one client's requests until a time; appends the seconds that each took."""
    connection = http.client.HTTPConnection(address)
    while time.monotonic() < until:
        started = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        seconds.append(time.perf_counter() - started)
        assert response.status == http.client.OK, path
    connection.close()


def measure(address: str, path: str, duration: float) -> tuple[float, float]:
    """Measures requests a second, and the 95th percentile of a request in milliseconds."""
    seconds: list[float] = []
    arguments = (address, path, time.monotonic() + duration, seconds)
    clients = [threading.Thread(target=send, args=arguments) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return len(seconds) / duration, statistics.quantiles(seconds, n=20)[-1] * 1000


def main() -> None:
    lines = []
    with stack.running() as running:
        fill(running)
        address = urllib.parse.urlsplit(running.url).netloc
        for report in list(serve.ENTRY_POINTS)[:2]:
            for wanted in FORMATS:
                path = f"{report}?format={wanted}"
                measure(address, path, WARM_SECONDS)
                lines.append((report, wanted, *measure(address, path, SECONDS)))
        print(f"{CLIENTS} clients ({stack.machine(running.server)})")
    print(tabulate.tabulate(lines, COLUMNS, "github", floatfmt=".0f"))


if __name__ == "__main__":
    main()
