"""Measures the imports of a cold start, and counts the modules that a report loads.

[MYSQLD=...] python -m bench.cold_start [--rounds 15]
"""

import argparse
import statistics
import subprocess
import sys
import time

import tabulate

from bench import stack

THIRD_PARTY = "import functions_framework, pymysql, tabulate"
IMPORTS = {
    "Python alone": "pass",
    "functions-framework, PyMySQL, tabulate": THIRD_PARTY,
    "main": "import functions_framework, main",
    "backup": "import functions_framework, main, backup",
}
BACKUP_ONLY = ("google.cloud.storage", "fastavro", "numpy")
REPORT = """
import sys, flask, main
with flask.Flask("main").test_request_context("/?format=text") as context:
    assert main.quarterly_hired(context.request).status_code == 200
print(len(sys.modules), *(name for name in {names} if name in sys.modules))
"""


def import_seconds(statement: str) -> float:
    """Seconds that Python takes to start, run the statement and end."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", statement], check=True, cwd=stack.PROJECT)
    return time.monotonic() - started


def loaded_after_a_report() -> tuple[int, list[str]]:
    """The number of modules loaded after a report, and those of BACKUP_ONLY among them."""
    with stack.running() as running:
        stack.fill(running, 1000)
        done = subprocess.run(
            [sys.executable, "-c", REPORT.format(names=BACKUP_ONLY)],
            env=running.environment,
            cwd=stack.PROJECT,
            check=True,
            capture_output=True,
            text=True,
        )
        print(f"({stack.machine(running.server)})")
    count, *names = done.stdout.split()
    return int(count), names


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    count, names = loaded_after_a_report()
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(asked.rounds):
        for name, statement in IMPORTS.items():
            seconds[name].append(import_seconds(statement))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    least = medians["functions-framework, PyMySQL, tabulate"]
    lines = [[name, value * 1000, value / least] for name, value in medians.items()]
    print(
        tabulate.tabulate(lines, ["import", "ms", "ratio"], "github", floatfmt=("", ".0f", ".2f"))
    )
    unwanted = ", ".join(names) or "none"
    print(
        f"\nLoaded after a first report: {count} modules; of {', '.join(BACKUP_ONLY)}: {unwanted}"
    )


if __name__ == "__main__":
    main()
