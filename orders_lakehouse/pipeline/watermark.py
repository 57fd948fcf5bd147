"""The shop's clock as the lake knows it: from what was captured, never from this machine's clock."""

from datetime import date, datetime

import narwhals as nw

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.tables import ROOT


def running_date(lake: Lake, calendar: Calendar) -> date | None:
    """Return the date on which orders were captured last. The shop may still change it, so it is not complete.

    Args:
        lake: The lake.
        calendar: When dates begin.

    Returns:
        The date; None before the first capture.
    """
    handle = find(lake, ROOT.raw)
    last = files_of(handle, ROOT.raw)["date"].max() if handle is not None else None
    if handle is None or not isinstance(last, date):
        return None
    newest = rows_of(lake.scan_at(handle, ROOT.raw, [last]).select(nw.col("updated_at", "captured_at").max()))
    # A clock ahead of its capture would name a day that has not begun.
    running: date = min(last, *(calendar.date_of(instant) for instant in newest.row(0) if instant is not None))
    return running


def newest_change(lake: Lake, table: Table, until: datetime) -> datetime | None:
    """Return the latest change clock in a raw table up to an instant; None where there is none."""
    handle = find(lake, table)
    if handle is None:
        return None
    # The last date usually has it: a date holds the clocks of its day, and those that ran ahead of it.
    for day in files_of(handle, table)["date"].unique().sort(descending=True):
        rows = lake.scan_at(handle, table, [day]).filter(nw.col("updated_at") <= nw.lit(until))
        newest: datetime | None = rows_of(rows.select(nw.col("updated_at").max())).item()
        if newest is not None:
            return newest
    return None
