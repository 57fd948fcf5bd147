"""Cleansed: current rows by business date (every version of a dimension), split by their contracts.

Each asset writes its quarantine table in the same step.
"""

import time
from collections.abc import Callable, Sequence
from datetime import date

import dagster as dg
import polars as pl

from orders_lakehouse.calendar import configured_calendar
from orders_lakehouse.contracts.tables import (
    CUSTOMERS,
    ORDER_ITEMS,
    ORDERS,
    PAYMENTS,
    PRODUCTS,
    QUARANTINE_OF,
    RAW_OF,
    Table,
)
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.defs.metadata import ROW_COUNT, describe, report_rows_by_date, report_state, rows_by_date
from orders_lakehouse.defs.pictures import RED, as_picture, bars_by_name
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.lake.delta import Lake, files_of
from orders_lakehouse.lake.history import children_of_orders, versions_of_orders
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.transforms.dimensions import cleanse_customers, cleanse_products
from orders_lakehouse.transforms.orders import cleanse_order_items, cleanse_orders, cleanse_payments

Split = Sequence[Frame]


def _orders(lake: Lake, first: date, last: date) -> Split:
    return cleanse_orders(versions_of_orders(lake, first, last), first, last, configured_calendar())


def _order_items(lake: Lake, first: date, last: date) -> Split:
    return cleanse_order_items(*children_of_orders(lake, RAW_OF["order_items"], first, last), first, last)


def _payments(lake: Lake, first: date, last: date) -> Split:
    return cleanse_payments(*children_of_orders(lake, RAW_OF["payments"], first, last), first, last)


def _customers(lake: Lake, first: date, last: date) -> Split:
    versions = lake.scan(RAW_OF["customers"], between=(first, last))
    return cleanse_customers(versions, configured_calendar().timezone)


def _products(lake: Lake, first: date, last: date) -> Split:
    return cleanse_products(lake.scan(RAW_OF["products"], between=(first, last)))


def _cleansed(table: Table, derive: Callable[[Lake, date, date], Split]) -> dg.AssetsDefinition:
    @dg.asset(
        **describe(table, kinds={"polars", "deltalake", "pandera"}),
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def cleansed(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        first, last = run_dates(context)
        began = time.perf_counter()
        with failures(context):
            # Quarantine first: a crash in between leaves a row in both tables, never in none.
            bad, good = lake.replace_dates(
                [QUARANTINE_OF[table.name], table],
                first,
                last,
                lambda source: reversed_pair(derive(source, first, last)),
                context.run_id,
            )
            rejected, rows = bad.rows, good.rows
            files = files_of(lake.open(QUARANTINE_OF[table.name]), QUARANTINE_OF[table.name])
            quarantined = rows_by_date(files, "quarantined rows", RED)
            told = {
                "rows_in_run": rows.height,
                "quarantined_in_run": rejected.height,
                "dates_changed_in_run": len({*good.changed, *bad.changed}),
            }
            report_state(context, lake, table, rows, began, told, [quarantined])
        partition = str(table.partitioned_by)
        report_rows_by_date(context, {ROW_COUNT: (partition, rows), "quarantined": (partition, rejected)})
        _report_reasons_by_date(context, rejected, partition)
        return dg.MaterializeResult()

    asset: dg.AssetsDefinition = cleansed
    return asset


def reversed_pair(split: Split) -> Split:
    """Cleansed and quarantined rows in the order in which they are written."""
    good, bad = split
    return bad, good


def _report_reasons_by_date(context: dg.AssetExecutionContext, rejected: pl.DataFrame, partition: str) -> None:
    reasons = rejected.select(date=partition, reason=pl.col("reasons").str.split(", ")).explode("reason")
    counted = reasons.group_by("date", "reason").len().sort("date", "len", "reason", descending=[False, True, False])
    for (day,), of_day in counted.group_by("date", maintain_order=True):
        by_reason = dict(of_day.select("reason", "len").iter_rows())
        context.add_asset_metadata({"quarantined_by_reason": dg.MetadataValue.json(by_reason)}, partition_key=str(day))
    if rejected.height:
        of_run = bars_by_name(reasons.group_by(name="reason").agg(value=pl.len()), RED)
        context.add_asset_metadata(
            {"reasons_in_run": as_picture(of_run, "Rows in quarantine by reason")},
            partition_key=context.partition_keys[-1],
        )


cleansed_assets = [
    _cleansed(CUSTOMERS, _customers),
    _cleansed(PRODUCTS, _products),
    _cleansed(ORDERS, _orders),
    _cleansed(ORDER_ITEMS, _order_items),
    _cleansed(PAYMENTS, _payments),
]
