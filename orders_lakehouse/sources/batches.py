"""Group rows of a source into batches of bounded size, by rows and by bytes. No function here knows a database."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta

import polars as pl

from orders_lakehouse.delta.batches import batch_spans
from orders_lakehouse.machine.memory import share

# Most bytes of a batch; larger batches are no faster.
_MOST_BYTES = 500_000_000
# Factor for the memory of a batch while it is captured: stored rows to compare with, and rows to write.
_COPIES = 2
# Number of rows that are read first, if dates have so few; they tell how wide rows are.
_FIRST_ROWS = 10_000
# Share of a batch that dates are planned to fill, so that rows a little wider than before still fit with their date.
_FILLED = 0.8


def batch_bytes() -> int:
    """Return the bytes at which a batch ends, by the memory that the settings allow."""
    return min(_MOST_BYTES, share() // _COPIES)


def in_batches(
    counted: Mapping[date, int],
    dates: tuple[date, date],
    read: Callable[[date, date], Iterator[pl.DataFrame]],
    most_rows: int,
    most_bytes: int,
) -> Iterator[pl.DataFrame]:
    """Read a range of dates in order, in batches of few dates each.

    A date is split over several batches only if it exceeds the bounds. The width of rows is estimated from rows that
    were read before. If rows get wider, a batch ends by its bytes, and fewer of the following dates are read at once.

    Args:
        counted: Rows by date, for dates in the range.
        dates: First and last date.
        read: Reads the rows from a first to a last date, piece by piece.
        most_rows: Number of rows at which a batch ends; the piece that reaches it is its last.
        most_bytes: Number of bytes at which a batch ends, likewise.

    Yields:
        Batches; none if there are no rows.
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
        """Add a piece, and return whether the batch is full."""
        self._pieces.append(piece)
        self.rows += piece.height
        self._bytes += _bytes_of(piece)
        return self.rows >= self._most_rows or self._bytes >= self._most_bytes

    def taken(self) -> pl.DataFrame:
        """Return all pieces as one frame, and start the next batch."""
        whole = pl.concat(self._pieces)
        self._pieces = []
        self._bytes = self.rows = 0
        return whole


def _bytes_of(piece: pl.DataFrame) -> int:
    return int(piece.estimated_size())
