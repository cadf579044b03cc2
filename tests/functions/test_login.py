"""A login works whatever the line to the server is, and gives the password to no stranger."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking_server import AskingServer
from certificates import Authority
from conftest import ACCOUNT, PROJECT, Database
from forwarder import Forwarder

from hiring.deadline import Deadline
from hiring.errors import DatabaseUnavailable
from hiring.mysql import login
from hiring.mysql.statements import select
from hiring.settings import read_settings
from local.database import DatabaseServer

SECRET = "the password"
REFUSED = "the database server is not available: it refuses the login of DB_USER"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """A server for this module alone, without TLS, as Cloud SQL's tunnel may be."""
    folder = tmp_path_factory.mktemp("plain")
    server = DatabaseServer(folder)
    server = DatabaseServer(
        folder, options=["--skip-ssl" if server.is_mariadb else "--tls-version="]
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(plain: DatabaseServer) -> DatabaseServer:
    """The server of the fixture `database`."""
    return plain


@pytest.fixture
def forwarded(tmp_path: Path, database: Database) -> Iterator[str]:
    """A unix socket in front of the server's TCP port, as /cloudsql/... is."""
    forwarder = Forwarder(tmp_path / "s", database.server.port)
    yield str(tmp_path / "s")
    forwarder.close()


def refused_logins(database: Database) -> int:
    ((_, number),) = database.execute("SHOW GLOBAL STATUS LIKE 'Aborted_connects'")
    return int(number)


def log_in(database: Database, **settings: str) -> int:
    """The number of logins that the server refuses until one of them works.

    Raises:
        DatabaseUnavailable: none works.
    """
    before = refused_logins(database)
    connection = login.connect(read_settings(database.environment | settings), Deadline(10))
    assert select(connection, "SELECT DATABASE()") == [(database.name,)]
    connection.close()
    return refused_logins(database) - before


def check_wrong_password(database: Database, most: int, **settings: str) -> None:
    """Checks that a wrong password is one clear error after at most so many attempts."""
    before = refused_logins(database)
    with pytest.raises(DatabaseUnavailable) as refused:
        log_in(database, **settings, DB_PASS="wrong")
    assert str(refused.value) == REFUSED
    assert 1 <= refused_logins(database) - before <= most


def test_a_login_without_tls(database: Database, forwarded: str) -> None:
    """A password that the server's cache does not hold gets in over its own and any other socket.

    The server's own one takes it at once. A forwarded one takes it at the second attempt, and at
    the first while the cache holds it.
    """
    is_mysql = not database.server.is_mariadb
    for path, attempts in ((str(database.server.socket), 0), (forwarded, int(is_mysql))):
        database.execute("FLUSH PRIVILEGES")  # empties the cache
        assert log_in(database, DB_SOCKET=path) == attempts
        assert log_in(database, DB_SOCKET=path) == 0
        check_wrong_password(database, 2, DB_SOCKET=path)
        database.execute("FLUSH PRIVILEGES")
        check_wrong_password(database, 2, DB_SOCKET=path)


def test_a_login_over_tcp_without_tls(database: Database) -> None:
    """Over TCP, where PyMySQL knows that the line is open, there is one attempt."""
    address = {"DB_SOCKET": "", "DB_PORT": str(database.server.port)}
    database.execute("FLUSH PRIVILEGES")
    assert log_in(database, **address) == 0
    check_wrong_password(database, 1, **address)


def test_a_wrong_password_locks_an_account_no_sooner_than_said(
    database: Database, forwarded: str
) -> None:
    """A cold login counts as one wrong password; an account with a limit of two still gets in."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB has no caching_sha2_password")
    database.execute(f"ALTER USER {ACCOUNT} FAILED_LOGIN_ATTEMPTS 2 PASSWORD_LOCK_TIME UNBOUNDED")
    for _ in range(3):
        database.execute("FLUSH PRIVILEGES")
        assert log_in(database, DB_SOCKET=forwarded) == 1
    with pytest.raises(DatabaseUnavailable, match="the account of DB_USER is locked"):
        log_in(database, DB_SOCKET=forwarded, DB_PASS="wrong")


COLD_START = """
import sys
import main
from hiring.deadline import Deadline
from hiring.mysql import login
from hiring.settings import current_settings
slow = {"cryptography", "fastavro", "google.cloud.storage", "numpy"}
print(sorted(slow & set(sys.modules)))
login.connect(current_settings(), Deadline(10)).close()
print(sorted(slow & set(sys.modules)))
"""


def test_a_cold_start_imports_nothing_slow(database: Database, forwarded: str) -> None:
    """A report's function imports nothing slow; a login with RSA alone imports cryptography."""
    with_rsa = [] if database.server.is_mariadb else ["cryptography"]
    for path, imported in ((str(database.server.socket), []), (forwarded, with_rsa)):
        database.execute("FLUSH PRIVILEGES")
        started = subprocess.run(
            [sys.executable, "-c", COLD_START],
            cwd=PROJECT,
            env={**os.environ, **database.environment, "DB_SOCKET": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert started.stdout.splitlines() == ["[]", str(imported)]


# Where the server can't be reached, and why


@pytest.mark.once
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"DB_SOCKET": "/no/s"}, "it can't be reached at /no/s: No such file or directory"),
        ({"DB_SOCKET": "/dev/null"}, "it can't be reached at /dev/null: Connection refused"),
        ({"DB_PORT": "1"}, "it can't be reached at 127.0.0.1:1: Connection refused"),
        (
            {"DB_HOST": "no.such.name.invalid"},
            "it can't be reached at no.such.name.invalid:3306: Name or service not known",
        ),
    ],
)
def test_where_a_server_is_not_reached(settings: dict[str, str], reason: str) -> None:
    """The message names the socket, or the host and the port, and the system's reason."""
    check_reason(settings, reason)


