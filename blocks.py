"""Rows as MySQL sends them, turned into blocks of Avro by the thousand instead of one by one.

A loop over rows costs microseconds a row in Python, whatever it does: more than the server needs to
send the row and the compressor to pack it. So nothing here looks at each row. Rows are taken as
they come in, a megabyte at a time, and every step is a few NumPy operations on all of them:

1. Packets. The server sends each row as a packet: three bytes of length, one byte that counts
   packets, then the values as text. Each has its length before it, or 0xfb stands for NULL:

       1d 00 00 06  01 '7'  0d 'Rosa Ramirez'...  13 '2021-07-27 16:02:08'  fb
       length   no  id      name                  datetime                  department_id

   `read_rows` finds where each row starts (`Rows`). Only rows that are long, or hold null
   characters, are looked at one by one there (`_find_packets`).
   https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html

2. Columns. `_split` walks along all rows at once, a column a step, and notes where each value lies
   (`Values`). A value is not copied. What Avro encodes as a number is then made from the text:
   the last digit of all rows, the digit before it of all rows, and so on. A number becomes the
   bytes that Avro has for it, in a row of a matrix of bytes (`_varints`). What has no such way, or
   does not look as expected, goes through `mapping`, value by value: the rules stand there alone.

3. Block. Every column has become `Part`s: for each row a piece of some array of bytes. A text is
   two parts, the matrix that holds its length and the packets where it lies already. Avro's row is
   its columns' bytes one after the other, so that a block is all rows' pieces in the right order:
   they are laid into a table, a column as wide as its longest piece, and one operation takes what
   they fill (`_squeeze`).
   https://avro.apache.org/docs/1.12.0/specification/#binary-encoding

A row with a value that Avro can't hold is left out of its block and handed over as it is. Rows in
blocks and rows handed over are together the rows that were read.
"""

import contextlib
import io
import itertools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pymysql import err
from pymysql.connections import Connection
from pymysql.constants import CR

import db
import mapping

Bytes = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

READ_BYTES = 1024 * 1024
"""Packets that become one block. More is no faster, and each megabyte costs twenty of memory."""
RECEIVE_BYTES = 256 * 1024
"""What a socket gives at a time, at most."""
KEPT_BYTES = 16 * 1024 * 1024
"""More than any array of a block."""
LONG_BYTES = 100
"""Pieces that are longer in the mean are cheapest to copy one by one."""
SPARSE = 8
"""A table of pieces with so many times their bytes takes as long as taking them byte by byte."""


@dataclass(frozen=True)
class InvalidRow:
    """A row that Avro can't hold: its values as MySQL prints them, and the reason."""

    values: tuple[bytes | None, ...]
    reason: str


@dataclass(frozen=True)
class Block:
    """Encoded rows, in the shape that fastavro's `write_block` takes, and those that can't be."""

    num_records: int
    bytes_: io.BytesIO
    invalid: list[InvalidRow]


def read(
    connection: Connection, table: mapping.Table, statement: str, deadline: db.Deadline
) -> Iterator[Block]:
    """Reads the rows of a statement as blocks; a caller that stops early must drop the connection.

    Args:
        connection: to read on.
        table: whose columns the statement selects.
        statement: `table.statement`, or a part of its rows.
        deadline: when to give up.

    Raises:
        pymysql.err.Error: the server ended the statement, or the connection was lost.
        TimedOut: the deadline has passed.
    """
    _keep_freed_memory()
    for rows in read_rows(connection, statement, deadline):
        yield _encode(table, rows)


def _keep_freed_memory() -> None:
    """Has glibc keep some megabytes that are freed: each block wants as many as the one before.

    Else it gives them back to the system, and getting them again takes half as long as all the
    rest. How much it keeps follows the largest array that came and went: mallopt(3),
    M_MMAP_THRESHOLD.
    """
    np.empty(KEPT_BYTES, np.uint8)


# 1. Packets

