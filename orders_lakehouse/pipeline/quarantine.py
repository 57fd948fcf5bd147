"""Read the quarantine by table, reason and date. Quarantine tables are written by `derive.py`."""

from dataclasses import dataclass
from datetime import date

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF
from orders_lakehouse.transforms.split import SEPARATOR


@dataclass(frozen=True)
class Chosen:
    """Selection of rows in quarantine.

    Attributes:
        tables: Cleansed tables whose quarantine is read.
        reason: Select rows that have this reason, alone or among others.
        day: Select rows that would count at this date.
    """

    tables: tuple[Table, ...] = CLEANSED
    reason: str | None = None
    day: date | None = None


def quarantined(lake: Lake, table: Table, chosen: Chosen | None = None) -> pl.LazyFrame:
    """Return rows in quarantine.

    Args:
        lake: The lake.
        table: The cleansed table that rejected the rows.
        chosen: Which of them; all by default.

    Returns:
        Columns of the quarantine table; no row where the table has not been made yet.
    """
    quarantine = QUARANTINE_OF[table.name]
    if find(lake, quarantine) is None:
        return pl.LazyFrame(schema=quarantine.schema)
    rows: pl.LazyFrame = nw.to_native(lake.scan(quarantine))
    if chosen is not None and chosen.day is not None:
        rows = rows.filter(pl.col(str(quarantine.partitioned_by)) == chosen.day)
    if chosen is not None and chosen.reason is not None:
        rows = rows.filter(has_reason(chosen.reason))
    return rows


def has_reason(reason: str, column: str = "reasons") -> pl.Expr:
    """Return whether `reasons`, or another such column, contains a reason."""
    return pl.col(column).fill_null("").str.split(SEPARATOR).list.contains(reason)


def by_reason(rows: pl.LazyFrame, table: Table) -> pl.DataFrame:
    """Count the rows of each reason by date.

    Args:
        rows: Rows in quarantine.
        table: The cleansed table that rejected the rows.

    Returns:
        date (at which the rows would count), reason, rows, captured_at (of the oldest row). A row with several reasons
        counts for each of them.
    """
    counted = rows.group_by(pl.col(str(table.partitioned_by)).alias("date"), "reasons").agg(
        rows=pl.len().cast(pl.Int64), captured_at=pl.col("captured_at").min()
    )
    each = counted.with_columns(reason=pl.col("reasons").str.split(", ")).explode("reason")
    counts = each.group_by("date", "reason").agg(pl.col("rows").sum(), pl.col("captured_at").min())
    return rows_of(nw.from_native(counts)).sort("date", "reason")
