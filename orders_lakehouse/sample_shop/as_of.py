"""Move the sample shop in time, so that its orders end on the day before a date.

Dates and instants move by whole weeks, so weekdays stay. Sales are cut at the beginning of the date: a sample that was
moved to the end of its last week would reach into the future.
"""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import polars.selectors as cs

from orders_lakehouse.sample_shop.order_events import SNAPSHOT_AT

RECORDED = date(2018, 1, 1)
"""Date as of which the sample is as recorded; 86 orders are from its first four hours."""
_CLOSED = date(2017, 12, 25)
"""Recorded day without orders, which cannot be the last one."""


def move(as_of: date) -> timedelta:
    """Return the whole weeks by which the sample moves, so that its last week begins before a date and ends after."""
    weeks = timedelta(weeks=-((RECORDED - as_of).days // 7))
    ends_closed = as_of - timedelta(days=1) - weeks == _CLOSED
    return weeks + timedelta(weeks=1) if ends_closed else weeks


def snapshot_of(as_of: date, timezone: str = "UTC") -> datetime:
    """Return the last instant, in recorded time, that the shop knows as of a date.

    Args:
        as_of: The date.
        timezone: Zone (IANA) in which the date begins.
    """
    if as_of == RECORDED:
        return SNAPSHOT_AT
    begin = datetime(as_of.year, as_of.month, as_of.day, tzinfo=ZoneInfo(timezone))
    return begin.astimezone(SNAPSHOT_AT.tzinfo) - move(as_of) - timedelta(microseconds=1)


def moved(frame: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Return a table of the shop with its dates and instants moved; other columns stay."""
    return frame.with_columns(cs.temporal().dt.offset_by(f"{move(as_of).days}d"))