HEADER_BYTES = 4
_HEADER = struct.Struct("<I")
LENGTH = 0xFFFFFF
"""The three bytes of a length; a packet of this length is continued by the next one."""
END, ERROR = 0xFE, 0xFF
"""First byte of a packet that ends the rows. A value that starts with END is longer than 16 MB."""
_ERROR_STARTS = re.compile(rb"(?s)(?=\0.\xff)")
"""The last byte of a short packet's length, its number, and ERROR."""
END_LENGTH, ERROR_LENGTH = 5, 521
"""How long a packet is that ends the rows, and at most one with an error.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_eof_packet.html
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html
"""


@dataclass(frozen=True)
class Rows:
    """Whole rows: the bytes they came in, and where in them each row starts and ends."""

    packets: Bytes
    starts: Whole
    ends: Whole


def read_rows(connection: Connection, statement: str, deadline: db.Deadline) -> Iterator[Rows]:
    """Reads the rows of a statement, some at a time; they lie there until the next are asked for.

    Raises: as `read`.
    """
    connection.query(statement, unbuffered=True)
    # PyMySQL must not wait for rows that are read here.
    connection._result.unbuffered_active = False
    buffer = bytearray(READ_BYTES)
    packets = np.frombuffer(buffer, np.uint8)
    number = connection._next_seq_id
    filled = 0
    ended = False
    while not ended:
        may_end = False
        while filled < len(buffer) and not may_end:
            received = _receive(connection, len(buffer) - filled, deadline)
            buffer[filled : filled + len(received)] = received
            filled += len(received)
            may_end = _may_end(buffer, filled)
        heads, at = _find_packets(buffer, filled)
        # The server sends nothing after the end: it can only be the last packet there is.
        ended = may_end and at == filled and _is_end(buffer, heads[-1] + HEADER_BYTES, at)
        if ended:
            _raise_error(buffer[heads[-1] + HEADER_BYTES : at])
            at = heads[-1]
            heads = heads[:-1]
        if len(heads):
            starts = heads + HEADER_BYTES
            _check_numbers(packets[starts - 1], number)
            number += len(heads)
            yield Rows(packets, starts, np.append(starts[1:] - HEADER_BYTES, at))
        elif not ended:
            row, number = _read_long_row(connection, bytes(buffer[:filled]), number)
            yield Rows(np.frombuffer(row, np.uint8), np.array([0]), np.array([len(row)]))
            at = filled
        buffer[: filled - at] = buffer[at:filled]
        filled -= at


def _receive(connection: Connection, most: int, deadline: db.Deadline) -> bytes:
    """Waits for bytes and takes those that are there; fails as PyMySQL does."""
    connection._read_timeout = connection._current_timeout = deadline.remaining()
    connection._sock.settimeout(connection._read_timeout)
    try:
        # Not readinto1, which waits for more although some bytes are buffered.
        received: bytes = connection._rfile.read1(min(most, RECEIVE_BYTES))
    except OSError as error:
        connection._force_close()
        message = f"Lost connection to MySQL server during query ({error})"
        raise err.OperationalError(CR.CR_SERVER_LOST, message) from error
    if not received:
        connection._force_close()
        message = "Lost connection to MySQL server during query"
        raise err.OperationalError(CR.CR_SERVER_LOST, message)
    return received


def _find_packets(buffer: bytearray, filled: int) -> tuple[Whole, int]:
    """Where the whole packets among the first bytes start, and where the last of them ends.

    In packets of less than 256 bytes without a null character, two zeros after another byte are
    the length of a packet and nothing else. Where each such place follows the packet before it,
    they are the packets; from the first that does not on, each packet is asked for its length.
    """
    packets = np.frombuffer(buffer, np.uint8, filled)
    zero = packets == 0
    heads = np.flatnonzero(~zero[:-3] & zero[1:-2] & zero[2:-1])
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
    """What the header of a packet says of its length."""
    length: int = _HEADER.unpack_from(buffer, head)[0] & LENGTH
    return length


def _may_end(buffer: bytearray, filled: int) -> bool:
    """Whether the last bytes look like a packet that ends the rows, as they do if they are."""

    def is_last(start: int) -> bool:
        return start >= HEADER_BYTES and _length(buffer, start - HEADER_BYTES) == filled - start

    start = filled - END_LENGTH
    if buffer[start] == END and is_last(start):
        return True
    tail = max(0, filled - HEADER_BYTES - ERROR_LENGTH)
    found = _ERROR_STARTS.finditer(buffer, tail, filled)
    return any(is_last(match.start() + 2) for match in found)


