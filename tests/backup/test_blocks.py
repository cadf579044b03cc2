"""The blocks of the fast path equal those of the plain path, byte for byte."""

import dataclasses
import datetime
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pymysql
import pytest
import stored_backup
from avro.datafile import DataFileReader
from avro.io import DatumReader
from conftest import ACCOUNT, EXAMPLES, PASSWORD, PROJECT, Bucket, Bundle, Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymysql.cursors import SSCursor
from support import some
from werkzeug.test import Client

from bench.stack import fill, peak_megabytes
from hiring.avro import buffers, encoding, mapping
from hiring.avro.columns import Values, are_utf8, split
from hiring.avro.schema import Column, Table, read_table
from hiring.avro.times import plain_times
from hiring.deadline import Deadline
from hiring.mysql import login, packets
from hiring.mysql.connection import Connection
from hiring.mysql.statements import select
from hiring.settings import read_settings
from local.database import DatabaseServer

Record = dict[str, Any]
Invalid = list[tuple[tuple[bytes | None, ...], str]]

TIMEOUT_SECONDS = 60


# The plain path


def plain_rows(connection: Any, statement: str) -> Iterator[tuple[bytes | None, ...]]:
    """The rows as PyMySQL reads them, each value as the server prints it."""
    connection.use_unicode, connection.decoders = False, {}
    with connection.cursor(SSCursor) as cursor:
        cursor.execute(statement)
        while (row := cursor.fetchone()) is not None:
            yield row


def plain_path(connection: Any, table: Table, statement: str) -> tuple[bytes, Invalid]:
    """fastavro's bytes of the rows that `mapping` can convert, and the other rows."""
    schema = fastavro.parse_schema(table.avro_schema)
    output = io.BytesIO()
    invalid: Invalid = []
    for row in plain_rows(connection, statement):
        record: Record = {}
        try:
            for column, value in zip(table.columns, row, strict=True):
                name = column.name
                record[column.avro_name] = None if value is None else column.type.convert(value)
        except mapping.InvalidValue as error:
            invalid.append((row, f"{name}: {error}"))
        else:
            fastavro.schemaless_writer(output, schema, record)
    return output.getvalue(), invalid


def fast_path(connection: Any, table: Table, statement: str) -> tuple[bytes, Invalid, int]:
    """The content of all blocks, the invalid rows, and the number of rows."""
    content = b""
    invalid: Invalid = []
    rows = 0
    for received in packets.read_rows(connection, statement):
        block = encoding.encode(table, received)
        content += block.content
        invalid += [(row.values, row.reason) for row in block.invalid]
        rows += block.rows + len(block.invalid)
    return content, invalid, rows


def connect(database: Database) -> Connection:
    """A connection like the functions'."""
    return login.connect(read_settings(database.environment), Deadline(TIMEOUT_SECONDS))


def check(database: Database, table: Table, statement: str) -> Invalid:
    """Compares both paths; returns the invalid rows."""
    with connect(database) as connection:
        fast, fast_invalid, rows = fast_path(connection, table, statement)
        # The connection can be used after all rows were read.
        assert select(connection, "SELECT 1") == [(1,)]
        ((count,),) = select(connection, f"SELECT COUNT(*) FROM ({statement}) AS counted")
        plain, plain_invalid = plain_path(connection, table, statement)
    assert fast_invalid == plain_invalid
    assert fast == plain
    assert rows == count
    return fast_invalid


# Any table

AROUND_LENGTHS = st.sampled_from([0, 1, 63, 64, 127, 128, 249, 250, 251, 252, 253, 65535, 65536])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=80) | AROUND_LENGTHS.map("ü".__mul__)
BYTES = st.binary(max_size=80) | AROUND_LENGTHS.map(b"\xff".__mul__)
DATES = st.dates().map(str) | st.sampled_from(
    ["0000-00-00", "2021-02-00", "0000-01-01", "0001-01-01", "9999-12-31", "2024-02-29"]
)
TIMES = st.datetimes().map(str) | DATES.map("{} 23:59:59.999999".format)
SECONDS = st.integers(-838 * 3600, 838 * 3600)
STAMPS = st.datetimes(
    datetime.datetime(1970, 1, 2),  # noqa: DTZ001 - the column has no zone
    datetime.datetime(2038, 1, 18),  # noqa: DTZ001
)


def integers(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(lowest, highest) | st.sampled_from([lowest, highest, 0, 1])


def decimals(digits: int, places: int) -> st.SearchStrategy[Any]:
    limit = 10 ** (digits - places) - 1
    return st.decimals(-limit, limit, allow_nan=False, places=places)


def floats(width: Any) -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False, width=width)


