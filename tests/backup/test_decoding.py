"""Rows encoded by fastavro are decoded by column, written as SQL, and compared by digest."""

import datetime
import io
import itertools
import pickle
import random
import struct
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiring.avro.buffers import lay_out, pieces_of
from hiring.avro.columns import ColumnChunk, from_rows
from hiring.avro.decoding import decode
from hiring.avro.mapping import BYTES as BLOB
from hiring.avro.mapping import DOUBLE, FLOAT, INT, STRING, TypeMapping, read_type, type_mapping
from hiring.avro.schema import Column, Table, read_columns
from restore import digest, json_text, sql_text

LONG = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(
    [0, 63, 64, -64, -65, 2**63 - 1, -(2**63)]
)
SIZES = st.sampled_from([0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 8191, 8192])
TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | SIZES.map("é'".__mul__)
BYTES = st.binary(max_size=30) | SIZES.map(b"\xff\\".__mul__)
DAYS = st.integers(-719_162, 2_932_896)
MICROS = DAYS.flatmap(
    lambda day: st.integers(0, 86_399_999_999).map(lambda micros: day * 86_400_000_000 + micros)
)


def decimal_bytes(number: int) -> bytes:
    """A whole number as a backup encodes a DECIMAL."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


# MySQL's type, and the primitive values of its Avro type.
TYPES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "year(4)": st.sampled_from([0, 1901, 2155]),
    "bigint": LONG,
    "bigint unsigned": st.integers(0, 2**64 - 1).map(decimal_bytes),
    "decimal(12,2)": st.integers(-(10**12) + 1, 10**12 - 1).map(decimal_bytes),
    "decimal(65,30)": st.integers(-(10**65), 10**65).map(decimal_bytes),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "date": DAYS,
    "datetime(6)": MICROS,
    "timestamp": st.integers(1, 2**31 - 1).map((10**6).__mul__),
    "varchar(99)": TEXT,
    "longblob": BYTES,
}

Rows = list[tuple[Any, ...]]


def table_of(types: list[tuple[Any, bool]]) -> Table:
    """A table with columns of these types, each of them nullable or not."""
    columns = []
    for place, (mysql_type, nullable) in enumerate(types):
        mapped = type_mapping(mysql_type)
        assert mapped is not None
        name = f"c{place}"
        columns.append(Column(name, name, mysql_type, mapped, nullable, False, False))
    return Table("any", tuple(columns), ())


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, Rows]:
    """A table and some rows for it, as primitive Avro values."""
    types = draw(
        st.lists(st.tuples(st.sampled_from(list(TYPES)), st.booleans()), min_size=1, max_size=7)
    )
    values = [st.none() | TYPES[kind] if nullable else TYPES[kind] for kind, nullable in types]
    return table_of(types), draw(st.lists(st.tuples(*values), min_size=1, max_size=12))


def plain_schema(table: Table) -> dict[str, Any]:
    """The table's Avro schema without logical types, for fastavro to write primitive values."""
    schema = table.avro_schema
    for field in schema["fields"]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        kinds = [kind["type"] if isinstance(kind, dict) else kind for kind in kinds]
        field["type"] = kinds if len(kinds) > 1 else kinds[0]
    return schema


def encode(table: Table, rows: Rows) -> bytes:
    """Rows as fastavro encodes them."""
    schema = fastavro.parse_schema(plain_schema(table))
    names = [column.avro_name for column in table.columns]
    output = io.BytesIO()
    for row in rows:
        fastavro.schemaless_writer(output, schema, dict(zip(names, row, strict=True)))
    return output.getvalue()


def decoded(table: Table, rows: Rows) -> list[ColumnChunk]:
    """Rows, encoded by fastavro and decoded by us."""
    return decode(read_columns(table.avro_schema), len(rows), encode(table, rows))


def column_of(kind: TypeMapping, *, nullable: bool) -> Column:
    return Column("c", "c", "", kind, nullable, False, False)


