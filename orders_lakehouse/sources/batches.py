"""Rows of a source in batches of bounded size, by their number and by their bytes. Nothing here knows a database."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta

import polars as pl

from orders_lakehouse.delta.batches import batch_spans
from orders_lakehouse.machine.memory import share

# More bytes in a batch are no faster.
_MOST_BYTES = 500_000_000
# What a batch takes while it is captured, as often as its bytes: what it is compared with, and what is written.
_COPIES = 2
# Rows that are read first, where the dates have as few: how wide rows are is known from then on.
_FIRST_ROWS = 10_000
# The part of a batch that dates are to fill: rows that are a little wider than those before still go with their date.
_FILLED = 0.8


def batch_bytes() -> int:
    """Bytes of a batch at most, by the memory that the settings allow; it ends with the piece that reaches them."""
    return min(_MOST_BYTES, share() // _COPIES)


def in_batches(
    counted: Mapping[date, int],
    dates: tuple[date, date],
    read: Callable[[date, date], Iterator[pl.DataFrame]],
    most_rows: int,
    most_bytes: int,
) -> Iterator[pl.DataFrame]:
    """Read a range of dates, date after date, so that a batch touches few of them and no two batches the same.

    A date beyond the bounds comes in several batches. How wide rows are is known from those that were read before:
    where they get wider, batches end by their bytes, and only the next dates are read in smaller stretches.

    Args:
        counted: Rows by date, of dates in the range.
        dates: First and last date.
        read: Reads the rows of a first to a last date, piece by piece.
        most_rows: Rows of a batch; the piece that reaches them is its last.
        most_bytes: Bytes of a batch, alike.

    Yields:
        Batches; none where there are no rows.
    """
    begin, last = dates
    left, pending = dict(counted), _Pending(most_rows, most_bytes)
    width = 0.0
    while left:
        room = most_rows if not width else max(1, min(most_rows, int(most_bytes * _FILLED / width)))
        first_rows = room if width else min(room, _FIRST_ROWS)
        (_, end), *_ = batch_spans(left, begin, last, max(1, first_rows - pending.rows))
        expected = sum(rows for day, rows in left.items() if day <= end)
        if pending.rows and pending.rows + expected > room:
            yield pending.taken()
            continue
        rows = held = 0
        for piece in read(begin, end):
            rows, held = rows + piece.height, held + _bytes_of(piece)
            if pending.is_full_with(piece):
                yield pending.taken()
        width = held / rows if rows else width
        left = {day: rows for day, rows in left.items() if day > end}
        begin = end + timedelta(days=1)
    if pending.rows:
        yield pending.taken()


class _Pending:
    """Pieces of the next batch."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self._pieces: list[pl.DataFrame] = []
        self._bytes = self.rows = 0

    def is_full_with(self, piece: pl.DataFrame) -> bool:
        """Add a piece; whether there are enough."""
        self._pieces.append(piece)
        self.rows += piece.height
        self._bytes += _bytes_of(piece)
        return self.rows >= self._most_rows or self._bytes >= self._most_bytes

    def taken(self) -> pl.DataFrame:
        """The pieces as one, which are not kept."""
        whole = pl.concat(self._pieces)
        self._pieces = []
        self._bytes = self.rows = 0
        return whole


def _bytes_of(piece: pl.DataFrame) -> int:
    return int(piece.estimated_size())
