"""Cleansed: current rows by business date (every version of a dimension), split by their contracts.

Each asset writes its quarantine table in the same step.
"""

import time
from collections.abc import Callable, Sequence
from datetime import date

import dagster as dg
import narwhals as nw
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
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.defs.metadata import (
    ROW_COUNT,
    SAMPLE_ROWS,
    days_shown,
    describe,
    report_rows_by_date,
    report_state,
    sample_of,
)
from orders_lakehouse.defs.pictures import RED, Series, as_picture, bars_by_name
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.lake.delta import Lake, rows_of
from orders_lakehouse.lake.history import children_of_orders, versions_of_orders
from orders_lakehouse.lake.quarantine import by_reason, has_reason, quarantined
from orders_lakehouse.lake.waivers import configured_waivers
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.transforms.dimensions import cleanse_customers, cleanse_products
from orders_lakehouse.transforms.orders import cleanse_order_items, cleanse_orders, cleanse_payments

# Reasons whose rows are drawn by date.
_TRENDS = 3
# Rows of a reason in a sample.
_SAMPLED = 2
_COMMANDS = """```sh
lakehouse quarantine list --table {table}      # why, since when
lakehouse quarantine show {table} KEY          # all of a row
lakehouse quarantine export --table {table} .  # to correct it
lakehouse quarantine replay --table {table}    # after a waiver
```"""
Split = Sequence[Frame]
Waivers = Sequence[Waiver]


def _orders(lake: Lake, first: date, last: date, waivers: Waivers) -> Split:
    return cleanse_orders(versions_of_orders(lake, first, last), first, last, configured_calendar(), waivers)


def _order_items(lake: Lake, first: date, last: date, waivers: Waivers) -> Split:
    return cleanse_order_items(*children_of_orders(lake, RAW_OF["order_items"], first, last), first, last, waivers)


def _payments(lake: Lake, first: date, last: date, waivers: Waivers) -> Split:
    return cleanse_payments(*children_of_orders(lake, RAW_OF["payments"], first, last), first, last, waivers)


def _customers(lake: Lake, first: date, last: date, waivers: Waivers) -> Split:
    versions = lake.scan(RAW_OF["customers"], between=(first, last))
    return cleanse_customers(versions, configured_calendar().timezone, waivers)


def _products(lake: Lake, first: date, last: date, waivers: Waivers) -> Split:
    return cleanse_products(lake.scan(RAW_OF["products"], between=(first, last)), waivers)


def _cleansed(table: Table, derive: Callable[[Lake, date, date, Waivers], Split]) -> dg.AssetsDefinition:
    @dg.asset(
        **describe(table, kinds={"polars", "deltalake", "pandera"}),
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def cleansed(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        first, last = run_dates(context)
        began = time.perf_counter()
        with failures(context):
            waivers = configured_waivers()
            # Quarantine first: a crash in between leaves a row that got worse in both tables, rather than in none.
            bad, good = lake.replace_dates(
                [QUARANTINE_OF[table.name], table],
                first,
                last,
                lambda source: reversed_pair(derive(source, first, last, waivers)),
                context.run_id,
            )
            rejected, rows = bad.rows, good.rows
            shown = days_shown(first, last)
            in_quarantine = quarantined(lake, table).filter(pl.col(str(table.partitioned_by)).is_between(*shown))
            standing = by_reason(in_quarantine, table)
            told = {
                "rows_in_run": rows.height,
                "quarantined_in_run": rejected.height,
                "dates_changed_in_run": len({*good.changed, *bad.changed}),
            }
            report_state(context, lake, table, rows, began, told, _trends(standing))
            _report_quarantine(context, table, in_quarantine, standing, shown)
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
        told = dict(of_day.select("reason", "len").iter_rows())
        context.add_asset_metadata({"quarantined_by_reason": dg.MetadataValue.json(told)}, partition_key=str(day))


def _trends(standing: pl.DataFrame) -> list[Series]:
    """The most frequent reasons by date, to draw."""
    return [
        Series(f"quarantine: {reason}", standing.filter(reason=reason).select("date", value="rows"), RED)
        for reason in _most_frequent(standing)["reason"].head(_TRENDS)
    ]


def _most_frequent(standing: pl.DataFrame) -> pl.DataFrame:
    """Reasons, the most frequent first, with the latest date of each: reason, rows, date."""
    by_name = standing.group_by("reason").agg(pl.col("rows").sum(), pl.col("date").max())
    return by_name.sort("rows", "reason", descending=[True, False])


def _report_quarantine(
    context: dg.AssetExecutionContext,
    table: Table,
    in_quarantine: pl.LazyFrame,
    standing: pl.DataFrame,
    shown: tuple[date, date],
) -> None:
    """Tell once, at the run's last date, what stands in quarantine on the dates that are shown, and how to go on."""
    if standing.is_empty():
        return
    quarantine = QUARANTINE_OF[table.name]
    reasons = bars_by_name(standing.group_by(name="reason").agg(value=pl.col("rows").sum()), RED)
    # From the latest date of each reason: a few partitions are read, whatever the table holds.
    day = pl.col(str(quarantine.partitioned_by))
    some = [
        in_quarantine.filter(day == row["date"], has_reason(row["reason"])).head(_SAMPLED)
        for row in _most_frequent(standing).head(SAMPLE_ROWS // _SAMPLED).iter_rows(named=True)
    ]
    rows = rows_of(nw.from_native(pl.concat(some).unique(maintain_order=True)))
    first = [*table.key, "reasons", str(quarantine.partitioned_by)]
    context.add_asset_metadata(
        {
            "quarantine_by_reason": as_picture(reasons, f"Rows in quarantine by reason, {shown[0]} to {shown[1]}"),
            "quarantine_sample": sample_of(rows.select(*first, pl.exclude(first)), quarantine),
            "quarantine_commands": dg.MetadataValue.md(_COMMANDS.format(table=table.name)),
        },
        partition_key=context.partition_keys[-1],
    )


cleansed_assets = [
    _cleansed(CUSTOMERS, _customers),
    _cleansed(PRODUCTS, _products),
    _cleansed(ORDERS, _orders),
    _cleansed(ORDER_ITEMS, _order_items),
    _cleansed(PAYMENTS, _payments),
]