def _is_end(buffer: bytearray, start: int, end: int) -> bool:
    return buffer[start] == ERROR or (buffer[start] == END and end - start == END_LENGTH)


def _raise_error(packet: bytearray) -> None:
    if packet[0] == ERROR:
        err.raise_mysql_exception(bytes(packet))


def _check_numbers(numbers: Bytes, first: int) -> None:
    expected = np.arange(first, first + len(numbers)).astype(np.uint8)
    if not np.array_equal(numbers, expected):
        raise err.InternalError("Packet sequence number wrong")


def _read_long_row(connection: Connection, begun: bytes, number: int) -> tuple[bytes, int]:
    """Reads on a row that is longer than the buffer, maybe in several packets.

    Returns:
        The row without headers, and the number of the packet after it.
    """
    pieces = [begun[HEADER_BYTES:]]
    header, missing = begun[:HEADER_BYTES], HEADER_BYTES - len(begun)
    while True:
        _check_numbers(np.frombuffer(header[3:], np.uint8), number)
        number += 1
        length = _length(header, 0)
        pieces.append(connection._read_bytes(length + missing))
        if length < LENGTH:
            return b"".join(pieces), number
        header, missing = connection._read_bytes(HEADER_BYTES), 0


# 2. Columns

NULL = 0xFB
WIDE = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""First byte of a value longer than 250 bytes, and in how many bytes its length follows.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html
"""


@dataclass(frozen=True)
class Values:
    """A column of some rows: where each value lies in the packets. A NULL has the length 0."""

    packets: Bytes
    starts: Whole
    lengths: Whole
    nulls: Mask

    def get(self, row: int) -> bytes | None:
        """One value, as the server prints it."""
        if self.nulls[row]:
            return None
        start = self.starts[row]
        return self.packets[start : start + self.lengths[row]].tobytes()


@dataclass(frozen=True)
class Part:
    """For each row a piece of one array of bytes."""

    source: Bytes
    starts: Whole
    lengths: Whole


def _split(rows: Rows, columns: int) -> list[Values]:
    split = []
    at = rows.starts
    for _ in range(columns):
        first = rows.packets.take(at, mode="clip")
        at = at + 1
        lengths = first.astype(np.int64)
        nulls = first == NULL
        lengths[nulls] = 0
        if first.max() > NULL:
            for mark, width in WIDE.items():
                wide = np.flatnonzero(first == mark)
                places = at[wide, None] + np.arange(width)
                digits = rows.packets.take(places, mode="clip").astype(np.int64)
                lengths[wide] = (digits << np.arange(0, 8 * width, 8)).sum(axis=1)
                at[wide] += width
        split.append(Values(rows.packets, at, lengths, nulls))
        at = at + lengths
    if not np.array_equal(at, rows.ends):
        raise err.InternalError("a row is not what the statement selects")
    return split


def _one_by_one(
    column: mapping.Column, values: Values, wanted: Mask, invalid: Mask
) -> Iterator[tuple[int, mapping.Primitive]]:
    """Wanted values as `mapping` converts them, with their rows; notes those that it can't."""
    packets = values.packets.data
    ends = values.starts + values.lengths
    rows = np.flatnonzero(wanted)
    for row, start, end in zip(
        rows.tolist(), values.starts[rows].tolist(), ends[rows].tolist(), strict=True
    ):
        try:
            yield row, column.kind.convert(bytes(packets[start:end]))
        except mapping.InvalidValue:
            invalid[row] = True


INTEGER_DIGITS = 19
"""As many has a BIGINT, which fits into 64 bits."""
DECIMAL_DIGITS = 18
"""As many fit into 64 bits, whatever they are."""


