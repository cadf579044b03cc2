"""The local stack: its sample data, its database server, and ./run.sh from start to Ctrl-C."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from conftest import ACCOUNT, PASSWORD, PROJECT, Bucket, Database, Storage

from local import __main__ as stack
from local import database as databases
from local import process, sample, serve
from local.database import DatabaseServer, find_program
from local.process import StackError

READY = "Ctrl-C stops everything; the data is kept.\n"
START_SECONDS = 60
INSTALL_SECONDS = 300
STOP_SECONDS = 30


# The sample data


def test_sample_data_is_the_same_everywhere(tmp_path: Path) -> None:
    """The sample data is the same on every machine, byte for byte."""
    sample.write_csv(tmp_path)
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()
    }
    assert digests == {
        "departments.csv": "e3c63a19865959e9b3ee205bfbcabc997269611b75465220d60a9e5aa5cf40df",
        "employees.csv": "8586ee41b0d0671f04c9a7fc003d9d67b5fa83f5b0fd24b97ddfc5ca731dec12",
        "jobs.csv": "c37c28f7c93b7bdd8155ccc86814a4281a64a7093c4e25f720ab062529a06223",
    }


def test_sample_data_has_hires_for_every_year_department_and_job() -> None:
    """The sample data has hundreds of hires a year, for every department and job."""
    rows = list(sample.employees())
    assert [row[0] for row in rows] == list(range(1, 6410))
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)
    assert Counter(row[2].year for row in rows) == {
        2018: 673,
        2019: 719,
        2020: 761,
        2021: 782,
        2022: 827,
        2023: 842,
        2024: 883,
        2025: 922,
    }
    assert {row[3] for row in rows} == {number for number, _ in sample.departments()}
    assert {row[4] for row in rows} == {number for number, _ in sample.jobs()}
    assert (len(list(sample.departments())), len(list(sample.jobs()))) == (12, 60)
    names = "".join(row[1] for row in rows)
    assert all(awkward in names for awkward in "'\",é🦄李")


def test_sample_data_is_loaded_once(server: DatabaseServer, storage: Storage) -> None:
    """An interrupted load of the sample data is repeated; tables emptied later stay empty."""

    def counts() -> list[int]:
        return [database.execute(f"SELECT COUNT(*) FROM {each}")[0][0] for each in sample.TABLES]

    database = Database(server, stack.DATABASE)
    server.create_database(stack.DATABASE)
    database.execute("CREATE TABLE departments (left_over INT)")
    settings = stack.settings_of(server, storage.url)
    try:
        stack.load_sample_once(server, settings)
        assert counts() == [12, 60, 6409]
        hired = "SELECT name, datetime, department_id, job_id FROM employees WHERE id = 1"
        ((name, when, *ids),) = database.execute(hired)
        first = next(sample.employees())
        assert (1, name, f"{when}+00:00", *ids) == (first[0], first[1], str(first[2]), *first[3:])
        database.execute("DELETE FROM employees")
        stack.load_sample_once(server, settings)
        assert counts() == [12, 60, 0]
    finally:
        database.execute(f"DROP DATABASE {stack.DATABASE}")
        server.connect(database=stack.MARK_DATABASE).close()
        Database(server, stack.MARK_DATABASE).execute(f"DROP DATABASE {stack.MARK_DATABASE}")


# The scripts


@pytest.mark.once
@pytest.mark.parametrize("script", ["run.sh", "test.sh"])
def test_a_scripts_help_is_its_first_comment(script: str, tmp_path: Path) -> None:
    """With --help, from any folder, a script prints its usage and installs nothing."""
    (tmp_path / "local").mkdir()
    for name in (script, "local/setup.sh"):
        shutil.copy(PROJECT / name, tmp_path / name)
    for asked in ("--help", "-h"):
        done = subprocess.run(
            [tmp_path / script, asked], cwd="/", capture_output=True, text=True, check=True
        )
        assert re.search(rf"^usage: .*\./{script}", done.stdout, re.MULTILINE)
        assert "#" not in done.stdout
    assert not (tmp_path / ".local").exists()


# The database server


def test_the_servers_attributes_are_what_it_reports(server: DatabaseServer) -> None:
    """A server's kind, version, port and socket are those that the running server reports."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION(), @@datadir, @@port, @@socket, @@max_connections")
        version, data, port, socket_path, connections = cursor.fetchone()
    assert version.startswith(f"{server.version}.")
    assert ("MariaDB" in version) is server.is_mariadb
    kind = "mariadb" if server.is_mariadb else "mysql"
    assert Path(data).name == f"{kind}-{server.version}"
    assert (port, socket_path, connections) == (server.port, str(server.socket), 200)


