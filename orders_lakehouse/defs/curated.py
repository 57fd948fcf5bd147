"""Curated: order lines with what was known when they were placed, sales by date, and what customers bought."""

import dagster as dg

from orders_lakehouse.calendar import configured_calendar
from orders_lakehouse.contracts.tables import (
    CUSTOMER_PROFILE,
    CUSTOMERS,
    DAILY_SALES,
    ORDER_ITEMS,
    ORDER_LINES,
    ORDERS,
    PRODUCTS,
)
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.defs.metadata import ROW_COUNT, describe, key_of, report_rows_by_date
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.transforms import curated

_KINDS = {"polars", "deltalake"}


@dg.asset(
    **describe(ORDER_LINES, kinds=_KINDS),
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[key_of(table) for table in (ORDER_ITEMS, ORDERS, CUSTOMERS, PRODUCTS)],
)
def order_lines(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Join lines, orders, and the versions of customer and product that were valid."""
    dates = run_dates(context)

    def derive() -> list[Frame]:
        items, orders = (lake.scan(table, between=dates) for table in (ORDER_ITEMS, ORDERS))
        return [curated.order_lines(items, orders, lake.scan(CUSTOMERS), lake.scan(PRODUCTS))]

    with failures(context):
        (rows,) = lake.replace_dates([ORDER_LINES], *dates, derive)
    report_rows_by_date(context, {ROW_COUNT: ("order_date", rows)})
    return dg.MaterializeResult()


@dg.asset(
    **describe(DAILY_SALES, kinds=_KINDS),
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[key_of(ORDER_LINES)],
)
def daily_sales(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Sum order lines by date and currency."""
    dates = run_dates(context)
    with failures(context):
        (rows,) = lake.replace_dates(
            [DAILY_SALES], *dates, lambda: [curated.daily_sales(lake.scan(ORDER_LINES, between=dates))]
        )
    report_rows_by_date(context, {ROW_COUNT: ("order_date", rows)})
    return dg.MaterializeResult()


@dg.asset(
    **describe(CUSTOMER_PROFILE, kinds=_KINDS),
    # Unpartitioned, and still part of a range: the run works on all dates at once.
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[key_of(ORDER_LINES)],
)
def customer_profile(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Sum order lines by customer, over all dates."""
    with failures(context):
        rows = lake.replace_all(
            CUSTOMER_PROFILE,
            lambda: curated.customer_profile(
                lake.scan(ORDER_LINES), lake.latest_date(ORDER_LINES, default=configured_calendar().start)
            ),
        )
    return dg.MaterializeResult(metadata={ROW_COUNT: rows.height})
