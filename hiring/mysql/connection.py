"""PyMySQL's connection, extended: the only file that uses PyMySQL's private attributes.

Checked with PyMySQL 1.2.4, which `requirements.txt` pins. PyMySQL has no public way to do any of
the following; `tests/project/test_private.py` fails where one of the names is gone.

    _rfile                     where PyMySQL reads: replaced by a stream that sets a timeout before
                               each read. PyMySQL's own starts again with each byte.
    _write_bytes               a write timeout for each piece of a statement: PyMySQL has one for
                               the whole, which a long statement on a slow line exceeds.
    _create_ssl_ctx            one TLS context for all connections that verify nothing: PyMySQL
                               loads every authority of the system for each, 20 ms each.
    _result.unbuffered_active  stops PyMySQL from reading the rows that `receive` reads, and the
                               rest of those that nobody wants.
    _check_packet_is_eof, _read_row_from_packet  of the result: read the rows of a report, of which
                               PyMySQL's own loop drops the one that it cannot decode.
    _next_seq_id               the number of the next packet, to check that none is missing.
    _sock, _read_timeout, _current_timeout  the socket, and the timeouts that PyMySQL believes in.
    _read_bytes                the rest of a row that is longer than the buffer; refuses a row that
                               is longer than the caller can take, before it is in memory.
    _execute_command, _read_packet  a LOAD DATA LOCAL with lines from memory; PyMySQL's own, which
                               sends any file that the server names, stays off.
    _force_close               closes a connection whose protocol state is unknown.
    _secure                    whether PyMySQL sends a password as it is where there is no TLS: it
                               does so on every unix socket; the server refuses that on one
                               that is forwarded to it.
    _process_auth              refuses what gives the password to a server that nobody verified.

Its private module `_auth` is imported a second time, with cryptography, for the first RSA login.
"""

import functools
import importlib
import io
import math
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from pymysql import _auth, err
from pymysql.connections import Connection as PyMySQLConnection
from pymysql.constants import COMMAND, CR
from pymysql.protocol import MysqlPacket, OKPacketWrapper

from hiring.bounded import BoundedReader
from hiring.deadline import Deadline
from hiring.errors import TimedOut, TooManyRows

SENT_BYTES = 64 * 1024
"""Bytes of a statement, or of lines, that must be sent within the write timeout."""
SERVER_PART = 0.95
"""The part of the remaining time after which the server stops a SELECT: before the client does."""


def _encrypt(password: bytes, salt: bytes, key: bytes) -> bytes:
    """Encrypts a password with the server's RSA key; imports cryptography at its first call."""
    importlib.reload(_auth)  # which puts PyMySQL's own function back
    encrypted: bytes = _auth.sha2_rsa_encrypt(password, salt, key)
    return encrypted


_auth.sha2_rsa_encrypt = _encrypt

LOGIN_PLUGINS = (b"caching_sha2_password", b"sha256_password", b"mysql_native_password")
CLEAR_PLUGINS = (b"mysql_clear_password", b"dialog")
"""Plugins that send the password as it is, whatever the line."""