def test_root_can_log_in_over_the_socket_only(server: DatabaseServer) -> None:
    """Root can log in over the socket only, and there is no anonymous account."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT user, host FROM mysql.user WHERE user IN ('root', '')")
        assert cursor.fetchall() == (("root", "localhost"),)
    with pytest.raises(pymysql.OperationalError):
        pymysql.connect(host="127.0.0.1", port=server.port, user="root")


def test_only_its_owner_reaches_the_socket(server: DatabaseServer) -> None:
    """The socket's folder, which the fixture made for all to enter, lets its owner in alone."""
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700


def test_an_account_reaches_its_own_database_only(server: DatabaseServer) -> None:
    """An account reads its own database only, even if `_` and `%` are in the database's name."""
    for name in ("mine_1%", "mineX1Y"):
        server.create_database(name)
    with server.connect(database="mineX1Y") as connection:
        connection.query("CREATE TABLE t (id INT)")
    server.create_account("some_one", "old", "mine_1%")
    server.create_account("some_one", PASSWORD, "mine_1%")
    login: dict[str, Any] = {"user": "some_one", "password": PASSWORD}
    over_tcp = {"host": "127.0.0.1", "port": server.port}
    over_socket = {"unix_socket": str(server.socket)}
    for address in (over_tcp, over_socket):
        with pymysql.connect(**address, **login, database="mine_1%") as connection:
            connection.cursor().execute("CREATE TABLE IF NOT EXISTS t (id INT)")
            with pytest.raises(pymysql.OperationalError, match="denied"):
                connection.cursor().execute("SELECT * FROM mineX1Y.t")
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("DROP DATABASE `mine_1%`")
        cursor.execute("DROP DATABASE mineX1Y")
        cursor.execute("DROP USER some_one")


def test_the_settings_lead_to_the_tests_database(database: Database) -> None:
    """The settings of the fixture `database` lead to its three tables."""
    environment = database.environment
    with pymysql.connect(
        unix_socket=environment["DB_SOCKET"],
        user=environment["DB_USER"],
        password=environment["DB_PASS"],
        database=environment["DB_NAME"],
    ) as connection:
        cursor = connection.cursor()
        cursor.execute("SHOW TABLES")
        assert cursor.fetchall() == (("departments",), ("employees",), ("jobs",))
    assert (environment["DB_USER"], environment["DB_PASS"]) == (ACCOUNT, PASSWORD)


