"""Compute frames on their engine: the functions that the rest of the package calls.

`engines/` says what each engine does; no other module asks which engine a frame has.
"""

from collections.abc import Iterator

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.engines.choice import engine_of


def collect(*frames: Frame) -> list[pl.DataFrame]:
    """Compute several frames at once, and fetch all of their rows; shared parts are computed once."""
    return engine_of(*frames).collect(frames)


def rows_of(frame: Frame) -> pl.DataFrame:
    """Compute one frame, and fetch all of its rows."""
    (rows,) = collect(frame)
    return rows


def row_batches(frame: Frame, most: int) -> Iterator[pl.DataFrame]:
    """Compute one frame, and yield at most `most` rows at a time; some engines yield all rows at once."""
    return engine_of(frame).row_batches(frame, most)


def persist(frame: Frame) -> Frame:
    """Compute a frame now, because several plans use it."""
    return engine_of(frame).persist(frame)


def fetch(frame: Frame) -> Frame:
    """Compute a frame of few rows now, and hold them in this process."""
    return nw.from_native(rows_of(frame).lazy())


def narrow(rows: Frame, keys: Frame, column: str) -> Frame:
    """Return all rows whose key is among some keys, and perhaps others; the engine drops what it can drop cheaply.

    Args:
        rows: Rows with the column.
        keys: The keys, in a column of the same name.
        column: Name of the column.
    """
    return engine_of(keys).narrow(rows, keys, column)
