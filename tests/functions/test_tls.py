"""With DB_SSL_CA, only a verified server gets the login, and everything is sent inside TLS."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from conftest import Database, Loader
from forwarder import Forwarder
from werkzeug.test import Client

from hiring.deadline import Deadline
from hiring.mysql import login
from hiring.mysql.statements import select
from hiring.settings import read_settings
from hiring.tables import TABLES
from local.database import DatabaseServer

URLS = ("/quarterly-hired", "/hiring-by-department", "/backup-data", "/truncate-tables")
REFUSES = "the database server is not available: its certificate fails DB_SSL_CA: "
SSL_REQUEST_BYTES = 36
"""A login starts with this packet, which asks for TLS and holds no name and no password:
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_ssl_request.html"""
TLS_RECORDS = range(20, 24)
"""https://www.rfc-editor.org/rfc/rfc8446#section-5.1"""
HANDSHAKE = 22
ALERT_BYTES = 32
"""An encrypted alert, which ends a failed handshake, is shorter; a login is longer."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the certificates of the module's server."""
    return Authority(tmp_path_factory.mktemp("authority") / "server-ca.pem")


@pytest.fixture(scope="module")
def encrypting(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[DatabaseServer]:
    """A server for this module alone, with a certificate."""
    folder = tmp_path_factory.mktemp("encrypting")
    authority.sign(folder)
    files = {"ca": authority.file, "cert": folder / "cert.pem", "key": folder / "key.pem"}
    server = DatabaseServer(folder, options=[f"--ssl-{name}={files[name]}" for name in files])
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(encrypting: DatabaseServer) -> DatabaseServer:
    """The server of the fixture `database`."""
    return encrypting


def certify(database: Database, authority: Authority, **certificate: Any) -> None:
    """Gives the running server another certificate; the arguments are those of `Authority.sign`."""
    authority.sign(database.server.folder, **certificate)
    database.execute("FLUSH SSL" if database.server.is_mariadb else "ALTER INSTANCE RELOAD TLS")


@pytest.fixture
def line(database: Database) -> Iterator[Forwarder]:
    """A TCP port in front of the server that records what clients send."""
    forwarder = Forwarder(None, database.server.port)
    yield forwarder
    forwarder.close()


@pytest.fixture
def settings(database: Database, authority: Authority, line: Forwarder) -> dict[str, str]:
    """The settings to reach the server through `line` and to verify it."""
    return database.environment | {
        "DB_SOCKET": "",
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(line.port),
        "DB_SSL_CA": str(authority.file),
    }


@pytest.fixture
def verifying(client: Client, environment: pytest.MonkeyPatch, settings: dict[str, str]) -> Client:
    """The functions with the settings that verify the server."""
    for name, value in settings.items():
        environment.setenv(name, value)
    return client


def read_sent(sent: bytes) -> tuple[bytes, int]:
    """The bytes that a client sent outside of TLS, and their number inside TLS after handshakes."""
    clear, rest = sent[:SSL_REQUEST_BYTES], sent[SSL_REQUEST_BYTES:]
    encrypted = 0
    while rest and rest[0] in TLS_RECORDS:
        length = int.from_bytes(rest[3:5])
        encrypted += length if rest[0] != HANDSHAKE else 0
        rest = rest[5 + length :]
    return clear + rest, encrypted


def check_only_tls_is_sent(line: Forwarder, clients: int) -> None:
    """Checks that this number of clients asked for TLS and sent nothing else outside of it."""
    assert len(line.sent) == clients
    for sent in line.sent:
        clear, _ = read_sent(bytes(sent))
        assert (len(clear), clear[:4]) == (SSL_REQUEST_BYTES, b"\x20\0\0\1")
        # Only zeros follow capabilities, size and character set.
        assert clear[13:] == bytes(23)


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", None), ("127.0.0.1", "db.example"), ("localhost", "localhost")]
)
def test_a_server_that_is_verified(
    verifying: Client,
    database: Database,
    authority: Authority,
    environment: pytest.MonkeyPatch,
    line: Forwarder,
    settings: dict[str, str],
    host: str,
    name: str | None,
) -> None:
    """A server with the right authority is verified; for a DB_HOST that is a name, by name too."""
    certify(database, authority, name=name)
    environment.setenv("DB_HOST", host)
    assert [verifying.get(url).status_code for url in URLS] == [200] * 4
    connection = login.connect(read_settings({**settings, "DB_HOST": host}), Deadline(10))
    ((_, cipher),) = select(connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    connection.close()
    assert cipher
    # Both reports share a connection.
    check_only_tls_is_sent(line, 4)
    assert all(read_sent(bytes(sent))[1] > ALERT_BYTES for sent in line.sent)


def check_refused(client: Client, line: Forwarder, message: str) -> None:
    """Checks that all functions refuse the server with this message and send it no login."""
    for url in URLS:
        response = client.get(url)
        error = {"code": "database_unavailable", "message": message}
        assert (response.status_code, json.loads(response.get_data())) == (503, {"error": error})
    check_only_tls_is_sent(line, len(URLS))
    for sent in line.sent:
        _, encrypted = read_sent(bytes(sent))
        assert encrypted <= ALERT_BYTES


def test_another_authority_is_refused(
    verifying: Client,
    database: Database,
    authority: Authority,
    environment: pytest.MonkeyPatch,
    line: Forwarder,
    tmp_path: Path,
) -> None:
    """A certificate signed by another authority with the same name is refused."""
    certify(database, authority)
    environment.setenv("DB_SSL_CA", str(Authority(tmp_path / "another.pem").file))
    check_refused(verifying, line, REFUSES + "no certificate of the file has signed it")


def test_another_name_is_refused(
    verifying: Client,
    database: Database,
    authority: Authority,
    environment: pytest.MonkeyPatch,
    line: Forwarder,
) -> None:
    """A certificate for another name than DB_HOST is refused."""
    certify(database, authority, name="db.example")
    environment.setenv("DB_HOST", "localhost")
    check_refused(verifying, line, REFUSES + "it is for another name than DB_HOST")


def test_an_expired_certificate_is_refused(
    verifying: Client, database: Database, authority: Authority, line: Forwarder
) -> None:
    """A certificate that expires while the server runs is refused from then on."""
    # MySQL does not load an expired certificate.
    certify(database, authority, seconds=2)
    time.sleep(3)
    check_refused(verifying, line, REFUSES + "it has expired")


def test_a_server_without_tls_is_refused(
    verifying: Client, database: Database, authority: Authority, line: Forwarder
) -> None:
    """A server without TLS is refused before a byte is sent to it."""
    server = database.server
    server.stop()
    option = "--skip-ssl" if server.is_mariadb else "--tls-version="
    plain = DatabaseServer(server.folder, port=server.port, options=[option])
    plain.start()
    try:
        for url in URLS:
            response = verifying.get(url)
            assert (response.status_code, json.loads(response.get_data())) == (
                503,
                {
                    "error": {
                        "code": "database_unavailable",
                        "message": "the database server is not available: it offers no TLS, which"
                        " DB_SSL_CA requires",
                    }
                },
            )
        assert line.sent == [b""] * len(URLS)
    finally:
        plain.stop()
        authority.sign(server.folder)
        server.start()


def test_a_load_verifies_the_server(
    run_import: Loader,
    database: Database,
    authority: Authority,
    settings: dict[str, str],
    tmp_path: Path,
) -> None:
    """manage.py verifies the server too, and loads nothing from one that it refuses."""
    certify(database, authority)
    (tmp_path / "departments.csv").write_text("1,Sales\n")
    (tmp_path / "jobs.csv").write_text("1,Baker\n")
    (tmp_path / "employees.csv").write_text("1,Ada,2021-01-01T00:00:00Z,1,1\n")
    another = Authority(tmp_path / "another.pem")
    refused = run_import(tmp_path, "--yes", **settings | {"DB_SSL_CA": str(another.file)})
    assert (refused.status, refused.error) == (
        5,
        f"nothing was loaded: {REFUSES}no certificate of the file has signed it",
    )
    loaded = run_import(tmp_path, "--yes", **settings)
    assert (loaded.status, {table: rows[:3] for table, rows in loaded.outcomes.items()}) == (
        0,
        dict.fromkeys(TABLES, (1, 1, 0)),
    )
