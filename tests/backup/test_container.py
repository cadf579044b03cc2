"""Avro files are written with libdeflate, read by us and others, and refused if damaged."""

import io
import random
import zlib

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiring.avro import container
from hiring.avro.mapping import STRING
from hiring.avro.schema import Column
from local.sample import FAMILY_NAMES, GIVEN_NAMES

SCHEMA = {
    "type": "record",
    "name": "jobs",
    "fields": [{"name": "job", "type": "string", "mysqlName": "job", "mysqlType": "text"}],
}
COLUMNS = (Column("job", "job", "text", STRING, False, False, False),)
EMPLOYEE = {
    "type": "record",
    "name": "employees",
    "fields": [
        {"name": name, "type": kind}
        for name, kind in zip("abcde", ("long", "string", "long", "long", "long"), strict=True)
    ],
}


def encoded(jobs: list[str]) -> bytes:
    """Rows as Avro encodes them."""
    output = io.BytesIO()
    for job in jobs:
        fastavro.schemaless_writer(output, SCHEMA, {"job": job})
    return output.getvalue()


def file_of(*blocks: list[str]) -> bytes:
    """The content of a file with these blocks."""
    output = io.BytesIO()
    writer = container.Writer(output.write, SCHEMA)
    for block in blocks:
        writer.write_block(len(block), encoded(block))
    return output.getvalue()


def read(content: bytes) -> tuple[tuple[Column, ...], list[tuple[int, bytes]]]:
    """The columns and all encoded rows of a file."""
    columns, blocks = container.read(io.BytesIO(content))
    return columns, list(blocks)


def test_fastavro_reads_what_is_written() -> None:
    """fastavro reads the schema with its additions, and the rows of all blocks."""
    content = file_of(["Clerk", "x" * 300_000], [""])
    reader = fastavro.reader(io.BytesIO(content))
    assert [row["job"] for row in reader] == ["Clerk", "x" * 300_000, ""]
    assert reader.codec == "deflate"
    assert reader.metadata["avro.schema"] is not None
    assert read(content)[0] == COLUMNS


@given(rows=st.lists(st.text(max_size=20), min_size=1))
@settings(max_examples=50)
def test_what_fastavro_writes_is_read(rows: list[str]) -> None:
    """A fastavro file of many small blocks is read: schema and encoded rows."""
    output = io.BytesIO()
    records = [{"job": row} for row in rows]
    fastavro.writer(output, SCHEMA, records, codec="deflate", sync_interval=30)
    columns, blocks = read(output.getvalue())
    assert columns == COLUMNS
    assert sum(count for count, _ in blocks) == len(rows)
    assert b"".join(content for _, content in blocks) == encoded(rows)


def test_a_long_block_is_read() -> None:
    """A block of many times the usual size is read whole, however well it compresses."""
    for text in ("x" * 20_000_000, zlib.compress(b"x" * 3_000_000).hex() * 2_000):
        assert read(file_of([text]))[1] == [(1, encoded([text]))]


def test_libdeflate_compresses_nearly_as_well_as_zlib() -> None:
    """A block of employees is with libdeflate at most a hundredth larger than with zlib."""
    chance = random.Random(1)
    names = [f"{given} {family}" for given in GIVEN_NAMES for family in FAMILY_NAMES]
    output = io.BytesIO()
    for number in range(20_000):
        hired = 1_609_459_200_000_000 + chance.randrange(365 * 86400) * 1_000_000
        row = (number, chance.choice(names), hired, chance.randrange(12), chance.randrange(60))
        fastavro.schemaless_writer(output, EMPLOYEE, dict(zip("abcde", row, strict=True)))
    content = output.getvalue()
    assert len(container.compress(content)) <= 1.01 * len(zlib.compress(content, 5))


@pytest.mark.parametrize("cut", range(1, len(file_of(["Clerk"])) - len(file_of())))
def test_a_file_that_ends_early_is_refused(cut: int) -> None:
    """A file that ends within a block is refused."""
    content = file_of(["Clerk"])
    with pytest.raises(ValueError, match=r"ends|deflate|decompress|marker"):
        read(content[:-cut])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends too early"),
        (b"PK\x03\x04 and so on", "not an Avro file"),
        (file_of(["Clerk"])[:-1] + b"?", "marker"),
        (file_of(["Clerk"]) + b"\xff" * 11, "a number is too long"),
        (file_of(["Clerk"]) + b"\x01\x02", "impossible length"),
    ],
)
def test_a_file_that_is_not_avro_is_refused(content: bytes, reason: str) -> None:
    """A file that is not Avro, or is damaged, is refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        read(content)


@pytest.mark.parametrize("codec", ["bzip2", "null"])
def test_an_unknown_codec_is_refused(codec: str) -> None:
    """A file with a codec that this project never writes is refused, naming the codec."""
    output = io.BytesIO()
    fastavro.writer(output, SCHEMA, [{"job": "Clerk"}], codec=codec)
    with pytest.raises(ValueError, match=f"its codec is {codec}"):
        read(output.getvalue())


def test_a_damaged_block_is_refused() -> None:
    """A damaged block is refused with either library."""
    with pytest.raises(ValueError, match="a block"):
        container.decompress(b"\xff" * 50)
    with pytest.raises(ValueError, match="a block"):
        container.decompress(container.compress(b"x" * 1000)[:-2])
