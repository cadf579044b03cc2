"""Parts of columns, laid out row by row: Avro's row is its columns' bytes one after the other.

Each column is one or two `Part`s: for each row a piece of some array of bytes. A block is all rows'
pieces in the right order.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hiring.export.packets import Bytes, Ints

Mask = npt.NDArray[np.bool_]

LONG_BYTES = 100
"""Pieces with a longer mean are copied one by one, which is fastest for them."""
SPARSE = 8
"""A table of this many times the bytes of its pieces takes as long as copying byte by byte."""


@dataclass(frozen=True)
class Part:
    """For each row a piece of one array of bytes."""

    source: Bytes
    starts: Ints
    lengths: Ints


def joined(pieces: Sequence[bytes]) -> Part:
    """The pieces, one for each row, one after the other in an array of their own."""
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    source = np.frombuffer(b"".join(pieces), np.uint8)
    return Part(source, np.cumsum(lengths) - lengths, lengths)


def is_utf8(texts: Part) -> bool:
    """Whether each piece is UTF-8: all are together, and none starts inside a character."""
    text = lay_out([texts])
    if text.isascii():
        return True
    first = texts.source.take(texts.starts, mode="clip")
    if ((first & 0xC0 == 0x80) & (texts.lengths > 0)).any():
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def lay_out(parts: list[Part]) -> bytes:
    """The pieces of all parts, row by row. The three ways differ only in speed."""
    rows = len(parts[0].lengths)
    total = sum(int(part.lengths.sum()) for part in parts)
    if total > LONG_BYTES * rows * len(parts):
        return _join(parts)
    widths = [int(part.lengths.max()) for part in parts]
    if rows * sum(widths) <= SPARSE * total:
        return _squeeze(parts, widths)
    return _gather(parts)


def _squeeze(parts: list[Part], widths: list[int]) -> bytes:
    """Copies pieces into a table with columns as wide as the longest, and takes what they fill."""
    cells = np.empty((len(parts[0].lengths), sum(widths)), np.uint8)
    filled = np.empty(cells.shape, np.bool_)
    end = 0
    for part, width in zip(parts, widths, strict=True):
        start, end = end, end + width
        cells[:, start:end] = cells_from(part.source, part.starts, width)
        filled[:, start:end] = _up_to(part.lengths, width)
    return cells[filled].tobytes()


def _up_to(lengths: Ints, width: int) -> Bytes | Mask:
    """For each length, a row of the width whose first `length` values are true."""
    if lengths.min() == width:
        return np.ones(1, np.bool_)
    if width < len(lengths):
        lines = np.tri(width + 1, width, -1, np.uint8)
        return cells_from(lines.reshape(-1), lengths * width, width)
    return np.arange(width) < lengths[:, None]


def _gather(parts: list[Part]) -> bytes:
    """Copies the pieces byte by byte."""
    sources = {id(part.source): part.source for part in parts}
    offsets = itertools.accumulate((len(source) for source in sources.values()), initial=0)
    offset = dict(zip(sources, offsets, strict=False))
    starts = np.stack([part.starts + offset[id(part.source)] for part in parts], axis=1).ravel()
    lengths = np.stack([part.lengths for part in parts], axis=1).ravel()
    # The place of each byte in the sources: the shift of its piece, plus its place in the result.
    ends = np.cumsum(lengths)
    places = np.repeat(starts - (ends - lengths), lengths)
    places += np.arange(ends[-1])
    return np.concatenate(list(sources.values())).take(places, mode="clip").tobytes()


def _join(parts: list[Part]) -> bytes:
    """Copies the pieces one by one."""
    pieces = []
    for part in parts:
        source = part.source.data
        ends = part.starts + part.lengths
        spans = zip(part.starts.tolist(), ends.tolist(), strict=True)
        pieces.append([source[start:end] for start, end in spans])
    return b"".join(itertools.chain.from_iterable(zip(*pieces, strict=True)))


def cells_from(source: Bytes, starts: Ints, width: int) -> Bytes:
    """`width` bytes from each start, a row each; zeros follow the end of the source."""
    if starts.max() + width > len(source):
        source = np.append(source, np.zeros(width, np.uint8))
    windows = np.ndarray(len(source) - width + 1, f"V{width}", source, strides=(1,))
    return windows[starts].view(np.uint8).reshape(len(starts), width)
