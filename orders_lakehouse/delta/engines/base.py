"""The protocol of an engine, which computes frames and writes their rows.

Each engine is one module of this folder. Everything that depends on the engine is a method or an attribute of this
protocol, so no module outside of this folder asks which engine it has. Transformations are not part of the protocol,
because Narwhals runs them on every engine.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Protocol

import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.replaced import Replaced


class Engine(Protocol):
    """Reads tables, computes frames, and replaces dates by their rows.

    Attributes:
        needs_batches: Whether a range of dates is derived in batches that fit into this process's memory.
        sums_changes: Whether sums are updated from changed rows alone, where that costs less than to read all rows.
    """

    needs_batches: bool
    sums_changes: bool

    def scan(self, handle: DeltaTable, table: Table, dates: Sequence[tuple[date, date]] | None) -> Frame:
        """Return rows of a table at the version of its handle, lazily: the columns of its contract.

        Args:
            handle: The table, open.
            table: The table.
            dates: First and last date of the spans to read; rows of other dates may be left out. None: all dates.
        """

    def collect(self, frames: Sequence[Frame]) -> list[pl.DataFrame]:
        """Compute several frames, and fetch all of their rows."""

    def row_batches(self, frame: Frame, most: int) -> Iterator[pl.DataFrame]:
        """Compute a frame, and yield at most `most` rows at a time if the engine can."""

    def persist(self, frame: Frame) -> Frame:
        """Compute a frame now, because several plans use it; its rows stay where the engine computes."""

    def narrow(self, rows: Frame, keys: Frame, column: str) -> Frame:
        """Return all rows whose key is among some keys, and perhaps others; the filter must cost less than it saves."""

    def replace(
        self,
        targets: Sequence[tuple[Table, DeltaTable]],
        frames: Sequence[Frame],
        dates: tuple[date, date] | None,
        metadata: Mapping[str, str],
    ) -> Iterator[Replaced]:
        """Compute the new rows of tables, and replace them through their handles, in order, with a commit for each.

        Args:
            targets: Tables, and handles to write through.
            frames: The new rows of each table.
            dates: First and last date to replace; None: the whole tables, which have no dates.
            metadata: Metadata of each commit.

        Yields:
            The outcome for a table, once it is committed.

        Raises:
            CommitFailedError: Another writer was faster.
            LakeError: Rows do not fit their contract, or the storage cannot be used.
            StorageUnavailableError: The storage does not answer.
        """
