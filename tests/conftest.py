"""The stack that the tests run on: a real server, a storage emulator and the functions.

MYSQLD names the server to test with; see local/database.py.
"""

import contextlib
import gc
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import engine
import hypothesis
import pymysql
import pytest
import requests
import werkzeug.test
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as cloud_storage
from xdist.scheduler import LoadScopeScheduling

import backup
import db
import manage
from hiring.settings import current_settings
from hiring.storage import storage_client
from local import process, serve
from local.database import DatabaseServer
from operate import endings

PROJECT = engine.PROJECT
PASSWORD = "correct horse, battery's staple"
ACCOUNT = "hiring"
SETTINGS = (
    "DB_PASS",
    "GCS_PATH",
    "DB_USER",
    "DB_NAME",
    "INSTANCE_CONNECTION_NAME",
    "DB_SOCKET",
    "DB_HOST",
    "DB_PORT",
    "DB_SSL_CA",
    "CLOUD_RUN_TIMEOUT_SECONDS",
    "TASK_TIMEOUT_SECONDS",
    "KEEP_BACKUPS_DAYS",
    "KEEP_BACKUPS_WEEKS",
    "KEEP_BACKUPS_MONTHS",
    "STORAGE_EMULATOR_HOST",
)
START_SECONDS = 30
REQUEST_SECONDS = 60
EXAMPLES = 100 if os.environ.get("CI") else 25
"""How many examples of a property are tried, where its test does not say otherwise."""
TOGETHER = {
    "tests/functions/test_browser.py": "a browser",
    "tests/functions/test_faults_database.py": "a server to kill",
    "tests/functions/test_login.py": "a server without TLS",
    "tests/functions/test_tls.py": "a server with a certificate",
    "tests/jobs/test_distributed_backup.py": "Spark",
    "tests/restore/test_load_across.py": "a server of the other kind",
}
"""The files whose tests run in one process, one after the other, and what they share there."""


def forget_settings() -> None:
    """Drops what the functions keep in this process from one request to the next."""
    current_settings.cache_clear()
    db: Any = sys.modules.get("db")
    if db:
        if connection := getattr(db._kept, "connection", None):
            connection.close()
        db._kept = threading.local()
    storage_client.client.cache_clear()


