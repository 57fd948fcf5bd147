"""Move the first partition of a lake, which its tables record, to an earlier date.

Changes from before the first partition are captured on it. When a lake begins earlier, the rows of that partition
move to the dates of their own clocks. The lake is then as if it had always begun there.
"""

from dataclasses import dataclass, replace
from datetime import date

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store, table_cache
from orders_lakehouse.delta.commits import write
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_properties import TableProperties
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.key_index import rebuild_key_dates
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.tables import RAW, TABLES


@dataclass(frozen=True)
class Moved:
    """A lake that begins earlier than before.

    Attributes:
        before: First partition before the move.
        start: First partition after the move.
        rows: Number of raw rows that moved to an earlier date, by table; tables without any are left out.
    """

    before: date
    start: date
    rows: dict[str, int]


def move_start(lake: Lake) -> Moved | None:
    """Move the first partition of a lake to the earlier date in the settings.

    An interrupted move continues where it stopped: a table that still records another date is neither read nor written.

    Returns:
        The move; None where the lake begins on that date already, or has no recorded beginning.

    Raises:
        LakeError: The date in the settings is later than the recorded one.
        StorageUnavailableError: Something else wrote to a table during the move.
    """
    start = lake.start
    starts = {table: TableProperties.of(handle).start for table in TABLES if (handle := find(lake, table)) is not None}
    others = {before for before in starts.values() if before not in (None, start)}
    if start is None or not others:
        return None
    before = max(filter(None, others))
    if before < start:
        raise LakeError(
            f"the lake begins on {before}, and LAKEHOUSE_START_DATE is {start}, which is later: rows of the dates "
            f"in between would be in no partition. Set it to {before} or to an earlier date; or point LAKE_URL at an "
            "empty place and backfill."
        )
    # A lake without a first partition of its own opens tables that still record the other date.
    calendar = replace(calendar_of(replace(lake, start=None)), start=start)
    moved = {table.path: _recapture(lake, table, before, calendar) for table in RAW if table in starts}
    # The index is rebuilt before anything else can use it.
    rebuild_key_dates(replace(lake, start=None), calendar)
    for table in starts:
        _record_start(lake, table, start)
    return Moved(before, start, {path: rows for path, rows in moved.items() if rows})


def _recapture(lake: Lake, table: Table, before: date, calendar: Calendar) -> int:
    """Move rows captured later than their clocks say to the dates of their clocks, in one commit.

    They are in the old first partition, or in an earlier one that an interrupted move had named.

    Returns:
        The number of rows moved.
    """
    handle = _open(lake, table)
    partition = str(table.partitioned_by)
    between = f"{partition} BETWEEN '{calendar.start}' AND '{before}'"
    rows = object_store.scan(handle, between).collect()
    on = pl.max_horizontal(pl.lit(calendar.start), calendar.dates_of(rows["updated_at"]))
    is_late = on < pl.col(partition)
    moved = rows.filter(is_late).height
    if moved:
        dated = rows.with_columns(pl.when(is_late).then(on).otherwise(partition).alias(partition))
        _replace(handle, table, dated.sort(partition), between)
        table_cache.share(lake.location(table), handle)
    return moved


def _replace(handle: DeltaTable, table: Table, rows: pl.DataFrame, predicate: str) -> None:
    try:
        once = CommitProperties(max_commit_retries=0)
        write(handle, rows, mode="overwrite", predicate=predicate, commit_properties=once)
    except CommitFailedError as error:
        raise StorageUnavailableError(
            f"{table.path} was written while its first partition was moved: {error}. Stop other writers, then "
            "migrate again."
        ) from error


def _record_start(lake: Lake, table: Table, start: date) -> None:
    handle = _open(lake, table)
    properties = TableProperties.of(handle)
    if properties.start != start:
        with explain_storage_errors(handle.table_uri):
            handle.alter.set_table_description(str(replace(properties, start=start)))
        table_cache.share(lake.location(table), handle)


def _open(lake: Lake, table: Table) -> DeltaTable:
    try:
        with explain_storage_errors(lake.location(table)):
            return table_cache.open_own(lake.location(table))
    except TableNotFoundError as error:
        raise LakeError(f"{table.path} was removed while the first partition was moved; migrate again") from error