def values_of(chunk: ColumnChunk) -> list[Any]:
    """A column as Python's values; texts are bytes."""
    if chunk.numbers is not None:
        found: list[Any] = chunk.numbers.tolist()
    else:
        assert chunk.content is not None
        found = pieces_of(chunk.content)
    return [None if null else value for null, value in zip(chunk.nulls, found, strict=True)]


def as_bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def test_the_bytes_behind_a_null_float_are_not_read_as_one() -> None:
    """A NULL is decoded without a warning, although the bytes behind it are a signalling NaN."""
    columns = [column_of(FLOAT, nullable=True), column_of(BLOB, nullable=False)]
    null, piece = decode(columns, 1, bytes.fromhex("00 08 00 80 7f 00"))
    assert null.numbers is not None
    assert piece.content is not None
    assert (null.nulls.tolist(), null.numbers.tolist()) == ([True], [0.0])
    assert lay_out([piece.content]) == bytes.fromhex("00 80 7f 00")


@pytest.mark.parametrize("kind", [INT, STRING])
def test_no_number_has_to_follow_a_null(kind: TypeMapping) -> None:
    """A NULL is decoded although each byte of the float after it, the last, has its highest bit."""
    columns = [column_of(kind, nullable=True), column_of(DOUBLE, nullable=False)]
    null, last = decode(columns, 1, b"\0" + b"\xc1" * 8)
    assert null.nulls.tolist() == [True]
    assert last.numbers is not None
    assert last.numbers.tolist() == [struct.unpack("<d", b"\xc1" * 8)[0]]


@given(made=tables())
def test_any_row_is_decoded(made: tuple[Table, Rows]) -> None:
    """Any rows that fastavro encodes are decoded to the same values, column by column."""
    table, rows = made
    columns = [values_of(chunk) for chunk in decoded(table, rows)]
    expected = [[as_bytes(value) for value in column] for column in zip(*rows, strict=True)]
    assert columns == expected


@given(made=tables(), cut=st.integers(1, 40), extra=st.binary(max_size=9), count=st.integers(-2, 2))
def test_bytes_that_are_not_these_rows_are_refused(
    made: tuple[Table, Rows], cut: int, extra: bytes, count: int
) -> None:
    """Bytes that end early, go on, or hold another number of rows are refused."""
    table, rows = made
    columns = read_columns(table.avro_schema)
    content = encode(table, rows)
    damaged = content[: -min(cut, len(content))]
    with pytest.raises((ValueError, IndexError)):
        decode(columns, len(rows), damaged)
    if extra:
        with pytest.raises((ValueError, IndexError)):
            decode(columns, len(rows), content + extra)
    if count and len(rows) + count > 0:
        with pytest.raises((ValueError, IndexError)):
            decode(columns, len(rows) + count, content)


@given(made=tables(), noise=st.binary(min_size=1, max_size=200), count=st.integers(1, 20))
def test_noise_is_decoded_as_fastavro_does_or_refused(
    made: tuple[Table, Rows], noise: bytes, count: int
) -> None:
    """Any bytes are either an error, or exactly the rows that fastavro finds in them."""
    table, _ = made
    columns = read_columns(table.avro_schema)
    try:
        chunks = decode(columns, count, noise)
    except (ValueError, IndexError):
        return
    schema = fastavro.parse_schema(plain_schema(table))
    stream = io.BytesIO(noise)
    rows = [fastavro.schemaless_reader(stream, schema, None) for _ in range(count)]
    assert stream.read() == b""
    names = [column.avro_name for column in table.columns]
    expected = [[as_bytes(row[name]) for row in rows] for name in names]
    assert repr([values_of(chunk) for chunk in chunks]) == repr(expected)


@pytest.mark.parametrize(
    "avro_type",
    ["boolean", ["int", "null"], ["null", "int", "long"], {"type": "array", "items": "int"}, "x"],
)
def test_a_type_that_a_backup_never_has_is_refused(avro_type: Any) -> None:
    """A type that a backup never has is refused."""
    with pytest.raises(ValueError, match="is not that of a column"):
        read_type(avro_type)