TYPES: dict[str, st.SearchStrategy[Any]] = {
    "TINYINT": integers(8),
    "SMALLINT UNSIGNED": integers(16, signed=False),
    "MEDIUMINT": integers(24),
    "INT": integers(32),
    "INT UNSIGNED": integers(32, signed=False),
    "INT(30) UNSIGNED ZEROFILL": integers(32, signed=False),
    "BIGINT": integers(64),
    "BIGINT UNSIGNED": integers(64, signed=False),
    "YEAR": st.integers(1901, 2155) | st.just(0),
    "DECIMAL(5,2)": decimals(5, 2),
    "DECIMAL(5,5)": decimals(5, 5),
    "DECIMAL(18,0)": decimals(18, 0),
    "DECIMAL(20,1)": decimals(20, 1),
    "DECIMAL(65,30)": decimals(28, 10),
    "FLOAT": floats(32),
    "DOUBLE": floats(64),
    "DATE": DATES,
    "DATETIME": TIMES,
    **{f"DATETIME({digits})": TIMES for digits in (1, 2, 3, 4, 5, 6)},
    "TIMESTAMP": STAMPS,
    "TIMESTAMP(6)": STAMPS,
    "TIME(3)": SECONDS,
    "CHAR(80) CHARACTER SET utf8mb4": st.text(st.characters(codec="utf-8"), max_size=80),
    "VARCHAR(80) CHARACTER SET latin1": st.text(st.characters(codec="latin-1"), max_size=80),
    "LONGTEXT CHARACTER SET utf8mb4": TEXTS,
    "ENUM('a','b, c','ü')": st.sampled_from(["a", "b, c", "ü"]),
    "JSON": st.sampled_from(['{"a": [1, 2.5, null, "ü"]}', "[]"]),
    "VARBINARY(80)": st.binary(max_size=80),
    "LONGBLOB": BYTES,
    "BIT(33)": st.integers(0, 2**33 - 1),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The columns of a table, as SQL, and rows for it."""
    kinds = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=6))
    nullable = [draw(st.booleans()) for _ in kinds]
    values = [
        st.none() | TYPES[kind] if null else TYPES[kind]
        for kind, null in zip(kinds, nullable, strict=True)
    ]
    columns = [
        f"{kind} {'NULL' if null else 'NOT NULL'}"
        for kind, null in zip(kinds, nullable, strict=True)
    ]
    return columns, draw(st.lists(st.tuples(*values), max_size=12))


def make(
    database: Database, columns: list[str], rows: list[tuple[Any, ...]], repeat: int = 1
) -> Table:
    """Creates `any_table` with columns c0, c1, ... and the rows, many times over."""
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS any_table")
        defined = ", ".join(f"c{number} {column}" for number, column in enumerate(columns))
        cursor.execute(f"CREATE TABLE any_table ({defined})")
        if rows:
            places = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"INSERT INTO any_table VALUES ({places})", rows * repeat)
        return read_table(connection, "any_table")


@settings(max_examples=3 * EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.sampled_from([64, 1000, packets.READ_BYTES]))
def test_any_table(
    database: Database,
    environment: pytest.MonkeyPatch,
    table: tuple[list[str], list[tuple[Any, ...]]],
    read_bytes: int,
) -> None:
    """Both paths agree for any columns and rows, wherever a read ends."""
    environment.setattr(packets, "READ_BYTES", read_bytes)
    made = make(database, *table)
    check(database, made, made.statement)


@pytest.mark.slow
def test_many_rows_of_every_type(database: Database) -> None:
    """Both paths agree for rows of all types in many blocks, valid and invalid ones in turn."""
    given_rows = [
        (7, -5, "123.45", 2**64 - 1, 0.1, 2 / 3, "2021-07-27", "2021-07-27 16:02:08.5", "Zoë 🦄"),
        (None,) * 9,
        (8, 2**63 - 1, "-0.01", 1, -1.5, 1e300, "0000-00-00", "2021-07-27 16:02:08", ""),
        (0, -(2**63), "0.00", 0, 0, 0, "0001-01-01", "2021-02-00 16:02:08", "x" * 300),
    ]
    columns = [
        "INT UNSIGNED NULL",
        "BIGINT NULL",
        "DECIMAL(10,2) NULL",
        "BIGINT UNSIGNED NULL",
        "FLOAT NULL",
        "DOUBLE NULL",
        "DATE NULL",
        "DATETIME(6) NULL",
        "VARCHAR(300) CHARACTER SET utf8mb4 NULL",
    ]
    table = make(database, columns, given_rows, repeat=10_000)
    assert len(check(database, table, table.statement)) == 20_000


# Lengths


def columns_of(*kinds: mapping.TypeMapping) -> Table:
    """A table for a statement without a table."""
    columns = [
        Column(f"c{number}", f"c{number}", "", kind, False, False, False)
        for number, kind in enumerate(kinds)
    ]
    return Table("made_up", tuple(columns), ())


LENGTHS = [0, 1, 250, 251, 252, 65_535, 65_536]
AROUND_A_READ = [packets.READ_BYTES + more for more in (-20, -12, -11, -10, -9, -8, -1, 0, 1)]


@pytest.mark.parametrize("length", LENGTHS + AROUND_A_READ)
def test_lengths(database: Database, length: int) -> None:
    """A value of any length arrives whole, and so do the rows before and after it."""
    row = f"SELECT 1, REPEAT('x', {length}), 2"
    table = columns_of(mapping.INT, mapping.STRING, mapping.INT)
    check(database, table, f"{row} UNION ALL SELECT 3, 'short', 4 UNION ALL {row}")


@pytest.fixture
def large_packets(server: DatabaseServer) -> Iterator[None]:
    """The server accepts rows of up to 64 MB."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.max_allowed_packet")
        (before,) = cursor.fetchone()
        cursor.execute("SET GLOBAL max_allowed_packet = 64 * 1024 * 1024")
        yield
        cursor.execute("SET GLOBAL max_allowed_packet = %s", (before,))


