"""How the functions reach the server: sockets, TLS and session variables."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ACCOUNT, PASSWORD, Database
from forwarder import Forwarder
from werkzeug.test import Client

import db
from hiring.deadline import Deadline
from hiring.errors import DatabaseUnavailable
from hiring.mysql import login
from hiring.mysql.statements import select
from hiring.settings import read_settings


@pytest.fixture
def forwarded(tmp_path: Path, database: Database) -> Iterator[str]:
    """A unix socket in front of the server's TCP port."""
    path = tmp_path / "s"
    forwarder = Forwarder(path, database.server.port)
    yield str(path)
    forwarder.close()


def test_a_cold_login_through_a_forwarded_socket(
    client: Client, database: Database, environment: pytest.MonkeyPatch, forwarded: str
) -> None:
    """An uncached `caching_sha2_password` login works over a forwarded socket."""
    if database.server.is_mariadb:
        pytest.skip("MariaDB has no caching_sha2_password")
    plugin = database.execute("SELECT plugin FROM mysql.user WHERE user = %s", (ACCOUNT,))
    assert set(plugin) == {("caching_sha2_password",)}
    environment.setenv("DB_SOCKET", forwarded)
    database.execute("FLUSH PRIVILEGES")  # empties the cache
    assert client.get("/quarterly-hired").status_code == 200


def test_the_functions_connect_over_tcp(
    client: Client, database: Database, environment: pytest.MonkeyPatch
) -> None:
    """The functions reach the server by host and port if no socket is set."""
    environment.delenv("DB_SOCKET")
    environment.setenv("DB_HOST", "127.0.0.1")
    environment.setenv("DB_PORT", str(database.server.port))
    assert client.get("/quarterly-hired").status_code == 200


RULES = """
SELECT @@time_zone, @@sql_mode, @@autocommit, @@lock_wait_timeout, @@innodb_lock_wait_timeout,
    @@character_set_client, @@character_set_results
"""


def test_every_session_has_the_same_rules(database: Database) -> None:
    """Every session has UTC, utf8mb4 and short lock waits, whatever the server's defaults are."""
    settings = read_settings(database.environment)
    limit = "@@max_statement_time" if database.server.is_mariadb else "@@max_execution_time"
    with db.report_connection(settings, Deadline(30)) as connection:
        assert select(connection, RULES) == [("+00:00", "", 1, 5, 5, "utf8mb4", "utf8mb4")]
        assert select(connection, f"SELECT {limit}") == [(0,)]  # each statement has its own
    with db.snapshot(settings, Deadline(100)) as connection:
        assert select(connection, RULES) == [("+00:00", "", 1, 5, 5, "utf8mb4", "utf8mb4")]
        assert select(connection, f"SELECT {limit}, @@net_write_timeout") == [(0, 600)]


def test_tls_is_used_where_it_is_offered(database: Database) -> None:
    """The functions use TLS if the server offers it, even on a unix socket."""
    connection = login.connect(read_settings(database.environment), Deadline(10))
    ((_, cipher),) = select(connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    # Reading the system's certificate authorities would take longer than everything else.
    assert connection.ctx.cert_store_stats() == {"x509": 0, "crl": 0, "x509_ca": 0}
    connection.close()
    offered = not database.server.is_mariadb or (
        database.execute("SELECT @@have_ssl") == [("YES",)]
    )
    assert bool(cipher) == offered


def test_the_servers_version(database: Database, take_backup: Callable[[], dict[str, Any]]) -> None:
    """MariaDB's own version is told, not the old MySQL's for which it passes to replicas."""
    ((version,),) = database.execute("SELECT VERSION()")
    connection = login.connect(read_settings(database.environment), Deadline(10))
    assert connection.server_version == version
    connection.close()
    assert take_backup()["server_version"] == version


def test_the_password_is_not_in_an_error(database: Database) -> None:
    """Neither the error of a refused login nor its cause contains the password."""
    environment = {**database.environment, "DB_USER": "nobody"}
    with pytest.raises(DatabaseUnavailable) as raised:
        login.connect(read_settings(environment), Deadline(10))
    assert PASSWORD not in f"{raised.value!r} {raised.value.__cause__!r}"
