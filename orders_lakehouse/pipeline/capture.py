"""Putting row versions into raw."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import narwhals as nw
import polars as pl
from deltalake import DeltaTable
from deltalake.schema import Field

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.waivers import KEY_SEPARATOR
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.schema_evolution import delta_fields
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.key_index import record_key_dates

# The capture date as the source counts it, and that of the first capture; no column of a source is named with a space.
_COUNTS_ON, _FIRST = "counts on", "first captured on"


@dataclass(frozen=True)
class Captured:
    """What became of a batch of versions.

    Attributes:
        new: Versions that were not in raw before.
        present: date (of capture, as the source counts), rows: how many of the batch stand in raw now.
        beside: Column of raw that holds each column of the source beside the contract's, by its name there.
    """

    new: int
    present: pl.DataFrame
    beside: Mapping[str, str]


def capture(
    lake: Lake, table: Table, rows: pl.DataFrame, calendar: Calendar, extras: pl.DataFrame | None = None
) -> Captured:
    """Insert the versions that raw does not have yet.

    Args:
        lake: The lake.
        table: A raw table.
        rows: Its columns.
        calendar: First partition, and when dates begin.
        extras: What the source has beside the table's contract, row by row, under the source's names. A version that
            stands in raw already stays as it is.

    Returns:
        What became of the rows, read back from the table.
    """
    identity = (*table.key, "updated_at")
    extras = pl.DataFrame() if extras is None else extras
    beside = names_beside(lake.open(table), table, extras.schema) if extras.width else {}
    named = [extras[name].cast(dtype).alias(column) for name, (column, dtype) in beside.items()]
    whole = rows.with_columns(pl.col("captured_on").alias(_COUNTS_ON), *named)
    dated = _at_first_capture(lake, table, whole, identity)
    rows = dated.select(rows.columns)
    # The index first: an entry without its version is harmless, a version without its entry would not be found.
    record_key_dates(lake, table, rows, calendar)
    new = lake.insert_new(table, dated.drop(_COUNTS_ON), identity)
    present = lake.present(table, dated.select(str(table.partitioned_by), *identity, _COUNTS_ON), identity)
    counted = present.group_by(date=_COUNTS_ON).agg(rows=pl.len().cast(pl.Int64))
    return Captured(new, counted, {name: column for name, (column, _) in beside.items()})


def repeated_keys(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Keys that come more than once among rows that were read at the same time.

    Args:
        table: The raw table of the rows.
        rows: Columns of that table. Rows without a key, which nothing tells apart, are left out.

    Returns:
        date (of capture), key (as text), rows (with the key, on all dates): a row for each date and key.
    """
    # A hash that comes twice is looked for in half the time that the keys themselves take.
    may_repeat = rows.filter(pl.struct(table.key).hash().is_duplicated())
    named = [pl.col(name).cast(pl.String).fill_null("") != "" for name in table.key]
    key = pl.concat_str(pl.col(table.key).cast(pl.String), separator=KEY_SEPARATOR)
    return (
        may_repeat.filter(named)
        .select(date="captured_on", key=key, rows=pl.len().over(table.key).cast(pl.Int64))
        .filter(pl.col("rows") > 1)
        .unique()
        .sort("date", "key")
    )


def names_beside(
    handle: DeltaTable, table: Table, extras: Mapping[str, pl.DataType]
) -> dict[str, tuple[str, pl.DataType]]:
    """Where raw holds the columns of the source that stand beside the contract's.

    Args:
        handle: The raw table as it stands.
        table: The raw table.
        extras: Name in the source to the type that raw holds best.

    Returns:
        Name in the source to the column of raw and its type: the same ones, letters, digits and underscores of the name
        that is; with `__text` at its end, and as text, where raw has a column of that name already, of its own or of
        another type. So a column that comes back with another type stands beside the one that it was.
    """
    stored = {field.name.casefold(): field for field in handle.schema().fields}
    used = {name.casefold() for name in table.columns}
    found: dict[str, tuple[str, pl.DataType]] = {}
    for name, wanted in extras.items():
        column, dtype = re.sub(r"\W+", "_", name), wanted
        while column.casefold() in used or stored.get(column.casefold()) not in (None, _field(column, dtype)):
            column, dtype = f"{column}__text", pl.String()
        used.add(column.casefold())
        found[name] = (column, dtype)
    return found


def _field(column: str, dtype: pl.DataType) -> Field:
    (field,) = delta_fields({column: dtype})
    return field


def _at_first_capture(lake: Lake, table: Table, rows: pl.DataFrame, identity: tuple[str, ...]) -> pl.DataFrame:
    """Give a version with a clock in the future the date on which it was captured first, so that it stands once."""
    is_ahead = pl.col("updated_at") > pl.col("captured_at").dt.offset_by(f"{AHEAD_HOURS}h")
    ahead = rows.filter(is_ahead)
    if ahead.is_empty():
        return rows
    earliest = min(ahead["updated_at"].to_list())
    known = rows_of(
        lake.scan(table)
        .filter(nw.col("updated_at") >= nw.lit(earliest), nw.col("captured_on") < nw.col("updated_at").dt.date())
        .group_by(*identity)
        .agg(nw.col("captured_on").min().alias(_FIRST))
    )
    dated = ahead.join(known, on=identity, how="left").with_columns(captured_on=pl.coalesce(_FIRST, "captured_on"))
    return pl.concat([rows.filter(~is_ahead), dated.select(rows.columns)])