PACKET = 0xFFFFFF
# A row's bytes beside those of the long value: two numbers, and the length in 4 or 9 bytes.
AROUND_A_PACKET = [PACKET - 8 + more for more in (-1, 0, 1)]


@pytest.mark.parametrize(
    "length", some([PACKET, *AROUND_A_PACKET, PACKET + 1, 2 * PACKET - 13, 2**25], 2)
)
def test_rows_in_several_packets(database: Database, large_packets: None, length: int) -> None:
    """A row of 16 MB or more, which the server splits, arrives whole, and so do its neighbours."""
    row = f"SELECT 1, REPEAT('x', {length}), 2"
    table = columns_of(mapping.INT, mapping.BYTES, mapping.INT)
    check(database, table, f"SELECT 3, 'short', 4 UNION ALL {row} UNION ALL SELECT 5, '', 6")


LOOK_ALIKES = {
    "end": bytes([5, 0, 0, 9, 0xFE, 0, 0, 2, 0]),
    "error": bytes([7, 0, 0, 9, 0xFF]) + b"....#!",
    "packet": bytes([1, 0, 0, 9, 0x61]) * 9,
}


@pytest.mark.parametrize("value", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_values_that_look_like_packets(
    database: Database, environment: pytest.MonkeyPatch, value: bytes
) -> None:
    """A value that looks like a packet is read as a value, even byte by byte."""
    environment.setattr(packets, "RECEIVE_BYTES", 1)
    table = make(database, ["INT NOT NULL", "VARBINARY(80) NOT NULL"], [(1, value), (2, value)])
    assert check(database, table, table.statement) == []


@st.composite
def packet_contents(draw: st.DrawFn) -> list[bytes]:
    """The contents of some packets: short or long, text or not, many equal."""
    content = st.binary(max_size=20) | st.binary(min_size=240, max_size=600)
    alike = draw(st.integers(0, 600)) * [b"\x01a\x03bcd"]
    return alike + draw(st.lists(content.filter(bool), max_size=20)) + alike


@given(packet_contents(), st.integers(0, 700), st.integers(0, 255))
def test_packets_are_found_as_one_by_one(contents: list[bytes], cut: int, first: int) -> None:
    """All whole packets are found, whatever they contain and wherever the last one is cut."""
    heads, stream = [0], b""
    for number, content in enumerate(contents, first):
        stream += len(content).to_bytes(3, "little") + bytes([number % 256]) + content
        heads.append(len(stream))
    filled = max(0, len(stream) - cut)
    *expected, end = [head for head in heads if head <= filled]
    found, at = packets._find_packets(bytearray(stream), filled)
    assert (found.tolist(), at) == (expected, end)


@st.composite
def parts(draw: st.DrawFn) -> list[buffers.Part]:
    """Parts with the same number of pieces each, some of them the first bytes of cells."""
    rows = draw(st.integers(1, 9))
    made = []
    for _ in range(draw(st.integers(1, 4))):
        if width := draw(st.integers(0, 3)):
            cells = draw(st.binary(min_size=rows * width, max_size=rows * width))
            filled = [draw(st.integers(0, width)) for _ in range(rows)]
            table = np.frombuffer(cells, np.uint8).reshape(rows, width)
            made.append(buffers.part_of(table, np.array(filled)))
            continue
        source = np.frombuffer(draw(st.binary(min_size=1, max_size=40)), np.uint8)
        starts = [draw(st.integers(0, len(source))) for _ in range(rows)]
        lengths = [draw(st.integers(0, len(source) - start)) for start in starts]
        made.append(buffers.Part(source, np.array(starts), np.array(lengths)))
    return made


@given(parts())
def test_pieces_are_laid_out_alike_in_every_way(parts: list[buffers.Part]) -> None:
    """The three ways to lay out pieces give the same bytes."""
    rows = range(len(parts[0].lengths))
    expected = b"".join(
        part.source[part.starts[row] :][: part.lengths[row]].tobytes()
        for row in rows
        for part in parts
    )
    widths = [int(part.lengths.max()) for part in parts]
    assert buffers._squeeze(parts, widths) == expected
    assert buffers._join(parts) == expected
    if expected:
        assert buffers._gather(parts) == expected


# Times

FORMS = {19: "%Y-%m-%d %H:%M:%S", 26: "%Y-%m-%d %H:%M:%S.%f", 10: "%Y-%m-%d"}


@given(st.sampled_from(sorted(FORMS)), st.data())
def test_times_of_one_form_are_read_as_one_by_one(width: int, data: st.DataObject) -> None:
    """A time has the number that the single conversion gives it; a damaged one has none."""
    times = [
        b"%04d" % time.year + time.strftime(FORMS[width])[-width + 4 :].encode()
        for time in data.draw(st.lists(st.datetimes(), min_size=1, max_size=9))
    ]
    damaged = []
    for each in times:
        place = data.draw(st.integers(0, width - 1))
        character = data.draw(
            st.binary(min_size=1, max_size=1)
            | st.sampled_from(b"09-: ./;").map(lambda code: bytes([code]))
        )
        damaged.append(each[:place] + character + each[place + 1 :])
    kind = mapping.DATE if width == 10 else mapping.DATETIME
    _, (values,) = as_rows([[each] for each in [*times, *damaged, b"0000-00-00", None]])
    numbers, plain = plain_times(values, width)
    assert plain[: len(times)].all()
    for each, number, is_plain in zip([*times, *damaged], numbers, plain, strict=False):
        assert number == (kind.convert(each) if is_plain else 0)
    assert not plain[-2:].any()


# Values that are no text


def as_rows(values: list[list[bytes | None]]) -> tuple[packets.Rows, list[Values]]:
    """Rows as the server sends them, and their values by column."""
    contents = [
        b"".join(
            b"\xfb"
            if value is None
            else bytes([len(value)]) + value
            if len(value) < 251
            else b"\xfc" + len(value).to_bytes(2, "little") + value
            for value in row
        )
        for row in values
    ]
    stream = b"".join(
        len(content).to_bytes(3, "little") + bytes([number % 256]) + content
        for number, content in enumerate(contents, 100)
    )
    ends = np.cumsum([packets.HEADER_BYTES + len(content) for content in contents])
    starts = ends - [len(content) for content in contents]
    rows = packets.Rows(np.frombuffer(stream, np.uint8), starts, ends)
    return rows, split(rows, len(values[0]))


def is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.data())
def test_values_that_are_utf8_are_known_from_all_bytes_at_once(data: st.DataObject) -> None:
    """The check of all bytes finds each value that is no text, and takes no long one for text."""
    columns = data.draw(st.integers(1, 3))
    text = st.text(max_size=60).map(str.encode)
    pieces = [b"\xc3", b"\xa9", "🦄".encode()[:2], "🦄".encode()[2:], b"a" * 127, b"a" * 128]
    value = st.none() | text | text | st.sampled_from([*pieces, b"a" * 250, b"a" * 251])
    row = st.lists(value, min_size=columns, max_size=columns)
    values = data.draw(st.lists(row, min_size=1, max_size=20))
    rows, split_values = as_rows(values)
    there = [value for row in values for value in row if value is not None]
    expected = all(is_utf8(value) and len(value) <= 250 for value in there)
    assert are_utf8(rows, split_values) == expected