def check_reason(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(DatabaseUnavailable) as refused:
        login.connect(read_settings({"DB_PASS": SECRET, **settings}), Deadline(10))
    assert str(refused.value) == f"the database server is not available: {reason}"


@pytest.mark.once
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "the connection to {} was lost"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers at {} is no MySQL server"),
        (b"\x03\0\0\0\x0a\xff\0", "what answers at {} is no MySQL server"),
    ],
)
def test_what_answers_is_no_server(said: bytes, reason: str) -> None:
    """A port where something else answers, or hangs up, is 503 too, and is named."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        client, _ = listener.accept()
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)
        client.close()

    thread = threading.Thread(target=answer)
    thread.start()
    port = str(listener.getsockname()[1])
    check_reason({"DB_PORT": port}, reason.format(f"127.0.0.1:{port}"))
    thread.join()
    listener.close()


# Who gets the password

QUESTIONS = {
    "clear": b"mysql_clear_password\0",
    "dialog": b"dialog\0\5Password: ",
    "unknown": b"client_ed25519\0" + bytes(32),
}
UNVERIFIED = "it asks for the password in clear; set DB_SSL_CA to verify it first"
UNKNOWN = "DB_USER logs in by a plugin that is not supported"


@pytest.mark.once
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("line", ["tcp", "tls", "verified", "socket"])
def test_a_server_that_asks_for_the_password_itself(
    tmp_path: Path, line: str, question: str
) -> None:
    """Only a socket or a verified server gets the password as it is, TLS alone does not suffice."""
    authority = Authority(tmp_path / "ca.pem")
    authority.sign(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    listener = socket.socket(socket.AF_UNIX if line == "socket" else socket.AF_INET)
    listener.bind(str(tmp_path / "s") if line == "socket" else ("127.0.0.1", 0))
    listener.listen()
    server = AskingServer(
        listener, QUESTIONS[question], context if line in ("tls", "verified") else None
    )
    settings = {"DB_PASS": SECRET}
    if line == "socket":
        settings["DB_SOCKET"] = str(tmp_path / "s")
    else:
        settings["DB_PORT"] = str(listener.getsockname()[1])
    if line == "verified":
        settings["DB_SSL_CA"] = str(authority.file)
    with pytest.raises(DatabaseUnavailable) as refused:
        login.connect(read_settings(settings), Deadline(10))
    server.close()
    reason = str(refused.value).partition(": ")[2]
    if question == "unknown":
        assert (reason, server.answers) == (UNKNOWN, [])
    elif line in ("tcp", "tls"):
        assert (reason, server.answers) == (UNVERIFIED, [])
    else:
        assert (reason, server.answers) == (REFUSED.partition(": ")[2], [SECRET.encode() + b"\0"])
