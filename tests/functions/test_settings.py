"""The settings: the values that they may have, and those that are refused."""

import contextlib
import ssl
from pathlib import Path

import pytest
from certificates import Authority

from hiring.errors import Misconfigured
from hiring.settings import Settings, StorageLocation, read_settings
from hiring.tls import failure, read_authorities, verifying_context

GOOD = {"DB_PASS": "secret"}
KEY = b"-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"


def test_defaults() -> None:
    """DB_PASS alone is enough; the other settings have their documented defaults."""
    assert read_settings(GOOD) == Settings(
        password="secret",
        user="root",
        database="hiring",
        socket=None,
        host="127.0.0.1",
        port=3306,
        authorities=None,
        storage=None,
        function_seconds=3600,
        task_seconds=86400,
        keep_backups_days=None,
        keep_backups_weeks=None,
        keep_backups_months=None,
    )


def test_everything_set(tmp_path: Path) -> None:
    """Each variable reaches its setting."""
    authority = Authority(tmp_path / "ca.pem")
    assert read_settings(
        {
            "DB_PASS": "",
            "DB_USER": "bundle",
            "DB_NAME": "people",
            "DB_HOST": "db.example",
            "DB_PORT": "3307",
            "DB_SSL_CA": str(authority.file),
            "GCS_PATH": "gs://my-bucket/a/b/",
            "CLOUD_RUN_TIMEOUT_SECONDS": "60",
            "TASK_TIMEOUT_SECONDS": "604800",
            "KEEP_BACKUPS_DAYS": "30",
            "KEEP_BACKUPS_WEEKS": "8",
            "KEEP_BACKUPS_MONTHS": "12",
        }
    ) == Settings(
        password="",
        user="bundle",
        database="people",
        socket=None,
        host="db.example",
        port=3307,
        authorities=authority.file.read_text(),
        storage=StorageLocation("my-bucket", "a/b/"),
        function_seconds=60,
        task_seconds=604800,
        keep_backups_days=30,
        keep_backups_weeks=8,
        keep_backups_months=12,
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
    ("name", "value", "size"),
    [
        ("DB_SOCKET", "/run/" + 102 * "s", 107),
        ("DB_SOCKET", "/run/" + 103 * "s", 108),
        ("DB_SOCKET", "/run/" + 52 * "é", 109),
        ("INSTANCE_CONNECTION_NAME", f"p:r:{94 * 'i'}", 108),
    ],
)
def test_a_path_too_long_for_a_socket(name: str, value: str, size: int) -> None:
    """A socket's path has at most 107 bytes; a longer one is named with its length."""
    if size <= 107:
        assert read_settings({**GOOD, name: value}).socket == value
        return
    with pytest.raises(Misconfigured) as refused:
        read_settings({**GOOD, name: value})
    assert str(refused.value) == (
        f"{name} is too long: the socket's path has {size} bytes, and the system takes at most 107;"
        " link it, for example to DB_SOCKET=/run/mysql.sock"
    )


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
        ("TASK_TIMEOUT_SECONDS", "60"),
        ("TASK_TIMEOUT_SECONDS", "604801"),
        ("TASK_TIMEOUT_SECONDS", "24h"),
    ],
)
def test_malformed_settings_are_named(name: str, value: str) -> None:
    """A malformed variable is refused with its name and an example."""
    with pytest.raises(Misconfigured, match=rf"^{name} .*for example {name}="):
        read_settings({**GOOD, name: value})


@pytest.mark.parametrize(
    "name", ["DB_PASS", "DB_USER", "DB_NAME", "DB_SOCKET", "DB_SSL_CA", "GCS_PATH"]
)
def test_settings_that_are_not_utf8_are_named(name: str) -> None:
    """A value that is not UTF-8 is refused by name and not shown."""
    with pytest.raises(Misconfigured) as raised:
        read_settings({**GOOD, name: "bucket/\udcff"})
    assert str(raised.value) == f"{name} is not UTF-8"


def test_missing_password_is_named() -> None:
    """A missing DB_PASS is refused with an example."""
    with pytest.raises(Misconfigured, match=r"^DB_PASS is not set; for example DB_PASS="):
        read_settings({})


def test_db_socket() -> None:
    """DB_SOCKET is the path of any other socket."""
    assert read_settings({**GOOD, "DB_SOCKET": "/run/mysqld.sock"}).socket == "/run/mysqld.sock"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe server-ca.pem", KEY])