@contextlib.contextmanager
def another_server(folder: Path, **options: Any) -> Iterator[DatabaseServer]:
    """Runs a second server beside the session's."""
    server = DatabaseServer(folder, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.slow
def test_data_survives_a_stop_and_a_crash(tmp_path: Path) -> None:
    """A database is still there after its server was killed or stopped and started again."""
    # Longer than a socket's path may be.
    folder = tmp_path / ("deep" * 25)
    with another_server(folder) as server:
        assert not server.socket.is_relative_to(folder)
        server.create_database("kept")
        server.kill()
        assert not server.is_running
        server.start()
        assert server.is_running
        with pytest.raises(StackError, match="already runs"):
            server.start()
        server.stop()
        server.stop()
        assert not server.socket.parent.exists()
        server.start()
        server.connect(database="kept").close()


@pytest.mark.once
@pytest.mark.slow
def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """A server that does not start is an error with the end of the server's log."""
    server = DatabaseServer(tmp_path, options=["--no-such-option"])
    with pytest.raises(StackError, match=r"(?s)did not start.*no-such-option"):
        server.start()
    assert not server.is_running


@pytest.mark.once
@pytest.mark.slow
def test_an_interrupted_set_up_is_repeated(tmp_path: Path) -> None:
    """An interrupted set-up leaves no data folder behind, and the next start repeats it."""

    class Interrupted(DatabaseServer):
        def _initialise_command(self, data: Path) -> list[str]:
            return ["sh", "-c", f"mkdir {data}; echo half done; exit 1"]

    with pytest.raises(StackError, match="half done"):
        Interrupted(tmp_path).initialise()
    assert [path.name for path in tmp_path.iterdir()] == ["server.log"]
    with another_server(tmp_path) as server:
        assert server.data.is_dir()


def test_a_missing_server_is_an_error_with_advice(environment: pytest.MonkeyPatch) -> None:
    """A wrong MYSQLD is an error that names it; without any server, the error names packages."""
    environment.setenv("MYSQLD", "/no/such/mysqld")
    with pytest.raises(StackError, match="found no program /no/such/mysqld: "):
        find_program()
    environment.delenv("MYSQLD")
    environment.setenv("PATH", "/nowhere")
    environment.setattr(databases, "PROGRAM_FOLDERS", ())
    with pytest.raises(StackError, match="install mariadb-server-core"):
        find_program()
    environment.setenv("MYSQLD", "/bin/true")
    with pytest.raises(StackError, match="does not tell its version"):
        DatabaseServer(Path())


# The functions on one port


def test_every_function_has_a_url(client: Any) -> None:
    """Each URL leads to its function without a redirect; any other is 404 with a list of URLs."""
    listed = "".join(f"{url}\n" for url in serve.ENTRY_POINTS)
    assert list(serve.ENTRY_POINTS) == [
        "/quarterly-hired",
        "/hiring-by-department",
        "/backup-data",
        "/truncate-tables",
    ]
    assert (client.get("/other").status_code, client.get("/other").text) == (404, listed)
    for url in serve.ENTRY_POINTS:
        answer = client.get(f"{url}?no_such_parameter=1")
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad_parameter")


def test_the_index_page_leads_to_each_function(client: Any) -> None:
    """The page at `/` links to the reports and shows commands for the other two functions."""
    page = client.get("/")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    for url in ("quarterly-hired", "hiring-by-department"):
        assert f'<a href="{url}">' in page.text
    assert "curl -X POST http://localhost/backup-data" in page.text
    assert "curl -X POST &#39;http://localhost/truncate-tables?dry_run=true" in page.text.replace(
        "'", "&#39;"
    )
    assert "<a href" not in page.text.partition("/backup-data")[2]


def test_the_index_page_shows_the_newest_backup(
    client: Any, database: Database, bucket: Bucket
) -> None:
    """The page at `/` shows the newest backup, or why there is none."""
    database.insert("departments", [(1, "Sales")])
    assert "No newest backup to show: " in client.get("/").text
    client.post("/backup-data")
    backup = client.post("/backup-data").get_json()["backup"]
    page = client.get("/").text
    assert "The newest backup is 0.0 hours old" in page
    assert backup in page


# From start to stop


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project in which nothing is installed."""
    folder = tmp_path / "checkout"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    for name in filter(None, files.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    return folder


class Stack:
    """A stack that runs in a checkout, in a process group of its own as in a terminal."""

    def __init__(self, checkout: Path, command: list[str], ready_seconds: float) -> None:
        self._checkout = checkout
        self._output = checkout.parent / "output"
        self.port = process.free_port()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [part.format(port=self.port) for part in command],
                cwd=checkout,
                env={**os.environ, "PORT": str(self.port)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + ready_seconds
        while READY not in self.output():
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def output(self) -> str:
        return self._output.read_text()

    def curl_lines(self) -> list[str]:
        """The commands that the stack prints for people to try."""
        return re.findall(r"^ +(curl .+)$", self.output(), flags=re.MULTILINE)

    def processes(self) -> list[str]:
        """The commands of all processes that run in the checkout or name it."""
        found = []
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                command = (path / "cmdline").read_text().replace("\0", " ")
                if str(self._checkout) in f"{command} {(path / 'cwd').readlink()}":
                    found.append(command)
        return found

    def stop(self, number: signal.Signals) -> int:
        """Sends a signal to the whole group, as Ctrl-C does; returns the exit status."""
        os.killpg(self._process.pid, number)
        return self._process.wait(STOP_SECONDS)


def run(command: str, folder: Path) -> str:
    """The output of a command, typed as it is into a shell."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


def check_functions(stack: Stack, checkout: Path) -> None:
    """Checks that the four printed commands work as printed and show the sample data."""
    quarterly, departments, backup, truncation = stack.curl_lines()
    assert "| Engineering " in run(quarterly, checkout)
    assert "| Engineering " in run(departments, checkout)
    assert '"backup": "gs://hiring-backups/local/backups/' in run(backup, checkout)
    assert '"employees": 6409' in run(truncation, checkout)


needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
IN_THIS_ENVIRONMENT = [sys.executable, "-m", "local", "{port}"]


@pytest.mark.slow
@needs_curl
def test_the_stack_runs_keeps_its_data_and_stops(checkout: Path) -> None:
    """Truncated tables stay empty in the next run, `.local/env` serves both, no process is left."""
    listing = f"source .local/env; echo $STORAGE_EMULATOR_HOST; {sys.executable} manage.py list"
    stack = Stack(checkout, IN_THIS_ENVIRONMENT, START_SECONDS)
    check_functions(stack, checkout)
    assert stat.S_IMODE((checkout / ".local/env").stat().st_mode) == 0o600
    listed = run(listing, checkout)
    assert "gs://hiring-backups/local/backups/" in listed
    assert len(stack.processes()) >= 3
    really = stack.curl_lines()[3].replace("?dry_run=true", "")
    assert '"employees": 6409' in run(really, checkout)
    assert stack.stop(signal.SIGINT) == 0
    assert stack.output().endswith("stopped\n")
    assert stack.processes() == []

    stack = Stack(checkout, IN_THIS_ENVIRONMENT, START_SECONDS)
    assert '"employees": 0' in run(stack.curl_lines()[3], checkout)
    assert run(listing, checkout).splitlines()[0] == listed.splitlines()[0]
    assert stack.stop(signal.SIGTERM) == 0
    assert stack.processes() == []


@pytest.mark.slow
@pytest.mark.once
def test_a_killed_stack_leaves_no_process(checkout: Path) -> None:
    """A stack that is killed leaves no process running for long."""
    stack = Stack(checkout, IN_THIS_ENVIRONMENT, START_SECONDS)
    stack.stop(signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while stack.processes():
        assert time.monotonic() < deadline, stack.processes()
        time.sleep(0.1)


def test_a_port_in_use_is_the_first_error(checkout: Path) -> None:
    """A port in use is the first error: nothing is started or written."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "local", str(port)],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
    message = f"cannot serve on port {port}: Address already in use; try PORT=8081 ./run.sh"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {message}\n")
    assert not (checkout / ".local").exists()


@pytest.mark.once
@pytest.mark.slow
@needs_curl
def test_run_sh_works_in_a_fresh_checkout(checkout: Path) -> None:
    """`./run.sh` installs what is missing, works as it prints, runs only once, and stops."""
    stack = Stack(checkout, ["./run.sh"], INSTALL_SECONDS)
    check_functions(stack, checkout)
    second = subprocess.run(["./run.sh"], cwd=checkout, capture_output=True, text=True, check=False)
    assert (second.returncode, second.stderr) == (1, "error: ./run.sh is running already\n")
    assert stack.stop(signal.SIGINT) == 0
    assert stack.processes() == []

    began = time.monotonic()
    stack = Stack(checkout, ["./run.sh"], START_SECONDS)
    assert time.monotonic() - began < 10
    check_functions(stack, checkout)
    assert stack.stop(signal.SIGTERM) == 0
    assert stack.processes() == []
