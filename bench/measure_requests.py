"""Measures how many reports a second one instance answers, and how long a request takes.

    [MYSQLD=...] python -m bench.measure_requests

Each of CLIENTS clients sends one request after another over one connection, on the sample data.
"""

import http.client
import statistics
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import tabulate

from bench import stack
from local import serve

CLIENTS = 8
WARM_SECONDS = 1
SECONDS = 5
FORMATS = ("text", "html", "json", "ndjson", "csv")
COLUMNS = ["report", "format", "requests/s", "p95 ms"]


def send(address: str, path: str, until: float) -> list[float]:
    """Sends one client's requests until a time; returns the seconds that each took."""
    seconds = []
    connection = http.client.HTTPConnection(address)
    while time.monotonic() < until:
        started = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        seconds.append(time.perf_counter() - started)
        assert response.status == http.client.OK, path
    connection.close()
    return seconds


def measure(address: str, path: str, duration: float) -> tuple[float, float]:
    """Measures requests a second, and the 95th percentile of a request in milliseconds."""
    until = time.monotonic() + duration
    with ThreadPoolExecutor(CLIENTS) as clients:
        sent = [clients.submit(send, address, path, until) for _ in range(CLIENTS)]
    seconds = [each for client in sent for each in client.result()]
    return len(seconds) / duration, statistics.quantiles(seconds, n=20)[-1] * 1000


def main() -> None:
    lines = []
    with stack.running() as running:
        stack.fill(running.connect())
        address = urllib.parse.urlsplit(running.url).netloc
        for report in list(serve.ENTRY_POINTS)[:2]:
            for wanted in FORMATS:
                path = f"{report}?format={wanted}"
                measure(address, path, WARM_SECONDS)
                lines.append((report, wanted, *measure(address, path, SECONDS)))
        print(f"{CLIENTS} clients ({running.machine})")
    print(tabulate.tabulate(lines, COLUMNS, "github", floatfmt=".0f"))


if __name__ == "__main__":
    main()
