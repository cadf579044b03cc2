"""Numbers of printed dates and times, a column at a time.

Eight printed bytes are one number of 64 bits, so that one operation takes the place of eight.
"""

import numpy as np

from hiring.avro.buffers import Mask, Part, cells_from
from hiring.mysql.packets import WORD_BYTES, Bytes, Ints, Words

MONTHS = np.arange("0001-01", "10000-02", dtype="M8[M]").astype("M8[D]").astype(np.int64)
"""The first day of each month from January of year 1 on, in days since 1970-01-01."""
_DATE, _TIME, _TIME_AND_POINT = 10, 19, 20
"""Lengths of `2021-07-27`, `2021-07-27 16:02:08` and `2021-07-27 16:02:08.`."""
WIDTHS = (_DATE, _TIME, *range(_TIME_AND_POINT + 1, _TIME_AND_POINT + 7))
_LOWEST = b"0000-00-00 00:00:00.000000"

_HIGH_BITS = np.uint64(0x8080808080808080)


def plain_times(values: Part, width: int) -> tuple[Ints, Mask]:
    """Times of this width that are in the calendar, 0 for all others; and which they are."""
    words, plain = _digits(values, width)
    plain &= values.lengths == width
    # At the place of each digit, the number that it makes with the next one.
    pairs = [word * np.uint64(10) + (word >> np.uint64(8)) for word in words]
    century, rest, month, day = (_bytes(pairs, place) for place in (0, 2, 5, 8))
    year = century * np.int64(100) + rest
    index = np.clip(year * 12 + month - 13, 0, len(MONTHS) - 2)
    numbers = MONTHS[index] + day - 1
    plain &= (year > 0) & (month > 0) & (month < 13) & (day > 0)
    plain &= numbers < MONTHS[index + 1]
    if width > _DATE:
        hour, minute, second = (_bytes(pairs, place) for place in (11, 14, 17))
        plain &= (hour < 24) & (minute < 60) & (second < 60)
        for number, base in ((hour, 24), (minute, 60), (second, 60)):
            numbers *= base
            numbers += number
        numbers *= 1_000_000
    for place in range(_TIME_AND_POINT, width):
        numbers += _bytes(words, place) * np.int64(10 ** (_TIME_AND_POINT + 5 - place))
    numbers *= plain
    return numbers, plain


def _digits(values: Part, width: int) -> tuple[list[Words], Mask]:
    """The digits of the first bytes, eight in a word, the first lowest; and which are of a time."""
    count = -(-width // WORD_BYTES)
    table = cells_from(values.source, values.starts, count * WORD_BYTES).view("<u8")
    lowest = _LOWEST[:width].ljust(count * WORD_BYTES, b"\0")
    highest = lowest.replace(b"0", b"9")
    # A byte to which 0x7F less its highest value is added has its high bit set if it is over that.
    most = bytes(0x7F - (high - low) for high, low in zip(highest, lowest, strict=True))
    words = []
    wrong = np.zeros(len(table), np.uint64)
    for place in range(count):
        of_word = slice(place * WORD_BYTES, (place + 1) * WORD_BYTES)
        word = table[:, place] ^ _word(lowest[of_word])
        if place == count - 1:
            word &= _word(b"\xff" * (width - place * WORD_BYTES))
        wrong |= (word + _word(most[of_word])) | word
        words.append(word)
    return words, wrong & _HIGH_BITS == 0


def _bytes(words: list[Words], place: int) -> Bytes:
    """One byte of each value."""
    return words[place // WORD_BYTES].view(np.uint8)[place % WORD_BYTES :: WORD_BYTES]


def _word(content: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(content, "little"))
