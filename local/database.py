"""A private MySQL or MariaDB server: its own data folder, unix socket and port on 127.0.0.1.

python -m local.database        prints the server program that the local stack uses
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pymysql

from local import process
from local.process import StackError

PROGRAMS = ("mysqld", "mariadbd")
# An ordinary user's PATH often lacks the folders where distributions put servers.
PROGRAM_FOLDERS = ("/usr/sbin", "/usr/libexec", "/usr/local/sbin")
INSTALL_TOOL = "mariadb-install-db"
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
    "9.7" or "10.11"), `is_mariadb`, `kind` (such as "MySQL 9.7"), `log` (path of the server's log).
    What fails raises a `StackError`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        program: str | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Prepares a server with further options; nothing is started or written yet.

        Data, log and socket go to `folder`; each kind and version of server has its own data there.
        """
        self.program = program or find_program()
        self.version, self.is_mariadb = read_version(self.program)
        self.kind = f"{'MariaDB' if self.is_mariadb else 'MySQL'} {self.version}"
        self.folder = folder.resolve()
        self.data = self.folder / self.kind.lower().replace(" ", "-")
        self.log = self.folder / "server.log"
        self.socket = socket_path(self.folder)
        self.port = port or process.free_port()
        self._options = tuple(options)
        self._as_root = ["--user=root"] if os.geteuid() == 0 else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the server was started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def initialise(self) -> None:
        """Creates the data folder if it is missing, completely or not at all."""
        if self.data.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=self.folder) as unfinished:
            # Renamed when complete, so that an interrupted set-up never passes for a data folder.
            data = Path(unfinished, "data")
            command = [*self._initialise_command(data), *self._as_root]
            # A private folder for temporary tables: see `start`.
            environment = {**os.environ, "TMPDIR": unfinished}
            with self.log.open("ab") as log:
                done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
            if done.returncode != 0:
                raise self._failure("could not make its data folder")
            data.rename(self.data)

    def _initialise_command(self, data: Path) -> list[str]:
        where = ["--no-defaults", f"--datadir={data}"]
        if not self.is_mariadb:
            return [self.program, *where, "--initialize-insecure"]
        tool = [find_beside(self.program, INSTALL_TOOL), *where]
        # By force also where this machine's own name cannot be looked up.
        return [*tool, "--auth-root-authentication-method=normal", "--skip-test-db", "--force"]

    def start(self) -> None:
        """Starts the server, with a new data folder if needed, and waits until it answers."""
        self.initialise()
        self._clear_socket()
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
            *self._as_root,
        ]
        with self.log.open("ab") as log:
            self._process = process.start(command, log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not self._lets_in():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise self._failure("did not start")
                time.sleep(0.02)
        except BaseException:
            self.kill()
            raise

    def _clear_socket(self) -> None:
        """Removes a killed server's socket and lock: MySQL may take its id for a live server's."""
        if self._listens():
            raise StackError(f"a server already runs on {self.folder}")
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
            # MariaDB creates root accounts for TCP too.
            others = "SELECT host FROM mysql.user WHERE user = 'root' AND host <> 'localhost'"
            for (host,) in self.execute(others):
                self.execute("DROP USER root@%s", host)
            return True
        return False

    def kill(self) -> None:
        """Ends the server at once, as a crash would; does nothing if it does not run."""
        self.stop(process.kill)

    def stop(self, how: Callable[[subprocess.Popen[bytes]], None] = process.stop) -> None:
        """Shuts the server down cleanly; does nothing if it does not run."""
        if self._process is not None:
            how(self._process)
            self._process = None
        if self.socket.parent != self.folder:
            shutil.rmtree(self.socket.parent, ignore_errors=True)

    def connect(self, **options: Any) -> "pymysql.Connection[Any]":
        """Logs in as root over the socket, with autocommit; PyMySQL's options override that."""
        defaults: dict[str, Any] = {
            "unix_socket": str(self.socket),
            "user": "root",
            "charset": "utf8mb4",
            "autocommit": True,
            "ssl_disabled": True,  # TLS would take most of the time and protect nothing here
        }
        return pymysql.connect(**defaults | options)

    def execute(self, sql: str, *values: Any) -> tuple[tuple[Any, ...], ...]:
        """Runs one statement as root, on a connection of its own; returns its rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return tuple(cursor.fetchall())

    def create_database(self, name: str) -> None:
        """Creates a database unless it exists."""
        self.execute(f"CREATE DATABASE IF NOT EXISTS {quote(name)}")

    def run_script(self, script: Path, database: str) -> None:
        """Runs an SQL file, each of whose statements ends at a line's end, in a database."""
        with self.connect(database=database) as connection, connection.cursor() as cursor:
            for statement in script.read_text().rstrip().removesuffix(";").split(";\n"):
                cursor.execute(statement)

    def create_account(self, user: str, password: str, database: str) -> None:
        """Creates `user` if needed, sets its password, and grants all rights on `database`.

        With the right to see foreign keys everywhere, which a truncation needs.
        """
        self.execute("CREATE USER IF NOT EXISTS %s@'%%'", user)
        self.execute("ALTER USER %s@'%%' IDENTIFIED BY %s", user, password)
        # GRANT takes `_` and `%` for wildcards.
        pattern = quote(re.sub(r"([_%\\])", r"\\\1", database)).replace("%", "%%")
        self.execute(f"GRANT ALL ON {pattern}.* TO %s@'%%'", user)
        self.execute("GRANT REFERENCES ON *.* TO %s@'%%'", user)

    def _failure(self, what: str) -> StackError:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return StackError("\n".join([f"{self.program} {what}; the end of {self.log}:", *lines]))


def find_program() -> str:
    """The path of the server program: MYSQLD, else mysqld, else mariadbd."""
    named = os.environ.get("MYSQLD")
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), *PROGRAM_FOLDERS])
    for program in [named] if named else PROGRAMS:
        if found := shutil.which(program, path=search_path):
            return str(Path(found).absolute())
    raise StackError(
        f"found no program {named or ' or '.join(PROGRAMS)}: install mariadb-server-core and"
        " mariadb-client-core, or name a mysqld in MYSQLD"
    )


def find_beside(program: str, tool: str) -> str:
    """The path of a tool: from the server's installation, else from PATH."""
    installation = Path(program).resolve().parent.parent
    search_path = [str(installation / folder) for folder in ("bin", "scripts")]
    found = shutil.which(tool, path=os.pathsep.join([*search_path, os.environ.get("PATH", "")]))
    if found is None:
        raise StackError(f"{tool} is missing beside {program}")
    return found


def read_version(program: str) -> tuple[str, bool]:
    """The server's version ("9.7") and whether it is MariaDB."""
    command = [program, "--no-defaults", "--version"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    version = re.search(r"Ver (\d+\.\d+)", printed)
    if version is None:
        raise StackError(f"{program} does not tell its version: {printed!r}")
    return version[1], "MariaDB" in printed


def quote(name: str) -> str:
    """A quoted SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def socket_path(folder: Path) -> Path:
    """The socket's path: in `folder`, or in a temporary folder if that path would be too long."""
    inside = folder / "server.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES:
        return inside
    return Path(tempfile.mkdtemp(prefix="database-")) / "server.sock"


def main() -> None:
    """Prints the path of the server program, if its tools are there too."""
    try:
        program = find_program()
        if read_version(program)[1]:
            # The first needs the second, which Debian has in another package.
            find_beside(program, INSTALL_TOOL)
            find_beside(program, "my_print_defaults")
    except StackError as error:
        sys.exit(f"error: {error}")
    print(program)


if __name__ == "__main__":
    main()
