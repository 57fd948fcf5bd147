"""Write the tombstones of reconciliation, for rows that left the shop without being marked as deleted."""

from datetime import datetime

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.raw import AHEAD_HOURS, BY_RECONCILIATION
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.batches import batch_spans, row_limit
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.key_index import record_key_dates
from orders_lakehouse.transforms.versions import current_versions

# Columns that identify the version of a key that is gone: its clock, and where and when it was captured.
KNOWN = ("updated_at", "captured_on", "captured_at")


def end_rows(lake: Lake, table: Table, gone: pl.DataFrame, seen_at: datetime, calendar: Calendar, run_id: str) -> int:
    """Write a tombstone for each row that is gone.

    A tombstone copies the content, the clock and the partition of the version that it ends, so that the row counts on
    the same date. A row that returns with that clock differs from the tombstone, so it is captured again and wins.

    Args:
        lake: The lake.
        table: A raw table.
        gone: The key, updated_at, captured_on and captured_at of the current version of each row that is gone.
        seen_at: The source's now() when the rows were missing.
        calendar: First partition, and when dates begin.
        run_id: Run that the tombstones are written for.

    Returns:
        The number of tombstones. They are written a few dates at a time: after a crash those written stay, and the
        other rows are still gone.
    """
    if gone.is_empty():
        return 0
    by_date = dict(gone.group_by("captured_on").agg(pl.len().cast(pl.Int64)).iter_rows())
    written = 0
    for first, last in batch_spans(by_date, min(by_date), max(by_date), row_limit()):
        of_dates = gone.filter(pl.col("captured_on").is_between(first, last))
        versions: pl.LazyFrame = nw.to_native(lake.scan(table, dates=of_dates["captured_on"].unique().sort().to_list()))
        ended = versions.join(of_dates.lazy(), on=[*table.key, *KNOWN], how="semi", nulls_equal=True)
        # Rows may share a key and a clock; one tombstone stands for all of them.
        current = rows_of(current_versions(nw.from_native(ended), table.key)).select(table.columns)
        dead = at_known_clock(current, seen_at, calendar).with_columns(
            deleted_at=pl.lit(seen_at).cast(table.schema["deleted_at"]), run_id=pl.lit(run_id)
        )
        record_key_dates(lake, table, dead, calendar)
        written += lake.insert_new(table, dead, (*table.key, "updated_at"))
    return written


def at_known_clock(rows: pl.DataFrame, seen_at: datetime, calendar: Calendar) -> pl.DataFrame:
    """Turn rows into versions that follow others at the others' clock: at equal clocks, the last capture wins.

    Args:
        rows: Columns of a raw table; `updated_at` and `captured_on` are those of the version that each row follows.
        seen_at: The source's now() of the capture.
        calendar: When dates begin.

    Returns:
        The rows as captured by reconciliation. A clock that runs ahead would be rejected by a rule, so it is replaced
        by the instant of the capture.
    """
    now = pl.lit(seen_at).cast(rows.schema["captured_at"])
    is_ahead = (pl.col("updated_at") > now.dt.offset_by(f"{AHEAD_HOURS}h")).fill_null(value=False)
    return rows.with_columns(
        updated_at=pl.when(is_ahead).then(now).otherwise("updated_at"),
        captured_on=pl.when(is_ahead).then(pl.lit(calendar.date_of(seen_at))).otherwise("captured_on"),
        captured_at=now,
        change=pl.lit(BY_RECONCILIATION),
        sequence=pl.lit(0, dtype=pl.Int64),
    )
