"""A set of whole numbers that takes little memory and answers for many of them at once."""

import numpy as np
import numpy.typing as npt

from hiring.avro.buffers import Mask
from hiring.mysql.packets import Ints

PAGE_BITS = 6
"""A page is a word of 64 bits, one for each of 64 consecutive numbers."""
_PLACE = (1 << PAGE_BITS) - 1


class Ids:
    """Whole numbers between -2**63 and 2**64.

    A million consecutive numbers take 0.25 MB, a million scattered ones at most 16 MB.
    """

    def __init__(self) -> None:
        self._pages = np.zeros(0, np.int64)  # sorted
        self._bits = np.zeros(0, np.uint64)

    def __contains__(self, number: int) -> bool:
        page = number >> PAGE_BITS
        at = int(self._pages.searchsorted(page))
        if at == len(self._pages) or self._pages[at] != page:
            return False
        return bool(int(self._bits[at]) >> (number & _PLACE) & 1)

    def holds(self, numbers: Ints) -> Mask:
        """Which of the numbers are in the set."""
        if not len(self._pages):
            return np.zeros(len(numbers), np.bool_)
        pages = numbers >> PAGE_BITS
        at = self._pages.searchsorted(pages)
        bits = self._bits.take(at, mode="clip") >> (numbers & _PLACE).astype(np.uint64)
        found: Mask = self._pages.take(at, mode="clip") == pages
        return found & (bits & np.uint64(1)).astype(np.bool_)

    def add(self, numbers: Ints) -> None:
        """Adds numbers."""
        self._add(numbers >> PAGE_BITS, np.uint64(1) << (numbers & _PLACE).astype(np.uint64))

    def add_any(self, numbers: set[int]) -> None:
        """Adds numbers that may be too large for an array of whole numbers."""
        pages = np.array([number >> PAGE_BITS for number in numbers], np.int64)
        self._add(pages, np.array([1 << (number & _PLACE) for number in numbers], np.uint64))

    def _add(self, pages: Ints, bits: npt.NDArray[np.uint64]) -> None:
        fresh = np.setdiff1d(pages, self._pages)
        at = self._pages.searchsorted(fresh)
        self._pages = np.insert(self._pages, at, fresh)
        self._bits = np.insert(self._bits, at, np.uint64(0))
        np.bitwise_or.at(self._bits, self._pages.searchsorted(pages), bits)
