"""The bytes of an answer, within the limits of length and time."""

import io
from collections.abc import Iterable

import reports
from hiring.deadline import Deadline


def collect(pieces: Iterable[str], deadline: Deadline) -> bytes:
    """An answer in UTF-8, made piece by piece, so that no part of it is there twice.

    Raises:
        TooManyRows: it is longer than ANSWER_BYTES.
        TimedOut: the deadline has passed.
    """
    answer = io.BytesIO()
    for piece in pieces:
        deadline.remaining()
        if answer.write(piece.encode()) and answer.tell() > reports.ANSWER_BYTES:
            raise reports.too_many()
    return answer.getvalue()
