"""Curated: order lines with what was known when they were placed, sales by date, and what customers bought."""

import time

import dagster as dg
import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.tables import CUSTOMER_PROFILE, DAILY_SALES, ORDER_LINES
from orders_lakehouse.defs.charts import GREEN, Series, as_picture, bars_by_name
from orders_lakehouse.defs.execution import derived
from orders_lakehouse.defs.metadata import ROW_COUNT, days_shown, describe, report_rows_by_date, report_state
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.tables import Lake, rows_of
from orders_lakehouse.partitions import DAILY, run_dates

_KINDS = {"polars", "deltalake"}


@dg.asset(
    **describe(ORDER_LINES, kinds=_KINDS),
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def order_lines(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Join lines, orders, and the versions of customer and product that were valid."""
    dates = run_dates(context)
    began = time.perf_counter()
    with failures(context):
        (done,) = derived(context, lake, ORDER_LINES, dates)
        told = {"rows_in_run": done.rows, "dates_changed_in_run": len(done.changed)}
        report_state(context, lake, ORDER_LINES, done.sample, began, told)
    report_rows_by_date(context, {ROW_COUNT: done.by_date})
    return dg.MaterializeResult()


@dg.asset(
    **describe(DAILY_SALES, kinds=_KINDS),
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def daily_sales(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Sum order lines by date and currency."""
    dates = run_dates(context)
    began = time.perf_counter()
    with failures(context):
        (done,) = derived(context, lake, DAILY_SALES, dates)
        panels = _sales_by_date(rows_of(lake.scan(DAILY_SALES, between=days_shown(*dates))))
        told = {"rows_in_run": done.rows, "dates_changed_in_run": len(done.changed)}
        report_state(context, lake, DAILY_SALES, done.sample, began, told, panels)
    report_rows_by_date(context, {ROW_COUNT: done.by_date})
    return dg.MaterializeResult()


def _sales_by_date(sales: pl.DataFrame) -> list[Series]:
    """Net sales and orders by date, in the currency of most orders; amounts are never added across currencies."""
    if sales.is_empty():
        return []
    currency = sales.group_by("currency").agg(pl.col("orders").sum()).sort("orders", "currency").item(-1, "currency")
    most = sales.filter(currency=currency).rename({"order_date": "date"})
    return [
        Series(f"net sales, {currency}", most.select("date", value="net"), GREEN),
        Series(f"orders in {currency}", most.select("date", value="orders")),
    ]


@dg.asset(
    **describe(CUSTOMER_PROFILE, kinds=_KINDS),
    # Unpartitioned, and still part of a range: the run works on all dates at once.
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def customer_profile(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Sum order lines by customer, over all dates."""
    began = time.perf_counter()
    with failures(context):
        (done,) = derived(context, lake, CUSTOMER_PROFILE, run_dates(context))
        report_state(context, lake, CUSTOMER_PROFILE, done.sample, began, {})
        by_segment = rows_of(lake.scan(CUSTOMER_PROFILE).group_by(nw.col("segment").alias("name")).agg(value=nw.len()))
    segments = bars_by_name(by_segment)
    return dg.MaterializeResult(
        metadata={ROW_COUNT: done.rows, "customers_by_segment": as_picture(segments, "Customers by segment")}
    )
