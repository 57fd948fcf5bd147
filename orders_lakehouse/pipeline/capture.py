"""Insert row versions into raw."""

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

# Temporary columns: the source's capture date, and that of the first capture. No source column has a space in its name.
_COUNTS_ON, _FIRST = "counts on", "first captured on"


@dataclass(frozen=True)
class Captured:
    """Outcome of the capture of a batch of versions.

    Attributes:
        new: Number of versions that were not in raw before.
        present: date (of capture, by the source), rows: how many versions of the batch are in raw now.
        extra_columns: Column of raw for each source column that the contract does not have, by the source's name.
    """

    new: int
    present: pl.DataFrame
    extra_columns: Mapping[str, str]


def capture(
    lake: Lake, table: Table, rows: pl.DataFrame, calendar: Calendar, extras: pl.DataFrame | None = None
) -> Captured:
    """Insert the versions that raw does not have yet.

    Args:
        lake: The lake.
        table: A raw table.
        rows: Columns of that table.
        calendar: First partition, and when dates begin.
        extras: Source columns that the table's contract does not have, row by row, by the source's names. A version
            that is in raw already does not change.

    Returns:
        The outcome, read back from the table.
    """
    identity = (*table.key, "updated_at")
    extras = pl.DataFrame() if extras is None else extras
    extra_columns = names_of_extras(lake.open(table), table, extras.schema) if extras.width else {}
    named = [extras[name].cast(dtype).alias(column) for name, (column, dtype) in extra_columns.items()]
    whole = rows.with_columns(pl.col("captured_on").alias(_COUNTS_ON), *named)
    dated = _at_first_capture(lake, table, whole, identity)
    rows = dated.select(rows.columns)
    # The index comes first: an entry without its version is harmless, a version without an entry would not be found.
    record_key_dates(lake, table, rows, calendar)
    new = lake.insert_new(table, dated.drop(_COUNTS_ON), identity)
    present = lake.present(table, dated.select(str(table.partitioned_by), *identity, _COUNTS_ON), identity)
    counted = present.group_by(date=_COUNTS_ON).agg(rows=pl.len().cast(pl.Int64))
    return Captured(new, counted, {name: column for name, (column, _) in extra_columns.items()})


def repeated_keys(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Find keys that occur more than once among rows that were read at the same time.

    Args:
        table: The raw table of the rows.
        rows: Columns of that table. Rows without a key are left out, because nothing tells them apart.

    Returns:
        date (of capture), key (as text), rows (with the key, on all dates): a row for each date and key.
    """
    # Searching for duplicate hashes takes half the time of searching for duplicate keys.
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


def names_of_extras(
    handle: DeltaTable, table: Table, extras: Mapping[str, pl.DataType]
) -> dict[str, tuple[str, pl.DataType]]:
    """Choose the columns of raw for source columns that the contract does not have.

    Args:
        handle: The current raw table.
        table: The raw table.
        extras: Type that raw holds best, by the source's name.

    Returns:
        Column of raw and its type, by the source's name. The column keeps the letters, digits and underscores of that
        name, and the type. Where raw has a column of that name already, of the contract or of another type, the column
        gets the suffix `__text` and holds text. So a column that returns with another type does not change the old one.
    """
    stored = {field.name.casefold(): field for field in handle.schema().fields}
    used = {name.casefold() for name in table.columns}
    columns: dict[str, tuple[str, pl.DataType]] = {}
    for name, preferred in extras.items():
        column, dtype = re.sub(r"\W+", "_", name), preferred
        while column.casefold() in used or stored.get(column.casefold()) not in (None, _field(column, dtype)):
            column, dtype = f"{column}__text", pl.String()
        used.add(column.casefold())
        columns[name] = (column, dtype)
    return columns


def _field(column: str, dtype: pl.DataType) -> Field:
    (field,) = delta_fields({column: dtype})
    return field


def _at_first_capture(lake: Lake, table: Table, rows: pl.DataFrame, identity: tuple[str, ...]) -> pl.DataFrame:
    """Give a version with a clock in the future the date of its first capture, so that raw holds it once."""
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