class Connection(PyMySQLConnection):
    """A connection whose waits end at its deadline, and access to the bytes of rows."""

    server_version: str  # such as "9.7.0" or "10.11.14-MariaDB"
    deadline: Deadline
    reader: io.BufferedReader | None = None
    row_bytes: float = math.inf

    def log_in(self, connected: socket.socket, *, private: bool) -> None:
        """Logs in over a connected socket, with TLS where the server offers it.

        A `private` line is the server's own unix socket, on which it takes a password as it is.
        Elsewhere, and without TLS, the password is encrypted with the server's RSA key.
        """
        self._secure = private
        self.connect(connected)
        # The prefix by which MariaDB passes for an old MySQL.
        self.server_version = self.server_version.removeprefix("5.5.5-")

    @property
    def _rfile(self) -> io.BufferedReader | None:
        return self.reader

    @_rfile.setter
    def _rfile(self, stream: io.BufferedReader | None) -> None:
        if stream is None:
            self.reader = None
            return
        raw = stream.detach()
        self.reader = io.BufferedReader(BoundedReader(raw, self._sock, self.patience))

    def patience(self) -> float:
        """Seconds that the next read may take; also sets PyMySQL's own read timeout."""
        try:
            self._read_timeout = self._current_timeout = self.deadline.remaining()
        except TimedOut:
            self._sock.close()  # not the reader, whose read may have asked
            raise
        return self._current_timeout

    def stream(
        self, select: str, parameters: Mapping[str, Any], row_bytes: float = math.inf
    ) -> Iterator[tuple[Any, ...]]:
        """Sends a SELECT, which the server stops before the deadline; yields rows as they arrive.

        In a text that is no UTF-8, U+FFFD stands for what is wrong: one such name of a job must not
        fail every report and every backup. A caller that stops early closes the connection: the
        server would go on sending. So does a row of more than `row_bytes`, with TooManyRows.
        """
        statement = limited(select, self.deadline.remaining() * SERVER_PART)
        self.query(self.cursor().mogrify(statement, parameters), unbuffered=True)
        result = self._result
        try:
            self.row_bytes = row_bytes
            while not result._check_packet_is_eof(packet := self._read_packet()):
                self.deadline.remaining()  # the caller may take its time, too
                try:
                    row = result._read_row_from_packet(packet)
                except UnicodeDecodeError:
                    packet.rewind()
                    row = _replacing(packet, result.converters)
                yield row
            result.unbuffered_active = False
        finally:
            self.row_bytes = math.inf
            if result.unbuffered_active:
                self._force_close()

    def start_rows(self, statement: str | bytes) -> int:
        """Sends a statement whose rows `receive` then reads; returns the first row's packet number.

        The connection has to be dropped if not all rows are read.
        """
        self.query(statement, unbuffered=True)
        self._result.unbuffered_active = False
        number: int = self._next_seq_id
        return number

    def receive(self, most: int) -> bytes:
        """Waits for bytes and returns those that are there, at least one and at most so many.

        Raises:
            TimedOut: the deadline has passed.
            pymysql.err.OperationalError: the connection was lost.
        """
        try:
            # readinto1 would wait for more bytes although some are buffered.
            if received := self._rfile.read1(most) if self._rfile else b"":
                return received
            raise ConnectionError("closed by the server")
        except OSError as error:
            self._force_close()
            message = f"Lost connection to MySQL server during query ({error})"
            raise err.OperationalError(CR.CR_SERVER_LOST, message) from error

    def receive_exactly(self, count: int) -> bytes:
        """Waits for exactly so many bytes; the errors are those of `receive`."""
        received: bytes = self._read_bytes(count)
        return received

    def send_lines(self, statement: str, lines: bytes) -> int:
        """Runs a LOAD DATA LOCAL with these lines; returns the number of warnings."""
        self._execute_command(COMMAND.COM_QUERY, statement)
        if not self._read_packet().is_load_local_packet():
            raise err.InternalError("the server does not ask for the lines")
        for start in range(0, len(lines), SENT_BYTES):
            self.write_packet(lines[start : start + SENT_BYTES])
        self.write_packet(b"")
        warnings: int = OKPacketWrapper(self._read_packet()).warning_count
        return warnings

    def _process_auth(self, plugin: bytes, packet: MysqlPacket, handler: None) -> MysqlPacket:
        if plugin in CLEAR_PLUGINS:
            if not self.unix_socket and self.ctx.verify_mode is ssl.CERT_NONE:
                raise err.OperationalError(CR.CR_AUTH_PLUGIN_ERR, "the server is not verified")
        elif plugin not in LOGIN_PLUGINS:
            raise err.OperationalError(CR.CR_AUTH_PLUGIN_CANNOT_LOAD, "no such plugin")
        return super()._process_auth(plugin, packet, handler)

    def _read_bytes(self, num_bytes: int) -> bytes:
        if num_bytes > self.row_bytes:
            raise TooManyRows(f"the report has a row of more than {self.row_bytes:,} bytes")
        return super()._read_bytes(num_bytes)  # type: ignore[no-any-return]

    def _force_close(self) -> None:
        if self._result:  # which would read the rest when the garbage collector finds it
            self._result.unbuffered_active = False
        super()._force_close()

    def _write_bytes(self, data: bytes) -> None:
        for start in range(0, len(data), SENT_BYTES):
            super()._write_bytes(memoryview(data)[start : start + SENT_BYTES])

    def _create_ssl_ctx(self, given: ssl.SSLContext | dict[str, object]) -> ssl.SSLContext:
        return given if isinstance(given, ssl.SSLContext) else _unverified()


def _replacing(packet: MysqlPacket, converters: list[tuple[Any, Any]]) -> tuple[Any, ...]:
    """A row whose text is not all UTF-8; `converters` are PyMySQL's, (encoding, function) each."""
    row = []
    for encoding, convert in converters:
        value = packet.read_length_coded_string()
        if value is not None:
            text = value.decode("utf8", "replace") if encoding else value
            value = convert(text) if convert else text
        row.append(value)
    return tuple(row)


def limited(select: str, seconds: float) -> str:
    """A SELECT that the server stops after so long; each kind of server reads its own comment.

    https://mariadb.com/kb/en/comment-syntax/#executable-comment-syntax
    https://dev.mysql.com/doc/refman/8.4/en/optimizer-hints.html#optimizer-hints-execution-time
    """
    hint = f"SELECT /*+ MAX_EXECUTION_TIME({max(1, round(seconds * 1000))}) */"
    limit = f"/*M! SET STATEMENT max_statement_time={seconds:.3f} FOR */ "
    return limit + select.replace("SELECT", hint, 1)


def is_mariadb(connection: Connection) -> bool:
    """Whether the server is MariaDB, not MySQL."""
    return "MariaDB" in connection.server_version


@functools.cache
def _unverified() -> ssl.SSLContext:
    # No authority of the system signs a Cloud SQL server's own certificate.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
