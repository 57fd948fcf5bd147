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


def cumulate(lake: Lake, table: Table, recipe: Cumulative, dates: tuple[date, date] | None) -> Frame:
    """Return the rows of a table over all dates.

    Args:
        lake: A snapshot of the lake.
        table: The table.
        recipe: How the table is made.
        dates: First and last date of the run; None where it has none.
    """
    latest = lake.latest_date(recipe.source, default=settings().start_date)
    summed = _updated(lake, table, recipe) if dates and (dates[1] - dates[0]).days < _FEW_DATES else None
    if summed is None:
        summed = recipe.summed(lake.scan(recipe.source))
    return recipe.finished(summed, latest)


def _updated(lake: Lake, table: Table, recipe: Cumulative) -> Frame | None:
    """Return the stored sums updated by the dates that changed; None where these are unknown or too many."""
    standing = lake.scan(table).select(recipe.columns)
    if not engine_of(standing).sums_changes:
        return None
    now = lake.open(recipe.source)
    before = version_derived_from(lake.open(table), now, recipe.source)
    if before is None:
        return None
    dates = dates_changed_since(lake, now, recipe.source, before)
    if dates is None or len(dates) > _FEW_DATES:
        return None
    then, since = (
        recipe.summed(lake.scan_at(handle, recipe.source, dates)) for handle in (lake.find(recipe.source, before), now)
    )
    try:
        summed = fetch(recipe.updated(standing, then, since))
    except FileNotFoundError as error:
        # Someone else vacuumed the old files. A missing current file raises again where all rows are read.
        log.warning("version %s of %s cannot be read, summing all rows: %s", before, recipe.source.path, error)
        return None
    is_unknown = reduce(or_, (nw.col(name).is_null() for name in recipe.unknown))
    unknown = fetch(summed.filter(is_unknown).select(recipe.group).unique())
    if rows_of(unknown).is_empty():
        return summed
    others = summed.join(unknown, on=recipe.group, how="anti")
    summed_anew = recipe.summed(lake.scan(recipe.source).join(unknown, on=recipe.group, how="semi"))
    return nw.concat([others, summed_anew], how="vertical")