def test_text_that_is_not_utf8(database: Database) -> None:
    """A text that is not UTF-8 is invalid, even if two neighbouring texts are valid together."""
    table = make(
        database,
        ["INT NOT NULL", "VARBINARY(9) NULL"],
        [(1, "é".encode()[:1]), (2, "é".encode()[1:]), (3, "é"), (4, b"\xed\xa0\x80"), (5, None)],
    )
    number, text = table.columns
    as_text = dataclasses.replace(text, type=mapping.STRING)
    table = dataclasses.replace(table, columns=(number, as_text))
    invalid = check(database, table, table.statement)
    assert [(row[0], reason) for row, reason in invalid] == [
        (b"1", "c1: not valid UTF-8"),
        (b"2", "c1: not valid UTF-8"),
        (b"4", "c1: not valid UTF-8"),
    ]


def test_a_statement_with_other_columns(database: Database) -> None:
    """A row with more or fewer values than the table has columns is an error, never cut to fit."""
    for kinds in [(mapping.INT,), (mapping.INT,) * 3]:
        with connect(database) as connection, pytest.raises(pymysql.err.InternalError):
            fast_path(connection, columns_of(*kinds), "SELECT 1, 2")


def test_null_where_there_is_none(database: Database) -> None:
    """A NULL in a column that is NOT NULL is an error, never 0 or an empty text."""
    for kind in (mapping.INT, mapping.STRING):
        with connect(database) as connection, pytest.raises(ValueError, match="c0 is NULL"):
            fast_path(connection, columns_of(kind), "SELECT NULL")


