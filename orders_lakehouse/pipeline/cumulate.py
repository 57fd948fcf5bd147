"""A curated table over all dates of another one, kept up to date by the dates that changed."""

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
from orders_lakehouse.delta.log import dates_changed_since, made_from
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings

log = logging.getLogger(__name__)

# Of more dates, all rows are summed: a backfill makes everything anew that stands, whoever made it.
_FEW_DATES = 31


def cumulate(lake: Lake, table: Table, made: Cumulative, dates: tuple[date, date] | None) -> Frame:
    """Rows of a table over all dates.

    Args:
        lake: The lake, which stands still.
        table: The table.
        made: How it is made.
        dates: First and last date of the run; None where it has none.
    """
    latest = lake.latest_date(made.source, default=settings().start_date)
    summed = _updated(lake, table, made) if dates and (dates[1] - dates[0]).days < _FEW_DATES else None
    if summed is None:
        summed = made.summed(lake.scan(made.source))
    return made.finished(summed, latest)


def _updated(lake: Lake, table: Table, made: Cumulative) -> Frame | None:
    """Sums by what stands and by the dates that changed since; None where that is not known, or many did."""
    standing = lake.scan(table).select(made.columns)
    if not engine_of(standing).sums_changes:
        return None
    now = lake.open(made.source)
    before = made_from(lake.open(table), now, made.source)
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
        # Vacuumed by other means than ours. If it is one of the present files, who reads all of them is told.
        log.warning("version %s of %s cannot be read, summing all rows: %s", before, made.source.path, error)
        return None
    is_unknown = reduce(or_, (nw.col(name).is_null() for name in made.unknown))
    unknown = fetch(summed.filter(is_unknown).select(made.group).unique())
    if rows_of(unknown).is_empty():
        return summed
    others = summed.join(unknown, on=made.group, how="anti")
    theirs = made.summed(lake.scan(made.source).join(unknown, on=made.group, how="semi"))
    return nw.concat([others, theirs], how="vertical")
