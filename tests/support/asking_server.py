"""A server that asks a client to log in by a plugin of its choice, and keeps what it gets."""

import contextlib
import socket
import ssl
import struct
import threading

from pymysql.constants import CLIENT

OFFERED = CLIENT.PROTOCOL_41 | CLIENT.SECURE_CONNECTION | CLIENT.PLUGIN_AUTH
SALT = b"8 bytes.", b"12 more ones"
LATIN1 = 8
REFUSED = b"\xff" + struct.pack("<H", 1698) + b"#28000Access denied"


class AskingServer:
    """Answers one login on `listener`, then refuses it.

    Args:
        listener: a listening socket.
        question: what follows the name of the plugin, with the plugin's first question.
        context: with a certificate, if TLS is offered.

    Attributes:
        answers: the packets of the client after the question.
    """

    def __init__(
        self, listener: socket.socket, question: bytes, context: ssl.SSLContext | None = None
    ) -> None:
        self._listener = listener
        self._question = question
        self._context = context
        self.answers: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with contextlib.suppress(OSError, EOFError):
            offered = OFFERED | (CLIENT.SSL if self._context else 0)
            first, second = SALT
            greeting = b"\x0a9.7.0\0" + struct.pack("<I", 1) + first + b"\0"
            greeting += struct.pack("<HBHHB", offered & 0xFFFF, LATIN1, 2, offered >> 16, 21)
            _send(client, 0, greeting + bytes(10) + second + b"\0mysql_native_password\0")
            number, _ = _receive(client)
            if self._context:
                client = self._context.wrap_socket(client, server_side=True)
                number, _ = _receive(client)
            _send(client, number + 1, b"\xfe" + self._question)
            number, answer = _receive(client)
            self.answers.append(answer)
            _send(client, number + 1, REFUSED)
        client.close()

    def close(self) -> None:
        """Waits until the login has ended."""
        self._thread.join(10)
        self._listener.close()


def _send(client: socket.socket, number: int, content: bytes) -> None:
    client.sendall(struct.pack("<I", len(content))[:3] + bytes([number]) + content)


def _receive(client: socket.socket) -> tuple[int, bytes]:
    head = _receive_exactly(client, 4)
    return head[3], _receive_exactly(client, int.from_bytes(head[:3], "little"))


def _receive_exactly(client: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        if not (piece := client.recv(count - len(content))):
            raise EOFError
        content += piece
    return content