# Failures in the middle


HIRED = "2021-02-03 04:05:06"


def many_employees(database: Database, rows: int = 160_000, hired: str = HIRED) -> None:
    """Inserts employees, by default far more than the buffers of server and client hold."""
    database.execute("INSERT IGNORE INTO departments VALUES (1, 'Sales')")
    database.execute("INSERT IGNORE INTO jobs VALUES (1, 'Clerk')")
    digits = "(SELECT 0 AS d" + "".join(f" UNION ALL SELECT {n}" for n in range(1, 10)) + ")"
    tables = ", ".join(f"{digits} AS digits{place}" for place in range(6))
    with database.connect(init_command="SET sql_mode = ''") as connection:
        connection.cursor().execute(
            "INSERT INTO employees (name, datetime, department_id, job_id)"
            f" SELECT 'Ada Lovelace', '{hired}', 1, 1 FROM {tables} LIMIT {rows}"
        )


@pytest.fixture
def in_the_middle(environment: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Calls `act` after the first block of employees."""

    def arrange(action: Callable[[], object]) -> None:
        encode = encoding.encode

        def encode_then_act(table: Table, rows: packets.Rows) -> encoding.Block:
            block = encode(table, rows)
            if table.name == "employees":
                environment.setattr(encoding, "encode", encode)
                action()
                time.sleep(0.5)
            return block

        environment.setattr(encoding, "encode", encode_then_act)

    return arrange


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Checks that all threads of a test have ended."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


SESSIONS = "SELECT id FROM information_schema.processlist WHERE user = %s AND info LIKE 'SELECT%%'"


@pytest.mark.parametrize(
    ("kill", "hired"),
    some(
        {
            "the connection": ("KILL", HIRED),
            "the query": ("KILL QUERY", HIRED),
            "invalid rows": ("KILL", "2021-02-00 04:05:06"),
        }
    ),
)
def test_a_backup_that_is_killed(
    client: Client,
    database: Database,
    bucket: Bucket,
    in_the_middle: Callable[[Callable[[], object]], None],
    no_thread_left: None,
    kill: str,
    hired: str,
) -> None:
    """Killing the query or the connection during a backup is 503 and leaves no object or thread."""
    many_employees(database, hired=hired)

    def kill_it() -> None:
        ((session,),) = database.execute(SESSIONS, (ACCOUNT,))
        database.execute(f"{kill} {session}")

    in_the_middle(kill_it)
    response = client.get("/backup-data")
    assert (response.status_code, response.get_json()["error"]["code"]) == (
        503,
        "database_unavailable",
    )
    assert bucket.blobs() == {}


@pytest.mark.slow
def test_a_server_that_dies_during_a_backup(
    client: Client,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    in_the_middle: Callable[[Callable[[], object]], None],
    no_thread_left: None,
    tmp_path: Path,
) -> None:
    """A server that dies in the middle of a row is 503 and leaves no object or thread."""
    server = DatabaseServer(tmp_path / "server")
    server.start()
    try:
        server.create_database("hiring")
        server.create_account("bundle", PASSWORD, "hiring")
        server.run_script(PROJECT / "restore/schema.sql", "hiring")
        many_employees(Database(server, "hiring"))
        for name, value in {"SOCKET": server.socket, "USER": "bundle", "NAME": "hiring"}.items():
            environment.setenv(f"DB_{name}", str(value))
        in_the_middle(server.kill)
        response = client.get("/backup-data")
        assert response.status_code == 503
        assert response.get_json()["error"]["code"] == "database_unavailable"
        assert bucket.blobs() == {}
    finally:
        server.stop()


@pytest.mark.slow
def test_an_upload_that_fails_in_the_middle(
    client: Client,
    database: Database,
    bucket: Bucket,
    environment: pytest.MonkeyPatch,
    no_thread_left: None,
) -> None:
    """A chunk that Cloud Storage refuses is 502 and leaves no object or thread."""
    environment.setattr("hiring.storage.objects.CHUNK_BYTES", 256 * 1024)
    environment.setattr("hiring.storage.objects.PIECE_BYTES", 64 * 1024)
    many_employees(database)
    bucket.storage.fail("employees.avro", method="PUT", status=403, times=1)
    response = client.get("/backup-data")
    assert (response.status_code, response.get_json()["error"]["code"]) == (502, "storage_failed")
    assert bucket.blobs() == {}


# The whole way


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unknown local-timestamp-micros, using long")
def test_another_reader(client: Client, database: Database, bucket: Bucket) -> None:
    """Apache's own reader reads the rows of a backup of several blocks."""
    many_employees(database, rows=80_000)
    answer = client.get("/backup-data").get_json()
    name = f"{stored_backup.path(answer)}employees.avro"
    reader: Any
    with DataFileReader(io.BytesIO(bucket.blob(name).download_as_bytes()), DatumReader()) as reader:
        ids = []
        for record in reader:
            ids.append(record.pop("id"))
            assert record == {
                "name": "Ada Lovelace",
                "datetime": 1_612_325_106_000_000,  # 2021-02-03 04:05:06
                "department_id": 1,
                "job_id": 1,
            }
    assert [(id_,) for id_ in ids] == database.execute("SELECT id FROM employees ORDER BY id")


def test_rows_stay_until_they_are_encoded(
    client: Client, database: Database, bucket: Bucket, environment: pytest.MonkeyPatch
) -> None:
    """Rows that arrive faster than they are encoded overwrite none that wait."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    names = [f"Ada {number}" for number in range(1, 1001)]
    database.insert(
        "employees", [(n, name, "2021-02-03", 1, 1) for n, name in enumerate(names, start=1)]
    )
    encode = encoding.encode

    def encode_late(table: Table, rows: packets.Rows) -> encoding.Block:
        time.sleep(0.005)
        return encode(table, rows)

    environment.setattr(packets, "READ_BYTES", 1000)
    environment.setattr(encoding, "encode", encode_late)
    answer = client.get("/backup-data").get_json()
    records = stored_backup.records(bucket, answer, "employees")
    assert [record["name"] for record in records] == names


def peak_of_a_backup(bundle: Bundle) -> float:
    """Peak memory of a new process of the functions during a backup, in MB."""
    bundle.start()
    assert bundle.get("/backup-data").status_code == 200
    return peak_megabytes(bundle.pid)


@pytest.mark.once
@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(bundle: Bundle, database: Database) -> None:
    """Four times the rows take at most a tenth more memory, and less than 160 MB."""
    fill(database.connect(), 100_000)
    small = peak_of_a_backup(bundle)
    fill(database.connect(), 400_000)
    large = peak_of_a_backup(bundle)
    assert large < 160
    assert large < 1.1 * small


@pytest.mark.once
@pytest.mark.slow
def test_memory_holds_a_few_rows(bundle: Bundle, database: Database) -> None:
    """A backup of 120 BLOBs of 1 MB takes hardly more memory than one of an empty table."""
    empty = peak_of_a_backup(bundle)
    many_employees(database, rows=1)
    database.execute("ALTER TABLE employees ADD photo LONGBLOB NOT NULL")
    for _ in range(120):
        blob = os.urandom(1024 * 1024)
        database.execute(
            "INSERT INTO employees VALUES (NULL, 'x', '2021-01-01', 1, 1, %s)", (blob,)
        )
    assert peak_of_a_backup(bundle) < empty + 60
