"""The jobs' commands: settings, password and errors."""

import base64
import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials

from hiring.errors import DatabaseUnavailable, Misconfigured
from jobs import command

SECRET = "projects/acme/secrets/hiring-reports-password/versions/latest"
PASSWORD = "correct horse, bättery's staple"


class SecretManager(BaseHTTPRequestHandler):
    """A server that answers like Secret Manager for one secret."""

    def do_GET(self) -> None:
        found = self.path == f"/v1/{SECRET}:access"
        payload = {"payload": {"data": base64.b64encode(PASSWORD.encode()).decode()}}
        content = json.dumps(payload if found else {}).encode()
        self.send_response(200 if found else 403)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the inherited name)
        """Logs nothing."""


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Secret Manager of this test that asks for no credentials."""
    with HTTPServer(("127.0.0.1", 0), SecretManager) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setattr(command, "SECRETS_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), None))
        yield
        server.shutdown()
        thread.join()


def test_the_password_comes_from_secret_manager(
    secrets: None, environment: pytest.MonkeyPatch
) -> None:
    """The password comes from the secret that DB_PASS_SECRET names."""
    environment.setenv("DB_PASS_SECRET", SECRET)
    environment.setenv("DB_HOST", "10.1.2.3")
    settings = command.database_settings()
    assert (settings.password, settings.host) == (PASSWORD, "10.1.2.3")


def test_a_secret_that_may_not_be_read_is_named(
    secrets: None, environment: pytest.MonkeyPatch
) -> None:
    """A secret that cannot be read is named, with the kind of error only."""
    name = SECRET.replace("reports", "changes")
    environment.setenv("DB_PASS_SECRET", name)
    with pytest.raises(Misconfigured) as raised:
        command.database_settings()
    assert str(raised.value) == (
        f"DB_PASS_SECRET: {name} cannot be read (HTTPError); for example"
        " DB_PASS_SECRET=projects/my-project/secrets/my-secret/versions/latest"
    )


def test_without_a_secret_the_password_is_a_setting(environment: pytest.MonkeyPatch) -> None:
    """Without DB_PASS_SECRET, the password is DB_PASS."""
    environment.setenv("DB_PASS", PASSWORD)
    assert command.database_settings().password == PASSWORD


def test_a_bundles_error_is_a_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    """An expected error is one log line without a traceback, and status 1."""

    def job() -> None:
        raise Misconfigured("GCS_PATH is not set")

    assert command.run(job) == 1
    line = json.loads(capsys.readouterr().err)
    assert (line["severity"], line["code"]) == ("ERROR", "misconfigured")
    assert line["reason"] == "GCS_PATH is not set"


def test_any_other_error_is_a_traceback_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected error is one log line with its traceback, and status 1."""
    assert command.run(lambda: [][0]) == 1
    line = json.loads(capsys.readouterr().err)
    assert (line["severity"], line["code"]) == ("ERROR", "internal")
    assert line["stack_trace"].endswith("IndexError: list index out of range\n")


def test_an_error_of_a_worker_reads_the_same_on_the_driver() -> None:
    """Pickled, an error keeps its sentence."""
    error = DatabaseUnavailable("it has too many connections")
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert str(there) == "the database server is not available: it has too many connections"
