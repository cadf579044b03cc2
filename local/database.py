"""A private MySQL or MariaDB server: its own data folder, unix socket and port on 127.0.0.1."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymysql

from local import process
from local.programs import (
    INSTALL_TOOL,
    DatabaseServerError,
    find_beside,
    find_program,
    read_version,
)

START_SECONDS = 60
# Linux allows 108 bytes, including the final zero byte.
SOCKET_PATH_BYTES = 107
LOG_LINES_SHOWN = 20

# Commits survive a crash of the server but not of the machine, which makes them much faster.
SERVER_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--max-connections=200",
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=256M",
    "--innodb-flush-log-at-trx-commit=2",
    "--loose-mysqlx=OFF",
)


class DatabaseServer:
    """One server process on one data folder.

    Attributes: `socket` (path of the unix socket), `port` (on 127.0.0.1), `version` (such as
    "9.7" or "10.11"), `is_mariadb`, `log` (path of the server's log), `pid` (while it runs).
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        program: str | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Prepares a server; nothing is started or written yet.

        Args:
            folder: where data, log and socket go; created if missing. It has a data folder for each
                kind and version of server.
            port: the TCP port; by default a free one.
            program: the server program; by default the one that `find_program` finds.
            options: further options of the server, such as "--default-time-zone=+05:30".

        Raises:
            DatabaseServerError: the server program is missing or does not print its version.
        """
        self.program = program or find_program()
        self.version, self.is_mariadb = read_version(self.program)
        self.folder = folder.resolve()
        self.data = self.folder / f"{'mariadb' if self.is_mariadb else 'mysql'}-{self.version}"
        self.log = self.folder / "server.log"
        self.socket = socket_path(self.folder)
        self.port = port or process.free_port()
        self._options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            DatabaseServerError: the server does not run.
        """
        if self._process is None:
            raise DatabaseServerError("the server does not run")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server was started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def initialise(self) -> None:
        """Creates the data folder if it is missing, completely or not at all.

        Raises:
            DatabaseServerError: the server's set-up failed.
        """
        if self.data.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # Renamed when complete, so that an interrupted set-up never passes for a data folder.
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=self.folder))
        try:
            with self.log.open("ab") as log:
                command = self._initialise_command(unfinished / "data")
                # A private folder for temporary tables: see `_start_command`.
                environment = {**os.environ, "TMPDIR": str(unfinished)}
                done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
            if done.returncode != 0:
                raise DatabaseServerError(self._failure("could not make its data folder"))
            (unfinished / "data").rename(self.data)
        finally:
            shutil.rmtree(unfinished)

    def _initialise_command(self, data: Path) -> list[str]:
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        if not self.is_mariadb:
            return [
                self.program,
                "--no-defaults",
                "--initialize-insecure",
                f"--datadir={data}",
                *as_root,
            ]
        return [
            find_beside(self.program, INSTALL_TOOL),
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--force",  # also where this machine's own name cannot be looked up
            f"--datadir={data}",
            *as_root,
        ]

    def start(self) -> None:
        """Starts the server, after creating its data folder if needed, and waits until it answers.

        Raises:
            DatabaseServerError: it did not start within START_SECONDS, or is running already.
        """
        self.initialise()
        self._clear_socket()
        with self.log.open("ab") as log:
            self._process = process.start(self._start_command(), log)
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def _start_command(self) -> list[str]:
        command = [
            self.program,
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self.socket}",
            f"--port={self.port}",
            f"--pid-file={self.folder / 'server.pid'}",
            # MariaDB removes other servers' temporary tables from this folder when it starts.
            f"--tmpdir={self.folder}",
            *SERVER_OPTIONS,
            *self._options,
        ]
        return [*command, "--user=root"] if os.geteuid() == 0 else command

    def _clear_socket(self) -> None:
        """Removes a killed server's socket and lock: MySQL may take its id for a live server's."""
        if self._listens():
            raise DatabaseServerError(f"a server already runs on {self.folder}")
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.parent.chmod(0o700)  # root has no password
        self.socket.unlink(missing_ok=True)
        self.socket.with_name(f"{self.socket.name}.lock").unlink(missing_ok=True)

    def _listens(self) -> bool:
        # A login would leak a socket: PyMySQL does not close one that it could not connect.
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(self.socket))
            return True
        return False

    def _lets_in(self) -> bool:
        """Whether root can log in; removes other hosts' root accounts, which have no password."""
        if not self._listens():
            return False
        # MySQL listens for a moment even if its options are wrong.
        with contextlib.suppress(pymysql.OperationalError):
            with self.connect() as connection, connection.cursor() as cursor:
                # MariaDB creates root accounts for TCP too.
                cursor.execute("SELECT host FROM mysql.user WHERE user = 'root'")
                for (host,) in cursor.fetchall():
                    if host != "localhost":
                        cursor.execute("DROP USER root@%s", (host,))
            return True
        return False

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._lets_in():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DatabaseServerError(self._failure("did not start"))
            time.sleep(0.02)

    def stop(self) -> None:
        """Shuts the server down cleanly; does nothing if it does not run."""
        self._end(process.stop)

    def kill(self) -> None:
        """Ends the server at once, as a crash would; does nothing if it does not run."""
        self._end(process.kill)

    def _end(self, how: Any) -> None:
        if self._process is not None:
            how(self._process)
            self._process = None
        if self.socket.parent != self.folder:
            shutil.rmtree(self.socket.parent, ignore_errors=True)

    def connect(self, **options: Any) -> "pymysql.Connection[Any]":
        """Logs in as root over the socket, with autocommit.

        Args:
            options: PyMySQL's; they override the defaults here.

        Raises:
            pymysql.OperationalError: the server does not answer.
        """
        defaults = {
            "unix_socket": str(self.socket),
            "user": "root",
            "charset": "utf8mb4",
            "autocommit": True,
            "ssl_disabled": True,  # TLS would take most of the time and protect nothing here
        }
        return pymysql.connect(**{**defaults, **options})

    def create_database(self, name: str) -> None:
        """Creates a database unless it exists."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {quote(name)}")

    def run_script(self, script: Path, database: str) -> None:
        """Runs an SQL file in a database; see `split_script`."""
        with self.connect(database=database) as connection, connection.cursor() as cursor:
            for statement in split_script(script.read_text()):
                cursor.execute(statement)

    def create_account(self, user: str, password: str, database: str) -> None:
        """Creates `user` if needed, sets its password, and grants all rights on `database`.

        With the right to see foreign keys everywhere, which a truncation needs.
        """
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER IF NOT EXISTS %s@'%%'", (user,))
            cursor.execute("ALTER USER %s@'%%' IDENTIFIED BY %s", (user, password))
            pattern = quote_pattern(database).replace("%", "%%")
            cursor.execute(f"GRANT ALL ON {pattern}.* TO %s@'%%'", (user,))
            cursor.execute("GRANT REFERENCES ON *.* TO %s@'%%'", (user,))

    def _failure(self, what: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"{self.program} {what}; the end of {self.log}:", *lines])


def quote(name: str) -> str:
    """A quoted SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def quote_pattern(database: str) -> str:
    """A database's name, quoted for GRANT, where `_` and `%` would be wildcards."""
    return quote(re.sub(r"([_%\\])", r"\\\1", database))


def split_script(script: str) -> list[str]:
    """The statements of an SQL script; each ends with a semicolon at the end of a line."""
    statements = re.split(r";[ \t]*$", script, flags=re.MULTILINE)
    return [statement.strip() for statement in statements if statement.strip()]


def socket_path(folder: Path) -> Path:
    """The socket's path: in `folder`, or in a temporary folder if that path would be too long."""
    inside = folder / "server.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES:
        return inside
    return Path(tempfile.mkdtemp(prefix="database-")) / "server.sock"
