"""The whole bundle on this machine: database server, storage emulator, sample data, functions.

    python -m local PORT        ./run.sh runs this once everything is installed

It runs until Ctrl-C or SIGTERM and leaves no process behind.
"""

import contextlib
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, NoReturn

from local import process, sample
from local.database import DatabaseServer, quote
from local.emulator import StorageEmulator
from local.process import StackError
from local.serve import SOURCE

PROJECT = SOURCE.parent
FOLDER = PROJECT / ".local"
ENVIRONMENT = FOLDER / "env"
DATABASE = "hiring"
ACCOUNT = "hiring"
BUCKET = "hiring-backups"
GCS_PATH = f"{BUCKET}/local"
# Records that the sample data was loaded: tables that were truncated since then stay empty, and an
# interrupted load is repeated.
MARK_DATABASE = "sample_data"
MARK = f"{MARK_DATABASE}.loaded"
SERVE_SECONDS = 30


def welcome(server: DatabaseServer, storage: str, port: int) -> str:
    """What to do with the running stack."""
    url, env = f"http://localhost:{port}", ENVIRONMENT.relative_to(PROJECT)
    rows = server.execute(f"SELECT COUNT(*) FROM {DATABASE}.employees")[0][0]
    return f"""
The four functions, each with a line to try it:

    curl {url}/quarterly-hired
    curl {url}/hiring-by-department
    curl -X POST {url}/backup-data
    curl -X POST '{url}/truncate-tables?dry_run=true'

The last one only counts; without ?dry_run=true it empties the three tables, and they stay
empty. To get the rows of the newest backup back:

    source {env}    # the settings of the functions; again after each start
    .local/venv/bin/python manage.py restore --replace gs://{GCS_PATH}/backups/

To get the sample data back, stop this and remove {server.folder.relative_to(PROJECT)}.

    database         {server.kind}, {rows:,} employees; log in as root through {server.socket}
    Cloud Storage    STORAGE_EMULATOR_HOST={storage}, bucket {BUCKET}

Ctrl-C stops everything; the data is kept.
"""


def stop_on_signals() -> None:
    """Turns the first stop signal into `KeyboardInterrupt`; later ones are ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(*_: object) -> NoReturn:
        # A second Ctrl-C must not interrupt the clean-up.
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, stop)


def check_port(port: int) -> None:
    """Raises a `StackError` if the functions cannot listen on a port."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        message = f"cannot serve on port {port}: {reason}; try PORT=8081 ./run.sh"
        raise StackError(message) from error


def load_sample_once(server: DatabaseServer, settings: dict[str, str]) -> None:
    """Loads the sample data with manage.py and its settings, unless an earlier run did."""
    server.create_database(MARK_DATABASE)
    server.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (at DATETIME NOT NULL) ENGINE = InnoDB")
    if server.execute(f"SELECT 1 FROM {MARK}"):
        return
    # An interrupted run may have left part of the data.
    server.execute(f"DROP DATABASE IF EXISTS {quote(DATABASE)}")
    server.create_database(DATABASE)
    with tempfile.TemporaryDirectory() as folder:
        sample.write_csv(Path(folder))
        command = [sys.executable, str(PROJECT / "manage.py"), "import", folder]
        done = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise StackError(f"the sample data was not loaded:\n{done.stderr}")
    server.execute(f"INSERT INTO {MARK} VALUES (UTC_TIMESTAMP())")


def open_storage() -> StorageEmulator:
    """The storage emulator, whose objects and port are kept from run to run."""
    kept = re.search(r"127\.0\.0\.1:(\d+)", ENVIRONMENT.read_text() if ENVIRONMENT.exists() else "")
    try:
        return StorageEmulator(FOLDER / "storage", int(kept[1]) if kept else 0)
    except OSError:  # something else listens there now
        return StorageEmulator(FOLDER / "storage")


def settings_of(server: DatabaseServer, storage_url: str) -> dict[str, str]:
    """The settings with which the functions and `manage.py` reach the database and the bucket."""
    # A new password for each run: only the functions and the load need it.
    password = secrets.token_urlsafe()
    for database in (DATABASE, f"{DATABASE}_drill"):
        server.create_account(ACCOUNT, password, database)
    return {
        "DB_SOCKET": str(server.socket),
        "DB_USER": ACCOUNT,
        "DB_PASS": password,
        "DB_NAME": DATABASE,
        "GCS_PATH": GCS_PATH,
        "STORAGE_EMULATOR_HOST": storage_url,
        # The caller's shell may set it; it would contradict DB_SOCKET.
        "INSTANCE_CONNECTION_NAME": "",
    }


def write_environment(settings: dict[str, str]) -> None:
    """Writes the settings for `source`, readable by their owner only: one is the password."""
    ENVIRONMENT.unlink(missing_ok=True)
    ENVIRONMENT.touch(mode=0o600)
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    ENVIRONMENT.write_text("".join(lines))


def start(
    parts: contextlib.ExitStack, server: DatabaseServer, emulator: StorageEmulator
) -> dict[str, str]:
    """Starts both, with bucket and account; `parts` stops them. Returns the functions' settings."""
    parts.callback(server.stop)
    server.start()
    emulator.start()
    parts.callback(emulator.stop)
    emulator.ensure_bucket(BUCKET)
    return settings_of(server, emulator.url)


def start_functions(
    parts: contextlib.ExitStack, port: int, settings: dict[str, str], log: IO[Any]
) -> "subprocess.Popen[bytes]":
    """Starts the functions, which `parts` stops; raises a `StackError` if they do not listen."""
    functions = process.start(
        [sys.executable, "-m", "local.serve", str(port)],
        log,
        folder=PROJECT,
        environment=os.environ | settings,
    )
    parts.callback(process.stop, functions)
    process.wait_for_port(functions, port, SERVE_SECONDS, lambda: "their log says more")
    return functions


def serve(port: int) -> NoReturn:
    """Starts everything, prints how to use it, and waits for `KeyboardInterrupt`."""
    check_port(port)
    with contextlib.ExitStack() as parts:
        server, emulator = DatabaseServer(FOLDER / "database"), open_storage()
        settings = start(parts, server, emulator)
        write_environment(settings)
        load_sample_once(server, settings)
        functions = start_functions(parts, port, settings, sys.stderr)
        print(welcome(server, emulator.url, port), flush=True)
        while functions.poll() is None and server.is_running:
            time.sleep(0.5)
        raise StackError("the functions or the database server ended by themselves")


def main() -> None:
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal() or not 0 < int(sys.argv[1]) < 65536:
        sys.exit("error: PORT is a number from 1 to 65535")
    os.chdir(PROJECT)
    stop_on_signals()
    try:
        serve(int(sys.argv[1]))
    except StackError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped", flush=True)


if __name__ == "__main__":
    main()