def _numbers(values: Values, most: int, scale: int = 0) -> Whole | None:
    """What is printed as `-12.34` is -1234 for a scale of 2; 0 for NULL.

    Returns:
        None if one is longer than `most` places, the sign not counted.

    Raises:
        ValueError: one is not a number.
    """
    negative = (values.packets.take(values.starts, mode="clip") == ord("-")) & (values.lengths > 0)
    lengths = values.lengths - negative
    if lengths.max() > most:
        return None
    last = values.starts + values.lengths - 1
    numbers = np.zeros(len(last), np.int64)
    power = 1
    for place in range(lengths.max()):
        if scale and place == scale:
            continue  # the point
        digit = values.packets.take(last - place, mode="clip") - np.uint8(ord("0"))
        digit *= lengths > place
        if digit.max() > 9:
            raise ValueError("the server printed a number that is none")
        numbers += digit.astype(np.int64) * power
        power *= 10
    return np.where(negative, -numbers, numbers)


def _integers(column: mapping.Column, values: Values, invalid: Mask) -> Whole:
    numbers = _numbers(values, INTEGER_DIGITS)
    if numbers is None:
        numbers = np.zeros(len(values.starts), np.int64)
        for row, value in _one_by_one(column, values, ~values.nulls, invalid):
            numbers[row] = value
    return numbers


_MONTHS = np.arange("0001-01", "10000-02", dtype="M8[M]").astype("M8[D]").astype(np.int64)
"""The first day of each month from January of year 1 on, in days since 1970-01-01."""
_DATE, _TIME, _TIME_AND_POINT = 10, 19, 20
"""How long `2021-07-27`, `2021-07-27 16:02:08` and `2021-07-27 16:02:08.` are."""
_ZERO = np.frombuffer(b"0000-00-00 00:00:00.000000", np.uint8)
_NINE = np.frombuffer(b"9999-99-99 99:99:99.999999", np.uint8) - _ZERO
_WIDTHS = (_DATE, _TIME, *range(_TIME_AND_POINT + 1, _TIME_AND_POINT + 7))


def _times(column: mapping.Column, values: Values, invalid: Mask) -> Whole:
    """Days since 1970-01-01 for a DATE, else microseconds since then."""
    width = int(values.lengths.max())
    numbers = np.zeros(len(values.starts), np.int64)
    plain = np.zeros(len(values.starts), np.bool_)
    if width in _WIDTHS:
        numbers, plain = _plain_times(values, width)
    for row, value in _one_by_one(column, values, ~plain & ~values.nulls, invalid):
        numbers[row] = value
    return numbers


def _plain_times(values: Values, width: int) -> tuple[Whole, Mask]:
    """Times as `_times` has them, and which are right: of this width, and in the calendar."""
    digits = _cells(values.packets, values.starts, width) - _ZERO[:width]
    plain = values.lengths == width
    digits[~plain] = 0
    right = digits <= _NINE[:width]
    if not right.all():
        plain &= right.all(axis=1)

    def pair(place: int) -> Bytes:
        return digits[:, place] * np.uint8(10) + digits[:, place + 1]

    year, month = pair(0).astype(np.int64) * 100 + pair(2), pair(5)
    index = np.clip(year * 12 + month - 13, 0, len(_MONTHS) - 2)
    numbers = _MONTHS[index] + pair(8) - 1
    plain &= (year > 0) & (month > 0) & (month < 13) & (pair(8) > 0)
    plain &= numbers < _MONTHS[index + 1]
    if width > _DATE:
        hour, minute, second = pair(11), pair(14), pair(17)
        plain &= (hour < 24) & (minute < 60) & (second < 60)
        for number, base in ((hour, 24), (minute, 60), (second, 60)):
            numbers *= base
            numbers += number
        numbers *= 1_000_000
    for place in range(_TIME_AND_POINT, width):
        numbers += digits[:, place] * np.int64(10 ** (_TIME_AND_POINT + 5 - place))
    return numbers, plain


def _note_invalid_text(column: mapping.Column, values: Values, invalid: Mask) -> None:
    """Texts are valid together if the whole is, and if none starts in the middle of a character."""
    text = _lay_out([Part(values.packets, values.starts, values.lengths)])
    if text.isascii():
        return
    first = values.packets.take(values.starts, mode="clip")
    whole = not ((first & 0xC0 == 0x80) & (values.lengths > 0)).any()
    with contextlib.suppress(UnicodeDecodeError):
        text.decode()
        if whole:
            return
    for _ in _one_by_one(column, values, ~values.nulls, invalid):
        pass


