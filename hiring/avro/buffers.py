"""Parts of columns, laid out row by row: Avro's row is its columns' bytes one after the other.

Each column is one or two `Part`s: for each row a piece of some array of bytes. A block is all rows'
pieces in the right order.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hiring.mysql.packets import Bytes, Ints

Mask = npt.NDArray[np.bool_]
Windows = npt.NDArray[np.void]

LONG_BYTES = 100
"""Pieces with a longer mean are copied one by one, which is fastest for them."""
SPARSE = 8
"""A table of this many times the bytes of its pieces takes as long as copying byte by byte."""


@dataclass(frozen=True)
class Part:
    """For each row a piece of one array of bytes.

    `stride` is the distance of the starts, if the first is 0 and all have the same; else 0.
    """

    source: Bytes
    starts: Ints
    lengths: Ints
    stride: int = 0


def part_of(cells: Bytes, lengths: Ints) -> Part:
    """The first bytes of each row of cells."""
    stride = cells.shape[1]
    return Part(cells.reshape(-1), np.arange(0, cells.size, stride), lengths, stride)


def joined(pieces: Sequence[bytes]) -> Part:
    """The pieces, one for each row, one after the other in an array of their own."""
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    source = np.frombuffer(b"".join([*pieces, b"\0"]), np.uint8)  # never empty
    return Part(source, np.cumsum(lengths) - lengths, lengths)


def pieces_of(part: Part) -> list[bytes]:
    """The piece of each row."""
    spans = zip(part.starts.tolist(), (part.starts + part.lengths).tolist(), strict=True)
    source = part.source.data
    return [source[start:end].tobytes() for start, end in spans]


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
    rows, row_width = len(parts[0].lengths), sum(widths)
    cells = np.empty(rows * row_width, np.uint8)
    filled = np.ones(rows * row_width, np.uint8)
    start = 0
    for part, width in zip(parts, widths, strict=True):
        if width:
            column = _column(cells[start:], rows, width, row_width)
            if part.stride:
                column[:] = _column(part.source, rows, width, part.stride)
            else:
                column[:] = _windows(part.source, part.starts, width)
        if part.lengths.min() < width:
            _column(filled[start:], rows, width, row_width)[:] = _up_to(part.lengths, width)
        start += width
    return cells[filled.view(np.bool_)].tobytes()


def _column(source: Bytes, rows: int, width: int, stride: int) -> Windows:
    """The first `width` bytes of each `stride` bytes, as they lie in the source."""
    return np.ndarray(rows, f"V{width}", source, strides=(stride,))


def _up_to(lengths: Ints, width: int) -> Windows:
    """For each length, a row of the width whose first `length` bytes are 1, and the others 0."""
    if width < len(lengths):
        lines = np.tri(width + 1, width, -1, np.uint8)
        return _windows(lines.reshape(-1), lengths * width, width)
    return (np.arange(width) < lengths[:, None]).view(f"V{width}").reshape(-1)


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
        source, ends = part.source.data, part.starts + part.lengths
        spans = zip(part.starts.tolist(), ends.tolist(), strict=True)
        pieces.append([source[start:end] for start, end in spans])
    return b"".join(itertools.chain.from_iterable(zip(*pieces, strict=True)))


def cells_from(source: Bytes, starts: Ints, width: int) -> Bytes:
    """`width` bytes from each start, a row each; zeros follow the end of the source."""
    return _windows(source, starts, width).view(np.uint8).reshape(len(starts), width)


def _windows(source: Bytes, starts: Ints, width: int) -> Windows:
    """`width` bytes from each start, one value each."""
    if starts.max() + width > len(source):
        source = np.append(source, np.zeros(width, np.uint8))
    return np.ndarray(len(source) - width + 1, f"V{width}", source, strides=(1,))[starts]