def printed(column: Column, value: Any) -> bytes | None:
    """A value as MySQL prints it."""
    if value is None:
        return None
    avro = column.type.avro
    kind = avro["logicalType"] if isinstance(avro, dict) else avro
    if kind == "decimal":
        assert isinstance(avro, dict)
        number, scale = int.from_bytes(value, "big", signed=True), avro["scale"]
        digits = f"{abs(number):0{scale + 1}}"
        point = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
        return f"{'-' if number < 0 else ''}{point}".encode()
    if kind == "date":
        return str(datetime.date(1970, 1, 1) + datetime.timedelta(value)).encode()
    if kind in ("local-timestamp-micros", "timestamp-micros"):
        epoch = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - a column has no zone
        moment = epoch + datetime.timedelta(microseconds=value)
        return moment.isoformat(
            " ", "microseconds" if "6" in column.mysql_type else "seconds"
        ).encode()
    if isinstance(value, float):
        return repr(value).encode()
    if column.mysql_type.startswith("year"):
        return b"%04d" % value
    return value if isinstance(value, bytes) else str(value).encode()


def unquoted(text: bytes, columns: int) -> list[list[bytes | None]]:
    """The values in the text of an INSERT, read character by character."""
    rows: list[list[bytes | None]] = []
    at = 0
    while at < len(text):
        assert text[at : at + 1] == b"("
        at += 1
        row: list[bytes | None] = []
        for _ in range(columns):
            at += len(b"_binary") if text.startswith(b"_binary'", at) else 0
            value = bytearray()
            if text[at : at + 1] == b"'":
                at += 1
                while text[at : at + 1] != b"'":
                    at += text[at : at + 1] == b"\\"
                    value += text[at : at + 1]
                    at += 1
                at += 1
                row.append(bytes(value))
            else:
                while text[at : at + 1] not in (b",", b")"):
                    value += text[at : at + 1]
                    at += 1
                row.append(None if value == b"NULL" else bytes(value))
            at += 1
        rows.append(row)
        assert text[at : at + 1] == b","
        at += 1
    return rows


def fields_of(lines: bytes) -> list[list[bytes | None]]:
    """The values in the lines for LOAD DATA."""
    rows: list[list[bytes | None]] = [[]]
    value = bytearray()
    escaped = is_null = False
    for byte in lines:
        character = bytes([byte])
        if escaped:
            escaped = False
            is_null = character == b"N"
            value += character
        elif character == b"\\":
            escaped = True
        elif character in b"\t\n":
            rows[-1].append(None if is_null else bytes(value))
            value, is_null = bytearray(), False
            if character == b"\n":
                rows.append([])
        else:
            value += character
    assert rows.pop() == []
    return rows


@given(made=tables())
def test_the_text_of_rows_holds_their_values(made: tuple[Table, Rows]) -> None:
    """An INSERT and the lines for LOAD DATA hold each value as MySQL prints it, and NULL."""
    table, rows = made
    cells = decoded(table, rows)
    expected = [
        [printed(column, value) for column, value in zip(table.columns, row, strict=True)]
        for row in rows
    ]
    text, ends = sql_text.write(sql_text.INSERT, table.columns, cells)
    assert unquoted(text, len(table.columns)) == with_fractions(table, expected, rows)
    starts = [0, *ends.tolist()]
    assert starts[-1] == len(text)
    assert all(text[start : start + 1] == b"(" for start in starts[:-1])
    lines, _ = sql_text.write(sql_text.LINES, table.columns, cells)
    assert fields_of(lines) == with_fractions(table, expected, rows)


