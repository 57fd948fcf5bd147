"""Measure what the sources have changed and raw does not have yet, by the sources' clocks.

Every function raises DatabaseError where a source lacks the shape that raw needs, and DatabaseUnavailableError where it
cannot be reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.watermark import newest_change
from orders_lakehouse.sources.registry import SOURCES, sources_of
from orders_lakehouse.tables import ROOT


@dataclass(frozen=True)
class Uncaptured:
    """Changes that are newer than the newest one in raw.

    Attributes:
        rows: Number of changed rows by table; tables without any are left out.
        behind: Time from the first of these changes to the newest change of all. It does not grow in a shop that has
            stopped changing.
        refused: Error by table, for tables that could not be read; the others are counted all the same.
    """

    rows: dict[str, int]
    behind: timedelta
    refused: dict[str, str] = field(default_factory=dict)


def uncaptured(lake: Lake) -> Uncaptured:
    """Compare the change clocks of the sources with those of raw; the sources answer from an index of each table."""
    rows: dict[str, int] = {}
    refused: dict[str, str] = {}
    first: list[datetime] = []
    newest: list[datetime] = []

    def known(table: Table, now: datetime) -> datetime | None:
        change = newest_change(lake, table, now)
        newest.extend([change] if change else [])
        return change

    for source in SOURCES:
        newer_by_table, refused_by_source = source.newer(known)
        refused |= refused_by_source
        for table, newer in newer_by_table.items():
            newest += [newer.last] if newer.last else []
            if newer.rows and newer.first:
                rows[table] = rows.get(table, 0) + newer.rows
                first.append(newer.first)
    return Uncaptured(rows, max(newest) - min(first) if first else timedelta(), refused)


@dataclass(frozen=True)
class ChangedLater:
    """Orders of some dates that are captured with later dates.

    Attributes:
        orders: Number of orders.
        until: The last date on which one of them changed.
    """

    orders: int
    until: date


def changed_later(lake: Lake, calendar: Calendar, first: date, last: date) -> ChangedLater | None:
    """Return the orders of some dates that a capture of these dates leaves out because they changed later.

    Args:
        lake: The lake.
        calendar: When dates begin.
        first: First date.
        last: Last date.

    Returns:
        None where there are none, or where later dates have been captured before.
    """
    handle = find(lake, ROOT.raw)
    newest = files_of(handle, ROOT.raw)["date"].max() if handle is not None else None
    if isinstance(newest, date) and newest > last:
        return None
    begins, ends = (calendar.begins_at(day) for day in (first, last + timedelta(days=1)))
    later = [source.changed_after(ROOT, begins, ends) for source in sources_of(ROOT)]
    changes = [until for _, until in later if until is not None]
    return ChangedLater(sum(rows for rows, _ in later), calendar.date_of(max(changes))) if changes else None


def first_and_last_change(calendar: Calendar) -> tuple[date, date] | None:
    """Return the first and the last date on which anything changed in a source, or was ordered there.

    Changes before the first partition count at the first partition, clocks that run ahead count today.

    Args:
        calendar: First partition, and when dates begin.

    Returns:
        None where no source has rows.
    """
    ends = [instant for source in SOURCES for instant in source.first_and_last_change() or ()]
    if not ends:
        return None
    first, last = (max(calendar.date_of(instant), calendar.start) for instant in (min(ends), max(ends)))
    return first, last


def orders_in_shop(order_ids: Sequence[str], calendar: Calendar) -> dict[str, date]:
    """Return the capture date, from the change clock, of each of the orders that a source has."""
    clocks = {key: at for source in sources_of(ROOT) for key, at in source.clocks_of(ROOT, order_ids).items()}
    return {key: max(calendar.date_of(at), calendar.start) for key, at in clocks.items()}


def shop_now() -> datetime:
    """Return the newest clock among the sources of the orders."""
    return max(source.now() for source in sources_of(ROOT))
