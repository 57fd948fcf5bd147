"""The engine in this process: Polars reads and computes, deltalake writes rows from memory."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta import commits, object_store
from orders_lakehouse.delta.conforming import conform
from orders_lakehouse.delta.date_predicates import day_of, few_spans, within
from orders_lakehouse.delta.differences import changed_dates
from orders_lakehouse.delta.engines.base import Engine
from orders_lakehouse.delta.replaced import Replaced, sampled
from orders_lakehouse.delta.schema_evolution import as_contract
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_files import has_rows


class PolarsEngine(Engine):
    """Computes in the memory of this process."""

    needs_batches = True
    sums_changes = True

    def scan(self, handle: DeltaTable, table: Table, dates: Sequence[tuple[date, date]] | None) -> Frame:
        """Return rows of a table at the version of its handle, lazily, without files of other dates."""
        predicate = None if dates is None else within(str(table.partitioned_by), dates) or "false"
        return as_contract(nw.from_native(object_store.scan(handle, predicate)), handle, table)

    def collect(self, frames: Sequence[Frame]) -> list[pl.DataFrame]:
        """Compute several frames at once; shared parts are computed once."""
        plans = [nw.to_native(frame) for frame in frames]
        with explain_storage_errors(*plans):
            return pl.collect_all(plans, engine="streaming")

    def row_batches(self, frame: Frame, most: int) -> Iterator[pl.DataFrame]:
        """Compute a frame, and yield at most `most` rows at a time."""
        plan: pl.LazyFrame = nw.to_native(frame)
        with explain_storage_errors(plan):
            yield from plan.collect_batches(chunk_size=most, engine="streaming")

    def persist(self, frame: Frame) -> Frame:
        """Compute a frame, and keep its rows in memory."""
        (rows,) = self.collect([frame])
        return nw.from_native(rows.lazy())

    def narrow(self, rows: Frame, keys: Frame, column: str) -> Frame:
        """Return the rows between the least and the greatest key; both are computed first.

        In most shops, keys grow with time, and so does an appended table. For the keys of a few dates, most of its row
        groups need not be read.
        """
        (edges,) = self.collect([keys.select(nw.col(column).min().alias("least"), nw.col(column).max())])
        least, greatest = edges.row(0)
        if least is None:
            return rows.head(0)
        return rows.filter(nw.col(column).is_between(nw.lit(least), nw.lit(greatest)))

    def replace(
        self,
        targets: Sequence[tuple[Table, DeltaTable]],
        frames: Sequence[Frame],
        dates: tuple[date, date] | None,
        metadata: Mapping[str, str],
    ) -> Iterator[Replaced]:
        """Compute all frames at once, and write the dates whose rows differ from the stored ones."""
        for (table, handle), rows in zip(targets, self.collect(frames), strict=True):
            yield _replace(handle, table, rows, dates, metadata)


POLARS = PolarsEngine()


def _replace(
    handle: DeltaTable, table: Table, rows: pl.DataFrame, dates: tuple[date, date] | None, metadata: Mapping[str, str]
) -> Replaced:
    """Write the dates whose rows differ from the stored ones, and claim all dates."""
    rows = conform(rows, table)
    column = table.partitioned_by
    is_in_range = pl.lit(True) if dates is None else pl.col(str(column)).is_between(*dates)
    if has_rows(handle, table, dates):
        stored: pl.LazyFrame = nw.to_native(POLARS.scan(handle, table, dates and [dates]))
        changed = changed_dates(stored.filter(is_in_range), rows.lazy(), table)
    else:
        changed = rows.select(date=day_of(table))["date"].unique().sort()
    claims = commits.replacing_commit(handle, dates, changed, metadata)
    if changed.is_empty():
        commits.write(handle, rows.clear(), mode="append", commit_properties=claims)
    elif dates is None:
        commits.write(handle, rows, mode="overwrite", predicate="true", commit_properties=claims)
    else:
        written = few_spans(changed.filter(changed.is_between(*dates))) or [dates]
        day = pl.col(str(column))
        # Rows outside of the dates are written too, so that the predicate refuses them with an error.
        is_changed = day.is_in(changed.implode(), nulls_equal=True)
        new = rows.filter(pl.any_horizontal(is_changed, *(day.is_between(first, last) for first, last in written)))
        predicate = within(str(column), written)
        commits.write(handle, new, mode="overwrite", predicate=predicate, commit_properties=claims)
        commits.checkpoint_if_large(handle, len(changed))
    by_date = rows.group_by(date=day_of(table)).agg(rows=pl.len().cast(pl.Int64))
    return Replaced(by_date, sampled(rows, column), changed)
