"""What customers bought over all dates, kept up to date by the dates that changed.

To sum every line of a shop for one date that changed would make each run dearer as the shop grows.
"""

import logging
from datetime import date

import narwhals as nw

from orders_lakehouse.contracts.tables import CUSTOMER_PROFILE, ORDER_LINES
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.log import dates_changed_since, made_from
from orders_lakehouse.delta.tables import Lake, fetch, is_on_cluster, rows_of
from orders_lakehouse.settings import settings
from orders_lakehouse.transforms import curated

log = logging.getLogger(__name__)

# Of more dates, all lines are summed: a backfill makes everything anew that stands, whoever made it.
_FEW_DATES = 31


def customer_profile(lake: Lake, dates: tuple[date, date] | None) -> Frame:
    """Rows of `curated/customer_profile`.

    Args:
        lake: The lake, which stands still.
        dates: First and last date of the run; None where it has none.
    """
    latest = lake.latest_date(ORDER_LINES, default=settings().start_date)
    purchased = _updated(lake) if dates and (dates[1] - dates[0]).days < _FEW_DATES else None
    if purchased is None:
        purchased = curated.purchases(lake.scan(ORDER_LINES))
    return curated.customer_profile(purchased, latest)


def _updated(lake: Lake) -> Frame | None:
    """Purchases by what stands and by the dates that changed since; None where that is not known, or many did."""
    standing = lake.scan(CUSTOMER_PROFILE).select(curated.PURCHASES)
    if is_on_cluster(standing):
        return None
    now = lake.open(ORDER_LINES)
    before = made_from(lake.open(CUSTOMER_PROFILE), now, ORDER_LINES)
    if before is None:
        return None
    dates = dates_changed_since(lake, now, ORDER_LINES, before)
    if dates is None or len(dates) > _FEW_DATES:
        return None
    then, since = (
        curated.purchases(lake.scan_at(handle, ORDER_LINES, dates)) for handle in (lake.find(ORDER_LINES, before), now)
    )
    try:
        purchased = fetch(curated.purchases_since(standing, then, since))
    except FileNotFoundError as error:
        # Vacuumed by other means than ours. If it is one of the present files, who reads all of them is told.
        log.warning("version %s of %s cannot be read, summing all lines: %s", before, ORDER_LINES.path, error)
        return None
    without_edge = nw.col("first_order_on").is_null() | nw.col("last_order_on").is_null()
    unknown = fetch(purchased.filter(without_edge).select("customer_id").unique())
    if rows_of(unknown).is_empty():
        return purchased
    others = purchased.join(unknown, on="customer_id", how="anti")
    theirs = curated.purchases(lake.scan(ORDER_LINES).join(unknown, on="customer_id", how="semi"))
    return nw.concat([others, theirs], how="vertical")