# On a busy machine an example may take any time.
hypothesis.settings.register_profile("unhurried", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Prepares this process, and with it those that the tests start."""
    # A shell that runs pytest in the background has it ignore this.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A proxy does not know what runs on this machine.
    os.environ["no_proxy"] = "127.0.0.1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests that use no database server as `once`, and mixes those of several processes.

    Tests of one file wait for the same things: mixed, one waits while others compute.
    """
    if hasattr(config, "workerinput"):
        random.Random(1).shuffle(items)
    for item in items:
        assert isinstance(item, pytest.Function)
        if "server" not in item.fixturenames and not hasattr(item.module, "DatabaseServer"):
            item.add_marker("once")


class Scheduling(LoadScopeScheduling):
    """Gives each process the next test, or all that run together."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """What starts slowly, such as a browser, starts once and not in every process."""
    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    """Spares the garbage collector from looking at all modules and tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Removes the functions' settings from the environment and from this process."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    forget_settings()
    yield monkeypatch
    forget_settings()


# The database


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """A running server, shared by the whole session.

    Its time zone is not UTC, so that code that relies on UTC fails.
    """
    folder = tmp_path_factory.mktemp("server")
    folder.chmod(0o755)  # as a folder of .local/ is
    server = DatabaseServer(folder, options=["--default-time-zone=+05:30"])
    server.start()
    yield server
    server.stop()


class Database:
    """A database for one test, with the three tables, empty.

    Attributes:
        server: that it is on.
        name: of the database.
        environment: the functions' settings for it; their account has all rights in this database
            and sees foreign keys elsewhere.
    """

    def __init__(self, server: DatabaseServer, name: str) -> None:
        self.server = server
        self.name = name
        self.environment = {
            "DB_SOCKET": str(server.socket),
            "DB_USER": ACCOUNT,
            "DB_PASS": PASSWORD,
            "DB_NAME": name,
        }

    def connect(self, **options: Any) -> "pymysql.Connection[Any]":
        """A connection as root over the socket; `options` are PyMySQL's."""
        return self.server.connect(**{"database": self.name, **options})

    def execute(self, sql: str, args: Any = None) -> list[tuple[Any, ...]]:
        """Runs one statement on a connection of its own; returns its rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, args)
            return list(cursor.fetchall())

    def insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Inserts whole rows into a table."""
        places = ", ".join(["%s"] * len(rows[0]))
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES ({places})", rows)

    def run_script(self, script: Path) -> None:
        """Runs a file of SQL statements."""
        self.server.run_script(script, self.name)


@pytest.fixture
def database(server: DatabaseServer) -> Iterator[Database]:
    """A fresh database with schema.sql loaded; see `Database`."""
    database = Database(server, f"test_{uuid.uuid4().hex[:12]}")
    server.create_database(database.name)
    server.create_account(ACCOUNT, PASSWORD, database.name)
    database.run_script(PROJECT / "restore/schema.sql")
    yield database
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {database.name}")
        cursor.execute("DROP USER %s", (ACCOUNT,))


# Cloud Storage


@pytest.fixture
def logged(environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Database]:
    """A database of the functions on a server that writes a binary log with GTIDs."""
    options = ["--log-bin=binlog", "--server-id=1"]
    if not DatabaseServer(tmp_path / "kind").is_mariadb:
        options += ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]
    server = DatabaseServer(tmp_path / "server", options=options)
    server.start()
    try:
        server.create_database("hiring")
        server.create_account(ACCOUNT, PASSWORD, "hiring")
        logged = Database(server, "hiring")
        logged.run_script(PROJECT / "restore/schema.sql")
        for name, value in logged.environment.items():
            environment.setenv(name, value)
        yield logged
    finally:
        server.stop()


