"""Putting row versions into raw."""

from dataclasses import dataclass

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.tables import Table
from orders_lakehouse.lake.delta import Lake, rows_of
from orders_lakehouse.lake.history import record_key_dates

# A version whose clock is further ahead of its capture than this is captured as of the day of the capture.
_TOLERANCE = "1d"


@dataclass(frozen=True)
class Captured:
    """What became of a batch of versions.

    Attributes:
        new: Versions that were not in raw before.
        present: Capture date (as the source counts) of each row of the batch that stands in raw now.
    """

    new: int
    present: pl.Series


def capture(lake: Lake, table: Table, rows: pl.DataFrame, calendar: Calendar) -> Captured:
    """Insert the versions that raw does not have yet.

    Args:
        lake: The lake.
        table: A raw table.
        rows: Its columns.
        calendar: First partition and time zone.

    Returns:
        What became of the rows, read back from the table.
    """
    identity = (*table.key, "updated_at")
    rows = _at_first_capture(lake, table, rows.with_columns(counts_on="captured_on"), identity)
    # The index first: an entry without its version is harmless, a version without its entry would not be found.
    record_key_dates(lake, table, rows, calendar)
    new = lake.insert_new(table, rows, identity)
    return Captured(new, lake.present(table, rows, identity)["counts_on"])


def _at_first_capture(lake: Lake, table: Table, rows: pl.DataFrame, identity: tuple[str, ...]) -> pl.DataFrame:
    """Give a version with a clock in the future the date on which it was captured first, so that it stands once."""
    is_ahead = pl.col("updated_at") > pl.col("captured_at").dt.offset_by(_TOLERANCE)
    ahead = rows.filter(is_ahead)
    if ahead.is_empty():
        return rows
    earliest = min(ahead["updated_at"].to_list())
    known = rows_of(
        lake.scan(table)
        .filter(nw.col("updated_at") >= nw.lit(earliest), nw.col("captured_on") < nw.col("updated_at").dt.date())
        .group_by(*identity)
        .agg(first_captured_on=nw.col("captured_on").min())
    )
    dated = ahead.join(known, on=identity, how="left").with_columns(
        captured_on=pl.coalesce("first_captured_on", "captured_on")
    )
    return pl.concat([rows.filter(~is_ahead), dated.select(rows.columns)])
