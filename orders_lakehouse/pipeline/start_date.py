"""The first partition of a lake, which stands in its tables, and how it becomes an earlier date.

What changed before the first partition is captured on it. So where a lake begins earlier, the rows of that partition
are captured on the dates of their own clocks, as if the lake had begun there.
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
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_properties import TableProperties
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.key_index import rebuild_key_dates
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.tables import RAW, TABLES


@dataclass(frozen=True)
class Moved:
    """A lake that begins earlier than before.

    Attributes:
        before: Its first partition until now.
        start: Its first partition from now on.
        rows: Rows of raw that are captured on an earlier date now, by table; tables without any are not named.
    """

    before: date
    start: date
    rows: dict[str, int]


def move_start(lake: Lake) -> Moved | None:
    """Make the first partition of a lake the earlier one that the settings name.

    A move that was interrupted goes on where it stopped: nobody reads or writes a table that says another date.

    Returns:
        What was moved; None where the lake begins on that date, or does not say when it begins.

    Raises:
        LakeError: The date of the settings is a later one.
        StorageUnavailableError: Something else wrote to a table meanwhile.
    """
    start = lake.start
    said = {table: TableProperties.of(handle).start for table in TABLES if (handle := find(lake, table)) is not None}
    others = {before for before in said.values() if before not in (None, start)}
    if start is None or not others:
        return None
    before = max(filter(None, others))
    if before < start:
        raise LakeError(
            f"the lake begins on {before}, and LAKEHOUSE_START_DATE is {start}, which is later: the rows of the dates "
            f"before it would be in no partition. Set it to {before} or to an earlier date; or point LAKE_URL at an "
            "empty place and backfill."
        )
    # Without a first partition of its own, the lake opens tables that still say the other one.
    calendar = replace(calendar_of(replace(lake, start=None)), start=start)
    moved = {table.path: _recapture(lake, table, before, calendar) for table in RAW if table in said}
    # The index before anything else may use it.
    rebuild_key_dates(replace(lake, start=None), calendar)
    for table in said:
        _stamp(lake, table, start)
    return Moved(before, start, {path: rows for path, rows in moved.items() if rows})


def _recapture(lake: Lake, table: Table, before: date, calendar: Calendar) -> int:
    """Give rows that were captured later than their clocks say the dates of these, in one commit; returns how many.

    Until now the first partition had them; or an earlier one, that a move named which was broken off.
    """
    handle = _own(lake, table)
    partition = str(table.partitioned_by)
    between = f"{partition} BETWEEN '{calendar.start}' AND '{before}'"
    rows = object_store.scan(handle, between).collect()
    on = pl.max_horizontal(pl.lit(calendar.start), calendar.dates_of(rows["updated_at"]))
    is_late = on < pl.col(partition)
    moved = rows.filter(is_late).height
    if moved:
        dated = rows.with_columns(pl.when(is_late).then(on).otherwise(partition).alias(partition))
        _replace(handle, table, dated.sort(partition), between)
        table_cache.give(lake.location(table), handle)
    return moved


def _replace(handle: DeltaTable, table: Table, rows: pl.DataFrame, predicate: str) -> None:
    try:
        once = CommitProperties(max_commit_retries=0)
        write(handle, rows, mode="overwrite", predicate=predicate, commit_properties=once)
    except CommitFailedError as error:
        raise StorageUnavailableError(
            f"{table.path} was written while its first partition was moved: {error}. Stop what else is at work, then "
            "migrate again."
        ) from error


def _stamp(lake: Lake, table: Table, start: date) -> None:
    handle = _own(lake, table)
    found = TableProperties.of(handle)
    if found.start != start:
        with storage_trouble(handle.table_uri):
            handle.alter.set_table_description(str(replace(found, start=start)))
        table_cache.give(lake.location(table), handle)


def _own(lake: Lake, table: Table) -> DeltaTable:
    try:
        with storage_trouble(lake.location(table)):
            return table_cache.own(lake.location(table))
    except TableNotFoundError as error:
        raise LakeError(f"{table.path} was removed while the beginning of the lake was moved; migrate again") from error
