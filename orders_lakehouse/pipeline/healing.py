"""What is done about rows by which the shop and raw differ: what was missed is captured, what is gone gets a tombstone.

A set share of a table's or a date's keys that is gone at once looks like a view that broke or a table that was emptied:
it is told, and stands until somebody allows it.
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

# A date, or a table, with fewer keys has no share to speak of.
_FEWEST_KEYS = 20
# The shop is asked for so many stretches of dates at most.
_STRETCHES = 20


@dataclass(frozen=True)
class Healed:
    """What was done about a table.

    Attributes:
        ended: Tombstones that were written.
        captured: Versions that were captured.
        held: The dates whose gone rows stand until they are allowed to go, as `held_back` says.
    """

    ended: int
    captured: int
    held: pl.DataFrame


def held_back(standing: pl.DataFrame, gone: pl.DataFrame, limit: float) -> pl.DataFrame:
    """Which dates have more gone rows than are taken for granted.

    Args:
        standing: date, rows: rows of raw that are not deleted, by capture date.
        gone: date, rows: those of them that the shop has no more.
        limit: Share of a table's or a date's rows that may be gone at once, 0 to 1; 1 lets everything go.

    Returns:
        date, gone, keys (that stood), of_table. Where the share of the table is too large, or nothing is left of it:
        all dates with gone rows, and the counts of the table. Else the dates with twenty keys and more whose own share
        is too large, and their counts.
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
    """Capture what raw lacks, and end the rows that are gone, but for those that are held back.

    What follows from it for order dates is left to whoever derives them: they see what raw has got. Members of
    dimensions, which count by their capture, are derived here.

    Args:
        lake: The lake.
        table: A raw table.
        compared: What `compare_with_shop` says of it.
        calendar: First partition, and when dates begin.
        run_id: Run on whose behalf it is.
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
    """Capture the rows of a batch that raw lacks; returns how many versions are new."""
    known = {name: f"{name} known" for name in KNOWN}
    wanted = lacking.select(*table.key, "went_back", *(pl.col(name).alias(of) for name, of in known.items()))
    # Rows that share a key come together.
    wanted = wanted.unique(list(table.key))
    found = (
        batch.rows.with_columns(run_id=pl.lit(run_id))
        .with_row_index("row")
        .join(wanted, on=list(table.key), how="inner", nulls_equal=True)
    )
    went_back = pl.col("went_back") & _is_before(batch.shape.seen_at)
    new = 0
    for follows, rows in ((False, found.filter(~went_back)), (True, found.filter(went_back))):
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
    """Whether a row's clock is older than the one that raw knows, as versions follow one another."""
    clock, known = pl.col("updated_at"), pl.col("updated_at known")
    seen = pl.lit(now).cast(pl.Datetime("us", "UTC"))
    ours = pl.when(known > pl.col("captured_at known").dt.offset_by(f"{AHEAD_HOURS}h"))
    theirs = pl.when(clock > seen.dt.offset_by(f"{AHEAD_HOURS}h"))
    effective = theirs.then(seen).otherwise(clock), ours.then("captured_at known").otherwise(known)
    is_older = (effective[0] < effective[1]) | ((effective[0] == effective[1]) & (clock < known))
    return is_older.fill_null(value=False)


def _derive_members(lake: Lake, table: Table, calendar: Calendar, run_id: str) -> None:
    """Derive the capture dates of a dimension's members that raw is ahead of, also those that a crash has left."""
    entity = entity_of(table)
    if entity.is_dimension and find(lake, entity.cleansed) is not None:
        dates = unaccounted_dates(lake, (entity.cleansed,), calendar, date.max)
        for first, last in bridged(spans(dates), _STRETCHES):
            derive(lake, entity.cleansed, (first, last), run_id)
