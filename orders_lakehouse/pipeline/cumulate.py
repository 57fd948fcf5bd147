"""Build a curated table over all dates of another one, and update it by the dates that changed."""

import logging
from datetime import date
from functools import reduce
from operator import or_

import narwhals as nw

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.curated.base import Cumulative
from orders_lakehouse.delta.engines.choice import engine_of
from orders_lakehouse.delta.frames import fetch, rows_of
from orders_lakehouse.delta.log import dates_changed_since, version_derived_from
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings

log = logging.getLogger(__name__)

# Maximum number of dates to update by; beyond it all rows are summed, so that a backfill rebuilds the whole table.
_FEW_DATES = 31


def cumulate(lake: Lake, table: Table, made: Cumulative, dates: tuple[date, date] | None) -> Frame:
    """Return the rows of a table over all dates.

    Args:
        lake: A snapshot of the lake.
        table: The table.
        made: How the table is made.
        dates: First and last date of the run; None where it has none.
    """
    latest = lake.latest_date(made.source, default=settings().start_date)
    summed = _updated(lake, table, made) if dates and (dates[1] - dates[0]).days < _FEW_DATES else None
    if summed is None:
        summed = made.summed(lake.scan(made.source))
    return made.finished(summed, latest)


def _updated(lake: Lake, table: Table, made: Cumulative) -> Frame | None:
    """Return the stored sums updated by the dates that changed; None where these are unknown or too many."""
    standing = lake.scan(table).select(made.columns)
    if not engine_of(standing).sums_changes:
        return None
    now = lake.open(made.source)
    before = version_derived_from(lake.open(table), now, made.source)
    if before is None:
        return None
    dates = dates_changed_since(lake, now, made.source, before)
    if dates is None or len(dates) > _FEW_DATES:
        return None
    then, since = (
        made.summed(lake.scan_at(handle, made.source, dates)) for handle in (lake.find(made.source, before), now)
    )
    try:
        summed = fetch(made.updated(standing, then, since))
    except FileNotFoundError as error:
        # Someone else vacuumed the old files. A missing current file raises again where all rows are read.
        log.warning("version %s of %s cannot be read, summing all rows: %s", before, made.source.path, error)
        return None
    is_unknown = reduce(or_, (nw.col(name).is_null() for name in made.unknown))
    unknown = fetch(summed.filter(is_unknown).select(made.group).unique())
    if rows_of(unknown).is_empty():
        return summed
    others = summed.join(unknown, on=made.group, how="anti")
    summed_anew = made.summed(lake.scan(made.source).join(unknown, on=made.group, how="semi"))
    return nw.concat([others, summed_anew], how="vertical")
