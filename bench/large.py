"""Measures the seconds and the peak memory of a backup of very many rows.

    python -m bench.large [ROWS]     by default ten million employees

Starts a private database server and a Cloud Storage emulator, makes the rows on the server, takes
one backup and compares the manifest's count with the server's.
"""

import subprocess
import sys
import time

from bench import stack
from local.database import DatabaseServer
from local.storage import StorageEmulator

DATABASE = "hiring"
TAKE = """
import backup, resource
from hiring.core.settings import current_settings
settings = current_settings()
manifest = backup.take(settings, settings.deadline())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
(rows,) = (table["rows"] for table in manifest["tables"] if table["table"] == "employees")
print(rows, peak, sum(each["bytes"] for table in manifest["tables"] for each in table["objects"]))
"""
DOUBLE = """
INSERT INTO employees (name, datetime, department_id, job_id)
SELECT CONCAT('Employee ', id * 7919), datetime + INTERVAL MOD(id, 1000) MINUTE, 1, 1
FROM employees LIMIT %s
"""


def fill(server: DatabaseServer, rows: int) -> int:
    """Doubles the employees until there are `rows`; returns the server's count."""
    server.create_database(DATABASE)
    server.run_script(stack.PROJECT / "loading/schema.sql", DATABASE)
    with server.connect(database=DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO departments VALUES (1, 'Sales')")
        cursor.execute("INSERT INTO jobs VALUES (1, 'Clerk')")
        cursor.execute("INSERT INTO employees VALUES (1, 'Ada', '2021-01-01', 1, 1)")
        made = 1
        while made < rows:
            made += cursor.execute(DOUBLE, (min(made, rows - made),))
        cursor.execute("SELECT COUNT(*) FROM employees")
        return int(cursor.fetchone()[0])


def run(server: DatabaseServer, emulator: StorageEmulator, rows: int) -> None:
    """Makes the rows, takes the backup and prints the figures."""
    counted = fill(server, rows)
    environment = stack.environment(server, emulator, DATABASE)
    started = time.monotonic()
    command = [sys.executable, "-c", TAKE]
    answer = subprocess.check_output(command, env=environment, cwd=stack.PROJECT, text=True)
    seconds = time.monotonic() - started
    stored, peak, size = map(int, answer.split())
    assert stored == counted == rows, (stored, counted)
    print(
        f"{rows:,} employees, {stack.machine(server)}: {seconds:.1f} s,"
        f" {rows / seconds:,.0f} rows/s, {size / 1e6:.0f} MB stored, peak memory {peak} MB"
    )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with stack.server_and_storage() as (server, emulator, _):
        run(server, emulator, rows)


if __name__ == "__main__":
    main()
