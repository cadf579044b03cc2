"""A digest of rows that does not depend on their order, to compare inserted with stored rows.

Each row is hashed as a whole: every value, in the order of the columns, goes into one 64-bit state
through a mixing function that is not linear. The digest of many rows is their number, the sum of
their hashes, and the sum of their hashes mixed once more. Two rows that swap a value change both
hashes; a sum of hashes of single values would miss that.

The keys are random for each process, so that nobody can prepare data that collides.
"""

import secrets
from collections.abc import Sequence

import numpy as np

from hiring.avro.buffers import pieces_of
from hiring.avro.columns import ColumnChunk
from hiring.avro.schema import Column
from hiring.mysql.packets import Words
from restore import json_text

START, NULL_WORD, ODD_WORD, SECOND = (np.uint64(secrets.randbits(64)) for _ in range(4))
"""A row's initial state, the words for NULL and for an odd value, and the second sum's key."""

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
    state = np.full(len(chunks[0].nulls), START) if start is None else start.copy()
    for column, each in zip(columns, chunks, strict=True):
        _mix_in(state, np.where(each.nulls, NULL_WORD, _words(column, each)))
    return state


def _words(column: Column, chunk: ColumnChunk) -> Words:
    """A word for each value: a number itself, or the hash of its bytes."""
    numbers, odd = chunk.numbers, chunk.odd
    if numbers is None:
        words = _hashes(column, chunk)
        return words if odd is None else words ^ ODD_WORD
    words = numbers.view(np.uint64)
    if numbers.dtype == np.float64:
        words = np.where(numbers == 0, 0, words)  # MariaDB stores 0 for -0
    return words if odd is None else np.where(odd, _hashes(column, chunk) ^ ODD_WORD, words)


def _hashes(column: Column, chunk: ColumnChunk) -> Words:
    """Python's hash of each text: SipHash, whose key is random for each process."""
    assert chunk.content is not None
    pieces = pieces_of(chunk.content)
    if column.mysql_type == "json":
        pieces = [json_text.normal(piece) for piece in pieces]
    return np.fromiter(map(hash, pieces), np.int64, len(pieces)).view(np.uint64)


def _mix_in(state: Words, words: Words | np.uint64) -> None:
    """Mixes a word into each state: https://prng.di.unimi.it/splitmix64.c"""
    state ^= words
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