class Storage:
    """A Cloud Storage emulator in a process of its own; `url` is its address.

    It is not in this process because the client finishes an unclosed upload when that is
    garbage-collected: in a thread of the emulator, it would wait for itself.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()

    def _send(self, method: str, path: str, **options: Any) -> None:
        url = self.url + path
        self._session.request(method, url, timeout=REQUEST_SECONDS, **options).raise_for_status()

    def fail(self, match: str, **rule: Any) -> None:
        """Makes requests that match fail; `rule` has the attributes of local.emulator.Fault."""
        self._send("POST", "/faults", json=[{"match": match, **rule}])

    def heal(self) -> None:
        """Ends all faults."""
        self._send("DELETE", "/faults")

    def wipe(self) -> None:
        """Removes all buckets; an upload that still runs finds none."""
        self._send("GET", "/wipe")

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """A running Cloud Storage emulator, shared by the whole session."""
    folder = tmp_path_factory.mktemp("storage")
    port = process.free_port()
    command = [sys.executable, "-m", "local.emulator", str(folder / "objects"), str(port)]
    log = folder / "storage.log"
    with log.open("wb") as file:
        emulator = process.start(command, file, folder=PROJECT)
    process.wait_for_port(emulator, port, START_SECONDS, log.read_text)
    storage = Storage(f"http://127.0.0.1:{port}")
    yield storage
    storage.close()
    process.stop(emulator)
    # Anything else, such as a traceback, is an error in the emulator.
    assert log.read_text() == f"STORAGE_EMULATOR_HOST=http://127.0.0.1:{port}\n"


class Bucket:
    """A bucket for one test.

    Attributes:
        storage: the emulator, whose `fail` makes requests fail.
        client: a real client of the emulator.
        name: of the bucket.
        environment: the functions' settings for it.
    """

    def __init__(self, storage: Storage, client: cloud_storage.Client, name: str) -> None:
        self.storage = storage
        self.client = client
        self.name = name
        self.environment = {
            "STORAGE_EMULATOR_HOST": storage.url,
            "GCS_PATH": f"gs://{name}/hiring",
        }

    def blob(self, name: str) -> cloud_storage.Blob:
        return self.client.bucket(self.name).blob(name)

    def blobs(self, prefix: str = "") -> dict[str, bytes]:
        """The content of each object, by name."""
        return {
            blob.name: blob.download_as_bytes()
            for blob in self.client.list_blobs(self.name, prefix=prefix)
        }


@pytest.fixture
def bucket(storage: Storage) -> Iterator[Bucket]:
    """A fresh, empty bucket; all faults end with the test."""
    client = cloud_storage.Client(
        project="test",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": storage.url},
    )
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(name)
    yield Bucket(storage, client, name)
    storage.heal()
    storage.wipe()
    client.close()


# The functions


class Bundle:
    """The four functions in a process of their own, served as by `./run.sh`.

    The process starts with the first request, or with `start`.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._log = folder / "bundle.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The address of the functions, such as `http://127.0.0.1:40123`."""
        if self._process is None:
            self.start()
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The id of the serving process, whose one child is the worker."""
        assert self._process is not None
        return self._process.pid

    def start(self, **environment: str | None) -> None:
        """Starts or restarts the functions with other settings; None removes a variable."""
        self.stop()
        wanted = {**os.environ, **self._environment, **environment}
        self._port = process.free_port()
        with self._log.open("ab") as log:
            self._process = process.start(
                [sys.executable, "-m", "local.serve", str(self._port)],
                log,
                folder=PROJECT,
                environment={name: value for name, value in wanted.items() if value is not None},
            )
        process.wait_for_port(self._process, self._port, START_SECONDS, self.log)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Sends a request to `path`; `options` are those of `requests.request`."""
        timeout = options.pop("timeout", REQUEST_SECONDS)
        return requests.request(method, self.url + path, timeout=timeout, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def log(self) -> str:
        """All output of the functions so far."""
        return self._log.read_text()

    def stop(self) -> None:
        if self._process is not None:
            process.stop(self._process)
            self._process = None


@pytest.fixture
def bundle(tmp_path: Path, database: Database, bucket: Bucket) -> Iterator[Bundle]:
    """The functions over HTTP in a process of their own, on `database` and `bucket`."""
    bundle = Bundle(tmp_path, database.environment | bucket.environment)
    yield bundle
    bundle.stop()


@pytest.fixture(scope="session")
def application() -> Any:
    """The functions as one WSGI application, in this process."""
    return serve.application()


@pytest.fixture
def client(
    environment: pytest.MonkeyPatch, database: Database, bucket: Bucket, application: Any
) -> Iterator[werkzeug.test.Client]:
    """Calls the functions in this process, on `database` and `bucket`.

    To change a setting, use `environment.setenv` before the first request.
    """
    for name, value in (database.environment | bucket.environment).items():
        environment.setenv(name, value)
    # A backup whose server is away tries again for a minute.
    environment.setattr(db, "BACKUP_CONNECT_SECONDS", 0)
    client = werkzeug.test.Client(application)
    yield client
    forget_settings()


# Spark


@pytest.fixture(scope="session")
def spark(storage: Storage) -> Iterator[None]:
    """Spark for the jobs that tests call in this process; they find it by `getOrCreate`."""
    with engine.session({"STORAGE_EMULATOR_HOST": storage.url}):
        yield


# The load


class Loaded(NamedTuple):
    """How a load ended: its exit status, the table that it printed, and its log lines."""

    status: int
    table: str
    log: list[dict[str, Any]]

    @property
    def outcomes(self) -> dict[str, tuple[int, int, int, str]]:
        """By table: numbers of rows read, loaded and invalid, and where the invalid ones are."""
        outcomes = {}
        for name, *numbers, where in self.rows:
            read, loaded, invalid, *_ = (int(number.replace(",", "")) for number in numbers)
            outcomes[name] = (read, loaded, invalid, where)
        return outcomes

    @property
    def rows(self) -> list[list[str]]:
        """The cells of the table, without its head."""
        _, lines, *rows = self.table.splitlines() or ["", ""]
        ends = [found.end() for found in re.finditer("-+", lines)]
        spans = list(itertools.pairwise([0, *ends[:-1], None]))
        return [[row[slice(*span)].strip() for span in spans] for row in rows]

    @property
    def error(self) -> str:
        """The message and the reason of the load's one error."""
        (line,) = (line for line in self.log if line["severity"] == "ERROR")
        return f"{line['message']}: {line['reason']}"


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """Undoes that a load holds off interrupts, which the processes of other tests would inherit."""
    handlers = {each: signal.getsignal(each) for each in endings.SIGNALS}
    yield
    for each, handler in handlers.items():
        signal.signal(each, handler)


class Loader:
    """Runs `manage.py restore` or `import`: a call in this process, `start` in one of its own."""

    def __init__(
        self,
        environment: pytest.MonkeyPatch,
        capture: pytest.CaptureFixture[str],
        settings: dict[str, str],
        command: str,
    ) -> None:
        self._environment = environment
        self._capture = capture
        self._command = command
        self.settings = settings

    def __call__(self, *arguments: object, **settings: str) -> Loaded:
        """Runs the command; other settings may be given, an empty one counts as missing."""
        forget_settings()
        with self._environment.context() as environment:
            for name, value in (self.settings | settings).items():
                environment.setenv(name, value)
            self._capture.readouterr()
            with signals_kept():
                status = manage.main([self._command, *map(str, arguments)])
        forget_settings()
        out, log = self._capture.readouterr()
        return Loaded(status, out, [json.loads(line) for line in log.splitlines()])

    def start(self, *arguments: object, **settings: str) -> "subprocess.Popen[str]":
        """Starts the command with arguments and other settings."""
        return self._start(PROJECT / "manage.py", self._command, *arguments, **settings)

    def start_held(self, statement: str, times: int, *arguments: object) -> "subprocess.Popen[str]":
        """Starts the command, and returns when it waits before the n-th statement that begins so.

        It continues when it gets a line of input.
        """
        loading = self._start(
            PROJECT / "tests/support/held_load.py", statement, times, self._command, *arguments
        )
        assert loading.stdout is not None
        assert loading.stdout.readline() == "held\n", loading.communicate()
        return loading

    def _start(self, *command: object, **settings: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, **self.settings, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def run_restore(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    bucket: Bucket,
) -> Loader:
    """Runs `manage.py restore` on `database` and `bucket`; see `Loader`."""
    return Loader(environment, capsys, database.environment | bucket.environment, "restore")


@pytest.fixture
def run_import(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    bucket: Bucket,
) -> Loader:
    """Runs `manage.py import` on `database` and `bucket`; see `Loader`."""
    return Loader(environment, capsys, database.environment | bucket.environment, "import")


@pytest.fixture
def take_backup(
    environment: pytest.MonkeyPatch, database: Database, bucket: Bucket
) -> Callable[..., dict[str, Any]]:
    """Backs up a database, by default `database`; returns the function's answer."""

    def take_backup(source: Database = database) -> dict[str, Any]:
        forget_settings()
        with environment.context() as context:
            for name, value in (source.environment | bucket.environment).items():
                context.setenv(name, value)
            settings = current_settings()
            answer = backup.take(settings, settings.deadline())
        forget_settings()
        return answer

    return take_backup


@pytest.fixture
def empty_database(server: DatabaseServer, database: Database) -> Iterator[Database]:
    """A second database without tables, for the account of `database`."""
    empty = Database(server, f"{database.name}_b")
    server.create_database(empty.name)
    server.create_account(ACCOUNT, PASSWORD, empty.name)
    yield empty
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {empty.name}")
