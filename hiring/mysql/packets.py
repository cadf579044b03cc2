"""Row packets from the server, found in megabytes of bytes without a step for each row.

The server sends each row as a packet: three bytes of length, one byte that counts packets, then the
values as text. Each value has its length before it; 0xfb stands for NULL:

    1d 00 00 06  01 '7'  0d 'Rosa Ramirez'...  13 '2021-07-27 16:02:08'  fb
    length   no  id      name                  datetime                  department_id

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html

Only rows that are long, or hold null characters, are looked at one by one.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pymysql import err

from hiring.mysql.connection import Connection
from hiring.pipeline import AHEAD

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
WORD_BYTES = 8

READ_BYTES = 1024 * 1024
"""Bytes of packets that become one block. More is not faster, and 1 MB takes 20 MB."""
BUFFERS = AHEAD + 1
"""Buffers for packets, used in turn: those whose rows a stage still needs, and the next one."""
RECEIVE_BYTES = 256 * 1024
"""Maximum number of bytes that a socket returns at a time."""

HEADER_BYTES = 4
LENGTH = 0xFFFFFF
"""The largest length that three bytes hold; the next packet continues a packet of this length."""
END, ERROR = 0xFE, 0xFF
"""First byte of a packet that ends the rows. A value that starts with END is longer than 16 MB."""
_ERROR_STARTS = re.compile(rb"(?s)(?=\0.\xff)")
"""Matches the last byte of a short packet's length, its number, and ERROR."""
END_LENGTH, ERROR_LENGTH = 5, 521
"""Length of the packet that ends the rows, and the largest length of one with an error.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_eof_packet.html
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html
"""


@dataclass(frozen=True)
class Rows:
    """Some rows: the bytes they came in, and where in them each row starts and ends."""

    packets: Bytes
    starts: Ints
    ends: Ints


def read_rows(connection: Connection, statement: str | bytes) -> Iterator[Rows]:
    """Reads the rows of a statement, some at a time; later ones overwrite them.

    Rows stay until AHEAD more are read, so that a stage can work on them meanwhile. The connection
    has to be dropped if not all are read.

    Raises:
        pymysql.err.Error: the server ended the statement, or the connection was lost.
        TimedOut: the connection's deadline has passed.
    """
    number = connection.start_rows(statement)
    buffers = itertools.cycle([bytearray(READ_BYTES) for _ in range(BUFFERS)])
    buffer, filled = next(buffers), 0
    ended = False
    while not ended:
        may_end = False
        while filled < len(buffer) and not may_end:
            received = connection.receive(min(len(buffer) - filled, RECEIVE_BYTES))
            buffer[filled : filled + len(received)] = received
            filled += len(received)
            may_end = _may_end(buffer, filled)
        heads, at = _find_packets(buffer, filled)
        # The server sends nothing after the end: it can only be the last packet there is.
        ended = may_end and at == filled and _is_end(buffer, heads[-1] + HEADER_BYTES, at)
        if ended:
            packet = bytes(buffer[heads[-1] + HEADER_BYTES : at])
            if packet[0] == ERROR:
                err.raise_mysql_exception(packet)
            at = heads[-1]
            heads = heads[:-1]
        if len(heads):
            packets = np.frombuffer(buffer, np.uint8)
            starts = heads + HEADER_BYTES
            _check_numbers(packets[starts - 1], number)
            number += len(heads)
            yield Rows(packets, starts, np.append(starts[1:] - HEADER_BYTES, at))
        elif not ended:
            row, number = _read_long_row(connection, bytes(buffer[:filled]), number)
            yield Rows(np.frombuffer(row, np.uint8), np.array([0]), np.array([len(row)]))
            at = filled
        begun = buffer[at:filled]
        buffer, filled = next(buffers), len(begun)
        buffer[:filled] = begun


def _find_packets(buffer: bytearray, filled: int) -> tuple[Ints, int]:
    """Finds where the whole packets among the first bytes start, and where the last of them ends.

    In packets of less than 256 bytes without a null character, two zeros after another byte can
    only be the length of a packet. Where each such place directly follows the packet before it,
    these places are the packets. From the first place that does not, the length of each packet is
    read one by one.
    """
    packets = np.frombuffer(buffer, np.uint8, filled)
    zero = packets == 0
    heads = np.flatnonzero(zero[1:-2] & zero[2:-1])
    heads = heads[~zero[heads]]
    ends = heads + HEADER_BYTES + packets[heads]
    right = (heads == np.append(0, ends)[:-1]) & (ends <= filled)
    known = len(heads) if right.all() else int(right.argmin())
    at = int(ends[known - 1]) if known else 0
    others = []
    while at + HEADER_BYTES <= filled:
        end = at + HEADER_BYTES + _length(buffer, at)
        if end > filled:
            break
        others.append(at)
        at = end
    return np.append(heads[:known], np.array(others, np.int64)), at


def _length(buffer: bytes | bytearray, head: int) -> int:
    return int.from_bytes(buffer[head : head + 3], "little")


def _may_end(buffer: bytearray, filled: int) -> bool:
    """Whether the last bytes may be the packet that ends the rows; True if they are."""
    start = filled - END_LENGTH
    if buffer[start] == END and _is_last(buffer, start, filled):
        return True
    tail = max(0, filled - HEADER_BYTES - ERROR_LENGTH)
    if buffer.find(ERROR, tail, filled) < 0:
        return False  # text never has such a byte: this is asked thousands of times a second
    found = _ERROR_STARTS.finditer(buffer, tail, filled)
    return any(_is_last(buffer, match.start() + 2, filled) for match in found)


def _is_last(buffer: bytearray, start: int, filled: int) -> bool:
    """Whether a packet whose content starts there ends with the last of the bytes."""
    return start >= HEADER_BYTES and _length(buffer, start - HEADER_BYTES) == filled - start


def _is_end(buffer: bytearray, start: int, end: int) -> bool:
    return buffer[start] == ERROR or (buffer[start] == END and end - start == END_LENGTH)


def _check_numbers(numbers: Bytes, first: int) -> None:
    expected = np.arange(first, first + len(numbers)).astype(np.uint8)
    if not np.array_equal(numbers, expected):
        raise err.InternalError("Packet sequence number wrong")


def _read_long_row(connection: Connection, begun: bytes, number: int) -> tuple[bytes, int]:
    """A row that is longer than the buffer, without headers, and the number of the next packet."""
    pieces = [begun[HEADER_BYTES:]]
    header, missing = begun[:HEADER_BYTES], HEADER_BYTES - len(begun)
    while True:
        _check_numbers(np.frombuffer(header[3:], np.uint8), number)
        number += 1
        length = _length(header, 0)
        pieces.append(connection.receive_exactly(length + missing))
        if length < LENGTH:
            return b"".join(pieces), number
        header, missing = connection.receive_exactly(HEADER_BYTES), 0
