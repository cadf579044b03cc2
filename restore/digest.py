"""A digest of rows that does not depend on their order, to compare inserted with stored rows.

Each row is hashed as a whole: every value, in the order of the columns, goes into one 64-bit state
through a mixing function that is not linear. The digest of many rows is their number, the sum of
their hashes, and the sum of their hashes mixed once more. Two rows that swap a value change both
hashes; a sum of hashes of single values would miss that.

The keys are random for each process, so that nobody can prepare data that collides.
"""

import dataclasses
import hashlib
import secrets
from collections.abc import Sequence

import numpy as np

from hiring.avro.buffers import Part, cells_from, joined, pieces_of
from hiring.avro.columns import ColumnChunk
from hiring.avro.schema import Column
from hiring.mysql.packets import WORD_BYTES, Ints, Words
from restore import json_text

ONE_BY_ONE_BYTES = 256
"""A longer value is hashed on its own, by BLAKE2."""

KEY = secrets.token_bytes(16)
START, NULL_WORD, ODD_WORD, SECOND = (np.uint64(secrets.randbits(64)) for _ in range(4))
"""A row's initial state, the words for NULL and for an odd value, and the second sum's key."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_KEEP = np.array([2 ** (8 * count) - 1 for count in range(WORD_BYTES + 1)], np.uint64)
"""Masks that keep the first 0 to 8 bytes of a word."""


Digests = Words
"""Three numbers in each row: count, sum, and sum of the mixed hashes; they are added as they are.

The first row is of the columns that a load fills, then comes one for each generated column with
them: where only a later one differs, the server generates other values than it did.
"""


def digests(columns: Sequence[Column], chunks: Sequence[ColumnChunk]) -> Digests:
    """The digests of rows, given by column; those that the server generates come last."""
    filled = len([column for column in columns if not column.generated])
    hashes = row_hashes(columns[:filled], chunks[:filled])
    generated = zip(columns[filled:], chunks[filled:], strict=True)
    with_generated = (row_hashes([column], [chunk], hashes) for column, chunk in generated)
    return np.stack([_digest(each) for each in (hashes, *with_generated)])


def _digest(hashes: Words) -> Words:
    mixed = hashes.copy()
    _mix_in(mixed, SECOND)
    return np.array([len(hashes), np.add.reduce(hashes), np.add.reduce(mixed)], np.uint64)


def row_hashes(
    columns: Sequence[Column], chunks: Sequence[ColumnChunk], start: Words | None = None
) -> Words:
    """The hash of each row, given by column; `start` has those of the columns before these."""
    rows = len(chunks[0].nulls)
    state = np.full(rows, START) if start is None else start.copy()
    for column, each in zip(columns, chunks, strict=True):
        if column.mysql_type == "json" and each.content is not None:
            texts = [json_text.normal(piece) for piece in pieces_of(each.content)]
            each = dataclasses.replace(each, content=joined(texts))
        if each.numbers is None:
            _add_content(state, each, np.arange(rows))
            continue
        _mix_in(state, np.where(each.nulls, NULL_WORD, _words(each)))
        if each.odd is not None:
            _add_content(state, each, np.flatnonzero(each.odd))
    return state


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
