"""What an engine is that computes frames and writes what they give.

An engine has a module of its own here. Whatever depends on the engine is a method or an attribute of this protocol:
no module outside of this folder asks which engine it has. Transformations are not part of it: they are Narwhals.
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
    """Reads tables, computes frames, and replaces dates by what they give.

    Attributes:
        needs_batches: Whether a range of dates is worked through in batches that fit into this process's memory.
        sums_changes: Whether what stands is brought up to date by what changed, where that takes less than all rows.
    """

    needs_batches: bool
    sums_changes: bool

    def scan(self, handle: DeltaTable, table: Table, dates: Sequence[tuple[date, date]] | None) -> Frame:
        """Return rows of a table at the version of its handle, lazily: the columns of its contract.

        Args:
            handle: The table, open.
            table: The table.
            dates: First and last date of spans that are enough; others may be left out. None: all dates.
        """

    def collect(self, frames: Sequence[Frame]) -> list[pl.DataFrame]:
        """Compute several frames, and fetch all of their rows."""

    def row_batches(self, frame: Frame, most: int) -> Iterator[pl.DataFrame]:
        """Compute a frame, and fetch its rows, so many at a time if the engine can."""

    def persist(self, frame: Frame) -> Frame:
        """Compute a frame now, for plans that use it several times; it stays where the engine computes."""

    def narrow(self, rows: Frame, keys: Frame, column: str) -> Frame:
        """Return all rows whose key is among some keys, and perhaps others: a filter that costs less than it spares."""

    def replace(
        self,
        targets: Sequence[tuple[Table, DeltaTable]],
        frames: Sequence[Frame],
        dates: tuple[date, date] | None,
        metadata: Mapping[str, str],
    ) -> Iterator[Replaced]:
        """Compute what is to stand in some tables, and replace it through their handles, a commit for each, in order.

        Args:
            targets: Tables, and handles to write.
            frames: The rows of each.
            dates: First and last date that are replaced; None: the whole tables, which have no dates.
            metadata: What each commit says of itself.

        Yields:
            What became of a table, once it is committed.

        Raises:
            CommitFailedError: Another writer was faster.
            LakeError: Rows do not fit their contract, or the storage cannot be used.
            StorageUnavailableError: The storage does not answer.
        """