def test_a_file_without_a_certificate(tmp_path: Path, content: bytes | None) -> None:
    """DB_SSL_CA without a file, or a file without a certificate, is refused; no path is shown."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Misconfigured) as raised:
        read_settings({**GOOD, "DB_SSL_CA": str(file)})
    assert str(raised.value) == (
        "DB_SSL_CA names no file that can be read and has a whole certificate; for example"
        " DB_SSL_CA=/secrets/server-ca.pem"
    )


def test_a_damaged_certificate(tmp_path: Path) -> None:
    """A certificate that is cut short is refused, also after a whole one."""
    whole = Authority(tmp_path / "ca.pem").file.read_text()
    for content in (whole[:200], whole + whole[:200], whole + whole.replace("M", "N")):
        (tmp_path / "damaged.pem").write_text(content)
        with pytest.raises(Misconfigured, match=r"^DB_SSL_CA names no file that can"):
            read_settings({**GOOD, "DB_SSL_CA": str(tmp_path / "damaged.pem")})


def test_several_certificates_and_other_text(tmp_path: Path) -> None:
    """DB_SSL_CA may name a file of several certificates with text in any encoding around them."""
    bundle = tmp_path / "bundle.pem"
    certificates = [Authority(tmp_path / name).file.read_bytes() for name in ("a", "b")]
    bundle.write_bytes("Autorité de Größe\n".encode("latin-1").join([b"", *certificates, b""]))
    authorities = read_settings({**GOOD, "DB_SSL_CA": str(bundle)}).authorities
    context = verifying_context(authorities, "db.example")
    assert context
    assert len(context.get_ca_certs()) == 2


@pytest.mark.parametrize("name", ["INSTANCE_CONNECTION_NAME", "DB_SOCKET"])
def test_a_socket_with_authorities_is_refused(tmp_path: Path, name: str) -> None:
    """DB_SSL_CA beside a socket is refused: nothing would be verified there."""
    environment = {**GOOD, name: "p:r:i", "DB_SSL_CA": str(Authority(tmp_path / "ca.pem").file)}
    with pytest.raises(Misconfigured, match=r"^DB_SSL_CA .* INSTANCE_CONNECTION_NAME or DB_SOCKET"):
        read_settings(environment)


@pytest.mark.parametrize(
    ("host", "verified"),
    [
        ("db.example", True),
        ("localhost", True),
        ("127.1", True),
        ("10.1.2.3", False),
        ("::1", False),
    ],
)
def test_a_name_is_verified_and_an_address_is_not(
    tmp_path: Path, host: str, verified: bool
) -> None:
    """With DB_SSL_CA the server's name is verified where DB_HOST is one, its chain always."""
    authorities = Authority(tmp_path / "ca.pem").file.read_text()
    context = verifying_context(authorities, host)
    assert context
    assert (context.check_hostname, context.verify_mode) == (verified, ssl.CERT_REQUIRED)
    assert verifying_context(authorities, host) is context


def shake_hands(authority: Authority, folder: Path) -> None:
    """Has a client that trusts the authority connect to a server with the folder's certificate.

    Raises:
        ssl.SSLCertVerificationError: the client refuses the certificate.
    """
    context = verifying_context(read_authorities(str(authority.file)), "db.example")
    assert context
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="db.example")
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for each in (client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            each.do_handshake()
    client.do_handshake()


def test_one_certificate_of_the_chain_is_enough(tmp_path: Path) -> None:
    """The file may hold the authority that signed the server's certificate, without its root."""
    root = Authority(tmp_path / "root.pem")
    regional = Authority(tmp_path / "regional.pem", root)
    regional.sign(tmp_path, "db.example")
    shake_hands(regional, tmp_path)
    # The server does not send the certificate in between.
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        shake_hands(root, tmp_path)
    assert failure(raised.value).endswith("no certificate of the file has signed it")


def test_two_sockets_are_refused() -> None:
    """Two variables that both name a socket are refused."""
    with pytest.raises(Misconfigured, match="INSTANCE_CONNECTION_NAME and DB_SOCKET"):
        read_settings({**GOOD, "INSTANCE_CONNECTION_NAME": "p:r:i", "DB_SOCKET": "/s"})


def test_the_password_is_not_shown() -> None:
    """Printing the settings does not print the password."""
    assert "secret" not in repr(read_settings(GOOD))
