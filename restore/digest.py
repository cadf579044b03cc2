"""A digest of rows that does not depend on their order, to compare inserted with stored rows.

Each row is hashed as a whole: every value, in the order of the columns, goes into one 64-bit state
through a mixing function that is not linear. The digest of many rows is their number, the sum of
their hashes, and the sum of their hashes mixed once more. Two rows that swap a value change both
hashes; a sum of hashes of single values would miss that.

The keys are random for each process, so that nobody can prepare data that collides.
"""

import dataclasses
import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiring.avro.buffers import Part, cells_from, joined, pieces_of
from hiring.avro.columns import ColumnChunk
from hiring.avro.schema import Column
from hiring.mysql.packets import WORD_BYTES, Ints, Words

ONE_BY_ONE_BYTES = 256
"""A longer value is hashed on its own, by BLAKE2."""
MODULUS = 2**64

KEY = secrets.token_bytes(16)
START, NULL_WORD, ODD_WORD, SECOND = (np.uint64(secrets.randbits(64)) for _ in range(4))
"""A row's initial state, the words for NULL and for an odd value, and the second sum's key."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_KEEP = np.array([2 ** (8 * count) - 1 for count in range(WORD_BYTES + 1)], np.uint64)
"""Masks that keep the first 0 to 8 bytes of a word."""


@dataclass(frozen=True)
class Digest:
    """The digest of some rows; the sum of two digests is that of all their rows."""

    rows: int = 0
    first: int = 0
    second: int = 0

    def __add__(self, other: "Digest") -> "Digest":
        return Digest(
            self.rows + other.rows,
            (self.first + other.first) % MODULUS,
            (self.second + other.second) % MODULUS,
        )


Digests = tuple[Digest, ...]
"""The digest of the columns that a load fills, then for each generated column one of them with it.

Where only a later one differs, the server generates other values than it did.
"""


def digests(columns: Sequence[Column], chunks: Sequence[ColumnChunk]) -> Digests:
    """The digests of rows, given by column; those that the server generates come last."""
    filled = len([column for column in columns if not column.generated])
    hashes = row_hashes(columns[:filled], chunks[:filled])
    with_generated = (
        row_hashes([column], [chunk], hashes)
        for column, chunk in zip(columns[filled:], chunks[filled:], strict=True)
    )
    return tuple(digest_of(each) for each in (hashes, *with_generated))


def add(some: Digests, more: Digests) -> Digests:
    """The digests of all rows of both; those of no row may be an empty tuple."""
    return tuple(a + b for a, b in zip(some, more, strict=True)) if some else more


def digest(columns: Sequence[Column], chunks: Sequence[ColumnChunk]) -> Digest:
    """The digest of rows, given by column."""
    return digest_of(row_hashes(columns, chunks))


def row_hashes(
    columns: Sequence[Column], chunks: Sequence[ColumnChunk], start: Words | None = None
) -> Words:
    """The hash of each row, given by column.

    Args:
        columns: of the rows.
        chunks: their values.
        start: the hashes of the columns before these, if there are any.
    """
    rows = len(chunks[0].nulls)
    state = np.full(rows, START) if start is None else start.copy()
    for column, each in zip(columns, chunks, strict=True):
        if column.mysql_type == "json":
            each = _normalised(each)
        if each.numbers is None:
            _add_content(state, each, np.arange(rows))
            continue
        _mix_in(state, np.where(each.nulls, NULL_WORD, _words(each)))
        if each.odd is not None:
            _add_content(state, each, np.flatnonzero(each.odd))
    return state


def digest_of(hashes: Words) -> Digest:
    """The digest of rows, given their hashes."""
    mixed = hashes.copy()
    _mix_in(mixed, SECOND)
    return Digest(len(hashes), int(np.add.reduce(hashes)), int(np.add.reduce(mixed)))


def _words(chunk: ColumnChunk) -> Words:
    assert chunk.numbers is not None
    words = chunk.numbers.view(np.uint64)
    if chunk.numbers.dtype == np.float64:
        words = np.where(chunk.numbers == 0, 0, words)  # MariaDB stores 0 for -0
    return words if chunk.odd is None else np.where(chunk.odd, ODD_WORD, words)


def _mix_in(state: Words, words: Words | np.uint64) -> None:
    """Mixes a word into each state: https://prng.di.unimi.it/splitmix64.c"""
    state ^= words
    state ^= state >> np.uint64(30)
    state *= _FIRST
    state ^= state >> np.uint64(27)
    state *= _SECOND
    state ^= state >> np.uint64(31)


def _add_content(state: Words, chunk: ColumnChunk, rows: Ints) -> None:
    """Mixes pieces into the states of their rows: the length, then the bytes, eight at a time."""
    part = chunk.content
    assert part is not None
    lengths = part.lengths[rows]
    mixed = state[rows]
    kind = lengths.astype(np.uint64)
    if chunk.odd is not None:
        kind ^= ODD_WORD
    _mix_in(mixed, np.where(chunk.nulls[rows], NULL_WORD, kind))
    is_long = lengths > ONE_BY_ONE_BYTES
    if is_long.any():
        longs = np.flatnonzero(is_long)
        words = _long_words(part, rows[longs])
        one_by_one = mixed[longs]
        _mix_in(one_by_one, words)
        mixed[longs] = one_by_one
    left = np.where(is_long | chunk.nulls[rows], 0, lengths)
    at = part.starts[rows]
    while (more := left > 0).any():
        if more.all():
            _mix_in(mixed, _next_words(part, at, left))
        else:
            some = np.flatnonzero(more)
            of_some = mixed[some]
            _mix_in(of_some, _next_words(part, at[some], left[some]))
            mixed[some] = of_some
        at = at + WORD_BYTES
        left = left - WORD_BYTES
    state[rows] = mixed


def _next_words(part: Part, at: Ints, left: Ints) -> Words:
    cells = cells_from(part.source, at, WORD_BYTES)
    return cells.view("<u8").reshape(-1) & _KEEP[np.minimum(left, WORD_BYTES)]


def _long_words(part: Part, rows: Ints) -> Words:
    spans = zip(part.starts[rows].tolist(), part.lengths[rows].tolist(), strict=True)
    hashes = [
        hashlib.blake2b(part.source[start : start + length].data, digest_size=WORD_BYTES, key=KEY)
        for start, length in spans
    ]
    return np.frombuffer(b"".join(each.digest() for each in hashes), np.uint64)


# JSON


def _normalised(chunk: ColumnChunk) -> ColumnChunk:
    """JSON without what a MySQL JSON column does not keep.

    That is spaces, the order of members, and whether a number was DECIMAL or DOUBLE.
    """
    assert chunk.content is not None
    texts = [_normal_json(piece) for piece in pieces_of(chunk.content)]
    return dataclasses.replace(chunk, content=joined(texts))


def _normal_json(text: bytes) -> bytes:
    try:
        return json.dumps(json.loads(text, parse_int=_json_number), sort_keys=True).encode()
    except ValueError:
        return text


def _json_number(digits: str) -> int | float:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)
