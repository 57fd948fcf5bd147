"""Heal the differences between the shop and raw: capture missed rows, write tombstones for rows that are gone.

When a large share of the keys of a table or date disappears at once, a broken view or an emptied table is likely. Such
rows are reported and stay until somebody allows their removal.
"""

from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import bridged, spans
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.affected_dates import unaccounted_dates
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.pipeline.derive import derive
from orders_lakehouse.pipeline.reconciliation import GONE, Compared
from orders_lakehouse.pipeline.tombstones import KNOWN, at_known_clock, end_rows
from orders_lakehouse.sources.base import Batch, Window
from orders_lakehouse.sources.registry import sources_of
from orders_lakehouse.tables import entity_of

# Minimum keys of a date, or of a table, for a share to mean something.
_FEWEST_KEYS = 20
# Maximum number of date ranges that the shop is asked for.
_STRETCHES = 20


@dataclass(frozen=True)
class Healed:
    """Outcome of the healing of a table.

    Attributes:
        ended: Number of tombstones written.
        captured: Number of versions captured.
        held: Dates whose gone rows stay until somebody allows their removal; columns of `held_back`.
    """

    ended: int
    captured: int
    held: pl.DataFrame


def held_back(standing: pl.DataFrame, gone: pl.DataFrame, limit: float) -> pl.DataFrame:
    """Return the dates that have lost more rows than may be removed without permission.

    Args:
        standing: date, rows: rows of raw that are not deleted, by capture date.
        gone: date, rows: those of them that the shop no longer has.
        limit: Share of a table's or a date's rows that may be gone at once, 0 to 1; 1 allows everything.

    Returns:
        date, gone, keys (before the loss), of_table. If the share of the table is too large, or nothing is left of it:
        all dates with gone rows, and the counts of the table. Otherwise: the dates with at least twenty keys whose own
        share is too large, and their counts.
    """
    of_dates = gone.join(standing, on="date", how="left", suffix="_standing").select(
        "date", gone="rows", keys=pl.col("rows_standing").fill_null(0)
    )
    lost, stood = int(gone["rows"].sum()), int(standing["rows"].sum())
    of_table = limit < 1 and ((stood >= _FEWEST_KEYS and lost > limit * stood) or (lost > 1 and lost >= stood))
    is_too_much = (pl.col("keys") >= _FEWEST_KEYS) & (pl.col("gone") > limit * pl.col("keys"))
    whole = of_dates.with_columns(gone=pl.lit(lost, pl.Int64), keys=pl.lit(stood, pl.Int64))
    held = whole if of_table else of_dates.filter(is_too_much)
    return held.with_columns(of_table=pl.lit(of_table)).sort("date")


def heal(
    lake: Lake,
    table: Table,
    compared: Compared,
    calendar: Calendar,
    run_id: str,
    limit: float,
) -> Healed:
    """Capture what raw lacks, and end the rows that are gone, except those that are held back.

    The affected order dates are derived elsewhere, because raw shows what changed. Members of dimensions count at
    their capture date and are derived here.

    Args:
        lake: The lake.
        table: A raw table.
        compared: Result of `compare_with_shop` for the table.
        calendar: First partition, and when dates begin.
        run_id: Run that the healing is for.
        limit: As for `held_back`.

    Raises:
        DatabaseError: The shop does not have the shape that raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    gone = compared.differing.filter(pl.col("difference") == GONE)
    by_date = gone.group_by("date").agg(rows=pl.len().cast(pl.Int64))
    held = held_back(compared.standing, by_date, limit)
    going = gone.join(held, on="date", how="anti").select(*table.key, *KNOWN)
    ended = end_rows(lake, table, going, compared.seen_at, calendar, run_id)
    lacking = compared.differing.filter(pl.col("difference") != GONE)
    captured = sum(
        _capture(lake, table, batch, lacking, calendar, run_id)
        for first, last in bridged(spans(lacking["date"]), _STRETCHES)
        for source in sources_of(entity_of(table))
        for batch in source.read_versions(table, Window(first, last, calendar))
    )
    _derive_members(lake, table, calendar, run_id)
    return Healed(ended, captured, held)


def _capture(lake: Lake, table: Table, batch: Batch, lacking: pl.DataFrame, calendar: Calendar, run_id: str) -> int:
    """Capture the rows of a batch that raw lacks; return the number of new versions."""
    known = {name: f"{name} known" for name in KNOWN}
    needed = lacking.select(*table.key, "went_back", *(pl.col(name).alias(of) for name, of in known.items()))
    # Rows that share a key are captured together.
    needed = needed.unique(list(table.key))
    rows_to_capture = (
        batch.rows.with_columns(run_id=pl.lit(run_id))
        .with_row_index("row")
        .join(needed, on=list(table.key), how="inner", nulls_equal=True)
    )
    went_back = pl.col("went_back") & _is_before(batch.shape.seen_at)
    new = 0
    for follows, rows in ((False, rows_to_capture.filter(~went_back)), (True, rows_to_capture.filter(went_back))):
        if rows.is_empty():
            continue
        extras = batch.extras[rows["row"]] if batch.extras.width else batch.extras
        if follows:
            clocks = {name: pl.col(known[name]) for name in ("updated_at", "captured_on")}
            versions = at_known_clock(rows.with_columns(**clocks).select(table.columns), batch.shape.seen_at, calendar)
        else:
            versions = rows.select(table.columns)
        new += capture(lake, table, versions, calendar, extras).new
    return new


def _is_before(now: datetime) -> pl.Expr:
    """Return whether a row's clock is older than the one that raw knows, in the order of versions."""
    clock, known = pl.col("updated_at"), pl.col("updated_at known")
    seen = pl.lit(now).cast(pl.Datetime("us", "UTC"))
    ours = pl.when(known > pl.col("captured_at known").dt.offset_by(f"{AHEAD_HOURS}h"))
    theirs = pl.when(clock > seen.dt.offset_by(f"{AHEAD_HOURS}h"))
    effective = theirs.then(seen).otherwise(clock), ours.then("captured_at known").otherwise(known)
    is_older = (effective[0] < effective[1]) | ((effective[0] == effective[1]) & (clock < known))
    return is_older.fill_null(value=False)


def _derive_members(lake: Lake, table: Table, calendar: Calendar, run_id: str) -> None:
    """Derive the capture dates of a dimension that raw is ahead of, including those that a crash has left."""
    entity = entity_of(table)
    if entity.is_dimension and find(lake, entity.cleansed) is not None:
        dates = unaccounted_dates(lake, (entity.cleansed,), calendar, date.max)
        for first, last in bridged(spans(dates), _STRETCHES):
            derive(lake, entity.cleansed, (first, last), run_id)