def with_fractions(
    table: Table, expected: list[list[bytes | None]], rows: Rows
) -> list[list[bytes | None]]:
    """The values, with fractions of a second removed if the whole column has none."""
    for place, column in enumerate(table.columns):
        if column.mysql_type == "datetime(6)":
            micros = [row[place] for row in rows if row[place] is not None]
            if not any(value % 1_000_000 for value in micros):
                for row in expected:
                    row[place] = row[place] and row[place].removesuffix(b".000000")  # type: ignore[union-attr]
    return expected


# The digest


def digest_of(table: Table, rows: Rows) -> tuple[int, ...]:
    return digest_of_chunks(table, decoded(table, rows))


def digest_of_chunks(table: Table, chunks: list[ColumnChunk]) -> tuple[int, ...]:
    ((*numbers,),) = digest.digests(table.columns, chunks).tolist()
    return tuple(numbers)


def total(digests: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The digest of all rows, given those of parts of them."""
    return tuple(sum(numbers) % 2**64 for numbers in zip(*digests, strict=True))


@given(made=tables(), cut=st.integers(0, 12), seed=st.randoms(use_true_random=False))
def test_the_digest_depends_on_the_rows_alone(
    made: tuple[Table, Rows], cut: int, seed: random.Random
) -> None:
    """Rows in any order, in any blocks, from Avro or as the server prints them, give one digest."""
    table, rows = made
    whole = digest_of(table, rows)
    shuffled = seed.sample(rows, len(rows))
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    assert total([digest_of(table, part) for part in parts]) == whole
    texts = [
        [printed(column, value) for column, value in zip(table.columns, row, strict=True)]
        for row in shuffled
    ]
    assert digest_of_chunks(table, from_rows(table.columns, texts)) == whole


@given(made=tables(), data=st.data())
def test_two_rows_that_swap_a_value_are_found(
    made: tuple[Table, Rows], data: st.DataObject
) -> None:
    """The digest changes if two rows swap a value, although each column holds the same values."""
    table, rows = made
    place = data.draw(st.integers(0, len(table.columns) - 1))
    one, other = (data.draw(st.integers(0, len(rows) - 1)) for _ in range(2))
    swapped = [list(row) for row in rows]
    swapped[one][place], swapped[other][place] = swapped[other][place], swapped[one][place]
    after = [tuple(row) for row in swapped]
    same = sorted(map(repr, normal(rows))) == sorted(map(repr, normal(after)))
    assert (digest_of(table, after) == digest_of(table, rows)) == same


def normal(rows: Rows) -> Rows:
    """The rows with 0.0 for -0.0, as MariaDB stores it."""
    return [
        tuple(0.0 if value == 0 and isinstance(value, float) else value for value in row)
        for row in rows
    ]


@pytest.mark.slow
def test_every_bit_of_a_row_counts() -> None:
    """Each bit of a row changes both sums if it is flipped, alone or with another one."""
    table = table_of([("bigint", False), ("longblob", False)])
    row = (0, bytes(17))
    flipped = [(flip(0, bit), bytes(17)) for bit in range(64)]
    flipped += [(0, (1 << bit).to_bytes(17, "big")) for bit in range(136)]
    pairs = [
        (one | other if isinstance(one, int) else one, either)
        for (one, _), (other, either) in itertools.product(flipped[:64], flipped[64:])
    ]
    found = {digest_of(table, [each]) for each in [row, *flipped, *pairs[:2000]]}
    assert len(found) == len({row, *flipped, *pairs[:2000]})
    _, first, second = zip(*found, strict=True)
    assert len(set(first)) == len(set(second)) == len(found)


def flip(number: int, bit: int) -> int:
    return int(np.array(number ^ (1 << bit), np.uint64).view(np.int64))


JSON = [
    ('{"b": 1, "a": [1.0, null]}', '{"a":[1.0,null],"b":1}', True),
    ('{"a": 123456789012345678901234}', '{"a": 1.2345678901234568e23}', False),
    ('{"a": 0.12345678901234567890}', '{"a": 0.12345678901234568}', False),
    ('{"a": 1.10}', '{"a": 1.1}', False),
    ("1e22", "1e+22", True),
    ('{"a": 1}', '{"a": 2}', False),
    ('{"a": 1}', '{"a": "1"}', False),
    ("[1, 2]", "[2, 1]", False),
    ("no json", "no json", True),
    ("no json", "no  json", False),
]


@pytest.mark.parametrize(("one", "other", "equal"), JSON)
def test_json_is_compared_by_what_it_means(one: str, other: str, equal: bool) -> None:
    """Spaces and the order of members do not change a JSON digest; all else does."""
    table = table_of([("json", True)])
    assert (digest_of(table, [(one,)]) == digest_of(table, [(other,)])) == equal
    text = table_of([("text", True)])
    assert (digest_of(text, [(one,)]) == digest_of(text, [(other,)])) == (one == other)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_double_in_json_is_taken_for_a_decimal(number: float) -> None:
    """A DOUBLE as MySQL prints it, with an exponent or without, is text alone."""
    text = f"{Decimal(repr(number)).normalize():e}".replace("e+", "e").encode()
    assert json_text.decimals(b'{"a": %s}' % text) == []
    if 1e-15 <= abs(number) < 1e15:
        plain = f"{Decimal(repr(number)):f}"
        text = (plain if "." in plain else f"{plain}.0").encode()
        assert json_text.decimals(b"[%s]" % text) == []


@given(st.decimals(-(10**30), 10**30, places=20))
def test_each_digit_of_a_decimal_in_json_is_kept(number: Decimal) -> None:
    """A DECIMAL whose digits or last zeros a DOUBLE loses is found with its path and its digits."""
    found = json_text.decimals(f'[{{"a\\"b": [0, {number:f}]}}]'.encode())
    is_double = number == Decimal(repr(float(number))) and 1e-15 <= abs(number) < 1e15
    if not is_double or f"{number:f}".endswith("0"):
        assert found == [('$[0]."a\\"b"[1]', f"{number:f}")]
    else:
        assert found == []


@pytest.mark.parametrize("name", ["int", "varchar(9)", "blob", "datetime(6)", "decimal(9,2)"])
def test_a_type_is_the_same_on_a_worker(name: str) -> None:
    """Pickled for a worker of Spark, a type is the one that others are compared with."""
    kind = type_mapping(name)
    there = pickle.loads(pickle.dumps(kind))  # noqa: S301 - our own
    assert there == kind
    assert "decimal" in name or there is kind


@pytest.mark.parametrize("text", ["no json 1.10", "1.10}", "[" * 100_000 + "1.10"])
def test_text_that_is_no_json_has_no_decimals(text: str) -> None:
    """Text that is no JSON, or nested too deeply, is left to the server."""
    assert json_text.decimals(text.encode()) == []
    assert json_text.normal(text.encode()) == text.encode()


def test_odd_values_are_compared_as_printed() -> None:
    """Values that Avro cannot hold change the digest, beside each other and beside NULL."""
    table = table_of([("date", True), ("int", True)])
    dates = [b"0000-00-00", b"2021-02-31", b"2021-02-00", b"2021-02-03", None]
    rows: list[list[bytes | None]] = [[date, b"1"] for date in dates]
    found = [digest_of_chunks(table, from_rows(table.columns, [row])) for row in rows]
    assert len(set(found)) == len(rows)
    assert digest_of_chunks(table, from_rows(table.columns, rows)) == total(found)


def test_an_invalid_record_is_written_as_printed() -> None:
    """An invalid record's quotes, backslashes, odd bytes and NULL are written as valid SQL."""
    types = ["varchar(9)", "longblob"]
    table = table_of([(kind, True) for kind in types])
    assert sql_text.printed_row(table.columns, [b"O'Neill\\", b"'\xff"]) == (
        b"('O''Neill\\\\',_binary'''\xff')"
    )
    assert sql_text.printed_row(table.columns, [b"\xfe", None]) == b"(_binary'\xfe',NULL)"
