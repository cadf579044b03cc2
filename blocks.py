"""Rows as MySQL sends them, turned into blocks of Avro by the thousand instead of one by one.

A loop over rows costs microseconds a row in Python, whatever it does: more than the server needs to
send the row and the compressor to pack it. So nothing here looks at each row, with one exception of
a few instructions, `_find_packets`. Rows are taken as they come in, some megabytes at a time, and
every step is a few NumPy operations on all of them:

1. Packets. The server sends each row as a packet: three bytes of length, one byte that counts
   packets, then the values as text. Each has its length before it, or 0xfb stands for NULL:

       1d 00 00 06  01 '7'  0d 'Rosa Ramirez'...  13 '2021-07-27 16:02:08'  fb
       length   no  id      name                  datetime                  department_id

   `read_rows` finds where each row starts (`Rows`).
   https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html

2. Columns. `_split` walks along all rows at once, a column a step, and notes where each value lies
   (`Values`). A value is not copied. What Avro encodes as a number is then made from the text:
   the last digit of all rows, the digit before it of all rows, and so on. A number becomes the
   bytes that Avro has for it, in a row of a matrix of bytes (`_varints`). What has no such way, or
   does not look as expected, goes through `mapping`, value by value: the rules stand there alone.

3. Block. Every column has become `Part`s: for each row a piece of some array of bytes. A text is
   two parts, the matrix that holds its length and the packets where it lies already. Avro's row is
   its columns' bytes one after the other, so that a block is all rows' pieces in the right order:
   one `take` gathers them (`_gather`).
   https://avro.apache.org/docs/1.12.0/specification/#binary-encoding

A row with a value that Avro can't hold is left out of its block and handed over as it is. Rows in
blocks and rows handed over are together the rows that were read.
"""

import io
import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
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
LONG_BYTES = 100
"""Pieces that are longer in the mean are cheaper to copy one by one than byte by byte."""


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
    for rows in read_rows(connection, statement, deadline):
        yield _encode(table, rows)


# 1. Packets

HEADER_BYTES = 4
_HEADER = struct.Struct("<I")
LENGTH = 0xFFFFFF
"""The three bytes of a length; a packet of this length is continued by the next one."""
END, ERROR = 0xFE, 0xFF
"""First byte of a packet that ends the rows. A value that starts with END is longer than 16 MB."""
END_BYTES = 9


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
        heads: list[int] = []
        at = 0
        while filled < len(buffer) and not ended:
            received = _receive(connection, len(buffer) - filled, deadline)
            buffer[filled : filled + len(received)] = received
            filled += len(received)
            at = _find_packets(buffer, at, filled, heads)
            # The server sends nothing after the end: it can only be the last packet there is.
            ended = at == filled and _is_end(buffer, heads[-1] + HEADER_BYTES, at)
        if ended:
            _raise_error(buffer[heads[-1] + HEADER_BYTES : at])
            at = heads.pop()
        if heads:
            starts = np.array(heads) + HEADER_BYTES
            _check_numbers(packets[starts - 1], number)
            number += len(heads)
            yield Rows(packets, starts, np.append(starts[1:] - HEADER_BYTES, at))
        elif not ended:
            row, number = _read_long_row(connection, bytes(buffer), number)
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


def _find_packets(buffer: bytearray, at: int, filled: int, heads: list[int]) -> int:
    """Notes where the whole packets from `at` on start; returns where they end."""
    unpack = _HEADER.unpack_from
    note = heads.append
    last = filled - HEADER_BYTES
    while at <= last:
        end = at + HEADER_BYTES + (unpack(buffer, at)[0] & LENGTH)
        if end > filled:
            break
        note(at)
        at = end
    return at


def _is_end(buffer: bytearray, start: int, end: int) -> bool:
    return buffer[start] == ERROR or (buffer[start] == END and end - start < END_BYTES)


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
        length = _HEADER.unpack(header)[0] & LENGTH
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
        if first.max() >= NULL:
            lengths[nulls] = 0
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
    windows = np.lib.stride_tricks.sliding_window_view(values.packets, width)
    digits = windows[np.minimum(values.starts, len(windows) - 1)] - np.uint8(ord("0"))
    largest = np.zeros(len(digits), np.uint8)

    def number(start: int, end: int) -> Whole:
        total = np.zeros(len(digits), np.int64)
        for place in range(start, end):
            np.maximum(largest, digits[:, place], out=largest)
            total *= 10
            total += digits[:, place]
        return total

    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    index = np.clip(year * 12 + month - 13, 0, len(_MONTHS) - 2)
    days = _MONTHS[index] + day - 1
    plain = (values.lengths == width) & (year > 0) & (month > 0) & (month < 13) & (day > 0)
    plain &= days < _MONTHS[index + 1]
    if width > _DATE:
        hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
        plain &= (hour < 24) & (minute < 60) & (second < 60)
        days *= 24 * 60 * 60
        days += (hour * 60 + minute) * 60 + second
        days *= 1_000_000
    if width > _TIME:
        days += number(_TIME_AND_POINT, width) * 10 ** (_TIME_AND_POINT + 6 - width)
    return days, plain & (largest <= 9)


def _note_invalid_text(column: mapping.Column, values: Values, invalid: Mask) -> None:
    """Texts are valid together if the whole is, and if none starts in the middle of a character."""
    text = _gather(Part(values.packets, values.starts, values.lengths))
    starts = (np.cumsum(values.lengths) - values.lengths)[values.lengths > 0]
    try:
        text.decode()
        whole = not (np.frombuffer(text, np.uint8)[starts] & 0xC0 == 0x80).any()
    except UnicodeDecodeError:
        whole = False
    if not whole:
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
    content = _lay_out(parts, invalid)
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


def _lay_out(parts: list[Part], invalid: Mask) -> bytes:
    """The pieces of all parts, row by row."""
    starts = np.empty((len(invalid), len(parts)), np.int64)
    lengths = np.empty_like(starts)
    sources = {id(part.source): part.source for part in parts}
    offsets = itertools.accumulate((len(source) for source in sources.values()), initial=0)
    offset = dict(zip(sources, offsets, strict=False))
    for place, part in enumerate(parts):
        starts[:, place] = part.starts + offset[id(part.source)]
        lengths[:, place] = part.lengths
    lengths[invalid] = 0
    if _is_long(lengths):
        pieces = [_pieces(part, lengths[:, place]) for place, part in enumerate(parts)]
        return b"".join(itertools.chain.from_iterable(zip(*pieces, strict=True)))
    source = np.concatenate(list(sources.values()))
    return _gather(Part(source, starts.ravel(), lengths.ravel()))


def _gather(part: Part) -> bytes:
    """The pieces of a part, one after the other."""
    if _is_long(part.lengths):
        return b"".join(_pieces(part, part.lengths))
    # Each byte's place in the source: what its piece is moved by, and its own place in the result.
    ends = np.cumsum(part.lengths)
    places = np.repeat(part.starts - (ends - part.lengths), part.lengths)
    places += np.arange(ends[-1])
    return part.source.take(places, mode="clip").tobytes()


def _is_long(lengths: Whole) -> bool:
    return int(lengths.sum()) > LONG_BYTES * lengths.size


def _pieces(part: Part, lengths: Whole) -> list[memoryview]:
    source = part.source.data
    ends = part.starts + lengths
    return [
        source[start:end] for start, end in zip(part.starts.tolist(), ends.tolist(), strict=True)
    ]
