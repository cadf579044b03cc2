"""The settings: read from the environment once, checked before anything is opened."""

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hiring import tls
from hiring.deadline import Deadline
from hiring.errors import Misconfigured

RESERVED_SECONDS = 30
"""Seconds of the time limit that a backup, a truncation or a command reserves for clean-up."""
SOCKET_PATH_BYTES = 107
"""Linux allows 108 bytes, the final zero byte included: unix(7)."""
DEFAULT_FUNCTION_SECONDS = 3600
"""The longest time limit that an HTTP function can have; assumed if the platform names none."""
DEFAULT_TASK_SECONDS = 24 * 3600
"""The time limit of a command of manage.py where no setting says otherwise."""
LONGEST_TASK_SECONDS = 7 * 24 * 3600
"""The longest time limit that a task of a Cloud Run job can have."""


@dataclass(frozen=True)
class StorageLocation:
    """A place in Cloud Storage: a bucket, and a prefix that is empty or ends with `/`."""

    bucket: str
    prefix: str


@dataclass(frozen=True)
class Settings:
    """The checked settings; `authorities` are the PEM certificates of DB_SSL_CA's file."""

    password: str = field(repr=False)
    user: str
    database: str
    socket: str | None
    host: str
    port: int
    authorities: str | None = field(repr=False)
    storage: StorageLocation | None
    function_seconds: int
    task_seconds: int
    keep_backups_days: int | None
    keep_backups_weeks: int | None
    keep_backups_months: int | None

    @property
    def address(self) -> str:
        """The server's, for messages."""
        return self.socket or f"{self.host}:{self.port}"

    def require_storage(self) -> StorageLocation:
        """The location of backups; raises Misconfigured where GCS_PATH is not set."""
        if self.storage is None:
            raise Misconfigured("GCS_PATH is not set; for example GCS_PATH=my-bucket/hiring")
        return self.storage

    def deadline(self) -> Deadline:
        """The deadline of a backup or a truncation that starts now."""
        return Deadline(self.function_seconds - RESERVED_SECONDS)

    def command_deadline(self) -> Deadline:
        """The deadline of a command of manage.py that starts now."""
        return Deadline(self.task_seconds - RESERVED_SECONDS)


@functools.cache
def current_settings() -> Settings:
    """The settings of this process, read at the first call that raises nothing."""
    return read_settings(os.environ)


def storage_settings() -> Settings:
    """The settings of a command that needs GCS_PATH and no password."""
    settings = read_settings({"DB_PASS": "", **os.environ})
    settings.require_storage()
    return settings


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Reads and checks the settings; an empty variable counts as not set, except for DB_PASS.

    Raises:
        Misconfigured: a variable is missing or malformed; the message has its name and an example.
    """
    if "DB_PASS" not in environment:
        raise Misconfigured("DB_PASS is not set; for example DB_PASS=secret (it may be empty)")

    def text(name: str, default: str = "") -> str:
        value = environment.get(name) or default
        try:
            value.encode()
        except UnicodeEncodeError:
            # The original error holds the value, which may be the password.
            raise Misconfigured(f"{name} is not UTF-8") from None
        return value

    def number(name: str, lowest: int, highest: int, example: int) -> int | None:
        value = text(name)
        if not value:
            return None
        if re.fullmatch("[0-9]{1,9}", value) and lowest <= int(value) <= highest:
            return int(value)
        raise Misconfigured(
            f"{name} is not a whole number from {lowest} to {highest}; for example {name}={example}"
        )

    longest = DEFAULT_FUNCTION_SECONDS
    socket = _socket(text("INSTANCE_CONNECTION_NAME"), text("DB_SOCKET"))
    return Settings(
        password=text("DB_PASS"),
        user=text("DB_USER", "root"),
        database=text("DB_NAME", "hiring"),
        socket=socket,
        host=text("DB_HOST", "127.0.0.1"),
        port=number("DB_PORT", 1, 65535, 3306) or 3306,
        authorities=_authorities(text("DB_SSL_CA"), socket),
        storage=_storage_location(text("GCS_PATH")),
        function_seconds=number("CLOUD_RUN_TIMEOUT_SECONDS", RESERVED_SECONDS + 1, longest, longest)
        or longest,
        task_seconds=number("TASK_TIMEOUT_SECONDS", 61, LONGEST_TASK_SECONDS, DEFAULT_TASK_SECONDS)
        or DEFAULT_TASK_SECONDS,
        keep_backups_days=number("KEEP_BACKUPS_DAYS", 1, 36500, 30),
        keep_backups_weeks=number("KEEP_BACKUPS_WEEKS", 1, 36500, 8),
        keep_backups_months=number("KEEP_BACKUPS_MONTHS", 1, 36500, 12),
    )


def _socket(instance: str, socket: str) -> str | None:
    if instance and socket:
        raise Misconfigured("INSTANCE_CONNECTION_NAME and DB_SOCKET are both set; set one of them")
    if instance and not re.fullmatch(r"([\w.-]+:)?[\w-]+:[\w-]+:[\w-]+", instance, re.ASCII):
        raise Misconfigured(
            "INSTANCE_CONNECTION_NAME is malformed; for example"
            " INSTANCE_CONNECTION_NAME=my-project:europe-west1:my-instance"
        )
    name = "INSTANCE_CONNECTION_NAME" if instance else "DB_SOCKET"
    path = f"/cloudsql/{instance}" if instance else socket
    if (length := len(path.encode())) > SOCKET_PATH_BYTES:
        raise Misconfigured(
            f"{name} is too long: the socket's path has {length} bytes, and the system"
            f" takes at most {SOCKET_PATH_BYTES}; link it, for example to DB_SOCKET=/run/mysql.sock"
        )
    return path or None


def _authorities(path: str, socket: str | None) -> str | None:
    if path and socket:
        raise Misconfigured(
            "DB_SSL_CA verifies a server that is reached over TCP, but INSTANCE_CONNECTION_NAME or"
            " DB_SOCKET names a socket; set DB_HOST instead, or leave DB_SSL_CA out"
        )
    return tls.read_authorities(path) if path else None


def _storage_location(path: str) -> StorageLocation | None:
    if not path:
        return None
    bucket, _, prefix = path.removeprefix("gs://").partition("/")
    prefix = prefix.removesuffix("/")
    # https://cloud.google.com/storage/docs/buckets#naming and .../objects#naming
    good_bucket = re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", bucket)
    good_prefix = re.fullmatch(r"(?!/)((?!//)[^\x00-\x1f\x7f])*", prefix)
    if not good_bucket or not good_prefix or len(prefix.encode()) > 512:
        raise Misconfigured("GCS_PATH is malformed; for example GCS_PATH=my-bucket/hiring")
    return StorageLocation(bucket, f"{prefix}/" if prefix else "")