def _decimals(column: mapping.Column, values: Values, invalid: Mask) -> Part:
    """Unscaled numbers in two's complement, big-endian, in as many bytes as `mapping` takes."""
    assert isinstance(column.kind.avro, dict)
    numbers = _numbers(values, DECIMAL_DIGITS, column.kind.avro["scale"])
    if numbers is None:
        converted: list[Any] = [b""] * len(values.starts)
        for row, value in _one_by_one(column, values, ~values.nulls, invalid):
            converted[row] = value
        lengths = np.fromiter(map(len, converted), np.int64)
        source = np.frombuffer(b"".join(converted), np.uint8)
        return Part(source, np.cumsum(lengths) - lengths, lengths)
    lengths = np.ones(len(numbers), np.int64)
    for bits in range(8, 64, 8):
        lengths += np.abs(numbers) >> (bits - 1) > 0
    lengths[values.nulls] = 0
    source = numbers.astype(">i8").view(np.uint8)
    return Part(source, np.arange(8, len(source) + 8, 8) - lengths, lengths)


# 3. Block

NULL_BRANCH, VALUE_BRANCH = 0, 2
"""The places 0 and 1 in `["null", T]`, as Avro writes an int."""


def _varints(numbers: Whole, nulls: Mask | None) -> Part:
    """Numbers as Avro writes an int or a long: zigzag, seven bits a byte, the lowest first.

    Args:
        numbers: to encode.
        nulls: of a column that has them, else None: Avro then wants the branch of the union first.
    """
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    widest = max(1, -(-int(zigzag.max()).bit_length() // 7))
    cells = np.empty((len(numbers), 1 + widest), np.uint8)
    lengths = np.ones(len(numbers), np.int64)
    rest = zigzag
    for place in range(1, widest + 1):
        low = rest.astype(np.uint8)
        rest = rest >> np.uint64(7)
        more = rest > 0
        lengths += more
        cells[:, place] = low & 0x7F | more.view(np.uint8) << 7
    return _with_branch(cells, lengths, nulls)


def _with_branch(cells: Bytes, lengths: Whole, nulls: Mask | None) -> Part:
    """Cells, one a row, as a part; the first byte of each is left for the branch of the union."""
    starts = np.arange(0, cells.size, cells.shape[1])
    if nulls is None:
        return Part(cells.reshape(-1), starts + 1, lengths)
    cells[:, 0] = np.where(nulls, NULL_BRANCH, VALUE_BRANCH)
    return Part(cells.reshape(-1), starts, np.where(nulls, 1, lengths + 1))


def _floats(column: mapping.Column, values: Values, invalid: Mask) -> Part:
    number = np.dtype("<f4" if column.kind is mapping.FLOAT else "<f8")
    numbers = np.zeros(len(values.starts), number)
    for row, value in _one_by_one(column, values, ~values.nulls, invalid):
        numbers[row] = value
    cells = np.empty((len(numbers), 1 + number.itemsize), np.uint8)
    cells[:, 1:] = numbers.view(np.uint8).reshape(len(numbers), -1)
    lengths = np.full(len(numbers), number.itemsize)
    return _with_branch(cells, lengths, values.nulls if column.nullable else None)


def _parts(column: mapping.Column, values: Values, invalid: Mask) -> list[Part]:
    """A column as Avro encodes it; notes the rows whose value it can't."""
    if values.nulls.any() and not column.nullable:
        raise ValueError(f"{column.name} is NULL, which the server says that it can't be")
    nulls = values.nulls if column.nullable else None
    kind = column.kind
    if kind in (mapping.INT, mapping.LONG):
        return [_varints(_integers(column, values, invalid), nulls)]
    if kind in (mapping.DATE, mapping.DATETIME, mapping.TIMESTAMP):
        return [_varints(_times(column, values, invalid), nulls)]
    if kind in (mapping.FLOAT, mapping.DOUBLE):
        return [_floats(column, values, invalid)]
    if kind is mapping.STRING:
        _note_invalid_text(column, values, invalid)
    content = Part(values.packets, values.starts, values.lengths)
    if kind not in (mapping.STRING, mapping.BYTES):
        content = _decimals(column, values, invalid)
    return [_varints(content.lengths, nulls), content]


def _encode(table: mapping.Table, rows: Rows) -> Block:
    columns = list(zip(table.columns, _split(rows, len(table.columns)), strict=True))
    invalid = np.zeros(len(rows.starts), np.bool_)
    parts = [part for column, values in columns for part in _parts(column, values, invalid)]
    if invalid.any():
        parts = [replace(part, lengths=np.where(invalid, 0, part.lengths)) for part in parts]
    content = _lay_out(parts)
    return Block(
        len(invalid) - int(np.count_nonzero(invalid)),
        io.BytesIO(content),
        [_invalid_row(columns, row) for row in np.flatnonzero(invalid).tolist()],
    )


def _invalid_row(columns: list[tuple[mapping.Column, Values]], row: int) -> InvalidRow:
    printed = tuple(values.get(row) for _, values in columns)
    for (column, _), value in zip(columns, printed, strict=True):
        try:
            if value is not None:
                column.kind.convert(value)
        except mapping.InvalidValue as error:
            return InvalidRow(printed, f"{column.name}: {error}")
    raise AssertionError("a row was taken for invalid that is not")


def _lay_out(parts: list[Part]) -> bytes:
    """The pieces of all parts, row by row; in which way does not matter but for time."""
    rows = len(parts[0].lengths)
    total = sum(int(part.lengths.sum()) for part in parts)
    if total > LONG_BYTES * rows * len(parts):
        return _join(parts)
    widths = [int(part.lengths.max()) for part in parts]
    if rows * sum(widths) <= SPARSE * total:
        return _squeeze(parts, widths)
    return _gather(parts)


def _squeeze(parts: list[Part], widths: list[int]) -> bytes:
    """Lays pieces into a table with columns as wide as the longest, and takes what they fill."""
    cells = np.empty((len(parts[0].lengths), sum(widths)), np.uint8)
    filled = np.empty(cells.shape, np.bool_)
    end = 0
    for part, width in zip(parts, widths, strict=True):
        start, end = end, end + width
        cells[:, start:end] = _cells(part.source, part.starts, width)
        filled[:, start:end] = _up_to(part.lengths, width)
    return cells[filled].tobytes()


def _up_to(lengths: Whole, width: int) -> Bytes | Mask:
    """A row of the width for each length, with so many true values at its start."""
    if lengths.min() == width:
        return np.ones(1, np.bool_)
    if width < len(lengths):
        lines = np.tri(width + 1, width, -1, np.uint8)
        return _cells(lines.reshape(-1), lengths * width, width)
    return np.arange(width) < lengths[:, None]


def _gather(parts: list[Part]) -> bytes:
    """Takes the pieces byte by byte."""
    sources = {id(part.source): part.source for part in parts}
    offsets = itertools.accumulate((len(source) for source in sources.values()), initial=0)
    offset = dict(zip(sources, offsets, strict=False))
    starts = np.stack([part.starts + offset[id(part.source)] for part in parts], axis=1).ravel()
    lengths = np.stack([part.lengths for part in parts], axis=1).ravel()
    # Each byte's place in the sources: what its piece is moved by, and its own place in the result.
    ends = np.cumsum(lengths)
    places = np.repeat(starts - (ends - lengths), lengths)
    places += np.arange(ends[-1])
    return np.concatenate(list(sources.values())).take(places, mode="clip").tobytes()


def _cells(source: Bytes, starts: Whole, width: int) -> Bytes:
    """So many bytes from each start on, a row each; zeros follow the end of the source."""
    if starts.max() + width > len(source):
        source = np.append(source, np.zeros(width, np.uint8))
    windows = np.ndarray(len(source) - width + 1, f"V{width}", source, strides=(1,))
    return windows[starts].view(np.uint8).reshape(len(starts), width)


def _join(parts: list[Part]) -> bytes:
    """Takes them piece by piece."""
    pieces = []
    for part in parts:
        source = part.source.data
        ends = part.starts + part.lengths
        spans = zip(part.starts.tolist(), ends.tolist(), strict=True)
        pieces.append([source[start:end] for start, end in spans])
    return b"".join(itertools.chain.from_iterable(zip(*pieces, strict=True)))
