"""The settings: which values the environment may have, and which are refused."""

import pytest

from hiring.core.errors import Misconfigured
from hiring.core.settings import Settings, StorageLocation, read_settings

GOOD = {"DB_PASS": "secret"}


def test_defaults() -> None:
    """DB_PASS alone is enough; the other settings have their documented defaults."""
    assert read_settings(GOOD) == Settings(
        password="secret",
        user="root",
        database="hiring",
        socket=None,
        host="127.0.0.1",
        port=3306,
        storage=None,
        function_seconds=3600,
        keep_backups_days=None,
    )


def test_everything_set() -> None:
    """Each variable reaches its setting."""
    assert read_settings(
        {
            "DB_PASS": "",
            "DB_USER": "bundle",
            "DB_NAME": "people",
            "DB_SOCKET": "/run/mysqld.sock",
            "DB_HOST": "db.example",
            "DB_PORT": "3307",
            "GCS_PATH": "gs://my-bucket/a/b/",
            "CLOUD_RUN_TIMEOUT_SECONDS": "60",
            "KEEP_BACKUPS_DAYS": "30",
        }
    ) == Settings(
        password="",
        user="bundle",
        database="people",
        socket="/run/mysqld.sock",
        host="db.example",
        port=3307,
        storage=StorageLocation("my-bucket", "a/b/"),
        function_seconds=60,
        keep_backups_days=30,
    )


@pytest.mark.parametrize(
    ("instance", "socket"),
    [
        ("my-project:europe-west1:main", "/cloudsql/my-project:europe-west1:main"),
        ("example.com:p:r:i", "/cloudsql/example.com:p:r:i"),
    ],
)
def test_instance_connection_name(instance: str, socket: str) -> None:
    """The socket of a Cloud SQL instance lies under /cloudsql."""
    assert read_settings({**GOOD, "INSTANCE_CONNECTION_NAME": instance}).socket == socket


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("bucket", ("bucket", "")),
        ("gs://bucket", ("bucket", "")),
        ("gs://bucket/", ("bucket", "")),
        ("bucket/prefix", ("bucket", "prefix/")),
        ("gs://gs-bucket/Größe/😀", ("gs-bucket", "Größe/😀/")),
    ],
)
def test_gcs_path(path: str, location: tuple[str, str]) -> None:
    """GCS_PATH is a bucket, with or without `gs://` and a prefix."""
    found = read_settings({**GOOD, "GCS_PATH": path}).storage
    assert found == StorageLocation(*location)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INSTANCE_CONNECTION_NAME", "only-a-name"),
        ("INSTANCE_CONNECTION_NAME", "project:region:"),
        ("INSTANCE_CONNECTION_NAME", "project:region:../x"),
        ("DB_PORT", "0"),
        ("DB_PORT", "65536"),
        ("DB_PORT", "33o6"),
        ("DB_PORT", "٣٣٠٦"),
        ("GCS_PATH", "gs://"),
        ("GCS_PATH", "/prefix"),
        ("GCS_PATH", "Bucket"),
        ("GCS_PATH", "https://storage.googleapis.com/bucket"),
        ("GCS_PATH", "bucket/a//b"),
        ("GCS_PATH", "bucket//a"),
        ("GCS_PATH", "bucket/a\nb"),
        ("GCS_PATH", "bucket/" + 257 * "é"),
        ("CLOUD_RUN_TIMEOUT_SECONDS", "30"),
        ("CLOUD_RUN_TIMEOUT_SECONDS", "3601"),
        ("CLOUD_RUN_TIMEOUT_SECONDS", "1h"),
    ],
)
def test_malformed_settings_are_named(name: str, value: str) -> None:
    """A malformed variable is refused with its name and an example."""
    with pytest.raises(Misconfigured, match=rf"^{name} .*for example {name}="):
        read_settings({**GOOD, name: value})


@pytest.mark.parametrize("name", ["DB_PASS", "DB_USER", "DB_NAME", "DB_SOCKET", "GCS_PATH"])
def test_settings_that_are_not_utf8_are_named(name: str) -> None:
    """A value that is not UTF-8 is refused by name and not shown."""
    with pytest.raises(Misconfigured) as raised:
        read_settings({**GOOD, name: "bucket/\udcff"})
    assert str(raised.value) == f"{name} is not UTF-8"


def test_missing_password_is_named() -> None:
    """A missing DB_PASS is refused with an example."""
    with pytest.raises(Misconfigured, match=r"^DB_PASS is not set; for example DB_PASS="):
        read_settings({})


def test_two_sockets_are_refused() -> None:
    """Two variables that both name a socket are refused."""
    with pytest.raises(Misconfigured, match="INSTANCE_CONNECTION_NAME and DB_SOCKET"):
        read_settings({**GOOD, "INSTANCE_CONNECTION_NAME": "p:r:i", "DB_SOCKET": "/s"})


def test_the_password_is_not_shown() -> None:
    """Printing the settings does not print the password."""
    assert "secret" not in repr(read_settings(GOOD))
