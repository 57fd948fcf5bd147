"""How a plan becomes rows, on whichever engine it is: the functions that the rest of the package calls.

What an engine does is in `engines/`; nothing else asks which engine a frame is on.
"""

from collections.abc import Iterator

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.engines.choice import engine_of


def collect(*frames: Frame) -> list[pl.DataFrame]:
    """Run several plans at once, and fetch all of their rows; what the plans share is computed once."""
    return engine_of(*frames).collect(frames)


def rows_of(frame: Frame) -> pl.DataFrame:
    """Run one plan, and fetch all of its rows."""
    (rows,) = collect(frame)
    return rows


def row_batches(frame: Frame, most: int) -> Iterator[pl.DataFrame]:
    """Run one plan, and hold so many of its rows at a time; all at once where the engine has no other way."""
    return engine_of(frame).row_batches(frame, most)


def persist(frame: Frame) -> Frame:
    """Compute a frame now, for plans that use it several times."""
    return engine_of(frame).persist(frame)


def fetch(frame: Frame) -> Frame:
    """Compute a frame of few rows now, and have them in this process."""
    return nw.from_native(rows_of(frame).lazy())


def narrow(rows: Frame, keys: Frame, column: str) -> Frame:
    """Return all rows whose key is among some keys, and perhaps others: those that the engine can leave out cheaply.

    Args:
        rows: Rows with the column.
        keys: The keys, in a column of the same name.
        column: Name of the column.
    """
    return engine_of(keys).narrow(rows, keys, column)
