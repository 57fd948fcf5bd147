"""Warehouse: copies of lake tables in Postgres, for dbt. Unpartitioned: a load takes whatever dates have changed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import dagster as dg

from orders_lakehouse.calendar import configured_calendar
from orders_lakehouse.contracts.document import OWNERS
from orders_lakehouse.contracts.tables import ORDERS
from orders_lakehouse.defs.metadata import ROW_COUNT, copied, key_of
from orders_lakehouse.defs.models import model_schema
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.settings import settings
from orders_lakehouse.warehouse.calendar import calendar_days, load_calendar
from orders_lakehouse.warehouse.load import COPIES, SCHEMA, Copy, load
from orders_lakehouse.warehouse.models import manifest

# While one load reads and encodes, the server takes in rows of another; more at once would only take memory.
_AT_ONCE = 2


def _spec(copy: Copy) -> dg.AssetSpec:
    return dg.AssetSpec(
        ["warehouse", copy.name],
        group_name="warehouse",
        description=f"Copy of {copy.table.path} in the warehouse's schema lake.",
        kinds={"postgres"},
        owners=OWNERS,
        deps=[key_of(copy.table)],
        metadata=copied(copy.table, copy.types, f"{SCHEMA}.{copy.name}"),
    )


@dg.multi_asset(
    name="warehouse__copies",
    specs=[_spec(copy) for copy in COPIES],
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def copies(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.MaterializeResult]:
    """Copies of lake tables. Each is a transaction of its own: when one fails, the others stand."""
    selected = [copy for copy in COPIES if dg.AssetKey(["warehouse", copy.name]) in context.selected_asset_keys]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # The largest first, so that the others are done meanwhile.
        loads = {copy.name: pool.submit(load, lake, copy) for copy in reversed(selected)}
        for copy in selected:
            with failures(context):
                done = loads[copy.name].result()
            yield dg.MaterializeResult(
                asset_key=["warehouse", copy.name],
                metadata={
                    "rows_copied": done.rows,
                    "dates_replaced": "all" if done.dates is None else str(done.dates),
                    "delta_version": done.version,
                },
            )


@dg.asset(
    key=["warehouse", "calendar"],
    group_name="warehouse",
    kinds={"postgres"},
    owners=OWNERS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[key_of(ORDERS)],
    metadata={
        "dagster/table_name": f"{SCHEMA}.calendar",
        "dagster/column_schema": model_schema(manifest(), "source.orders_lakehouse.lake.calendar"),
    },
)
def calendar(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Every day from the first partition to the end of the year after the last order, with public holidays."""
    with failures(context):
        first = configured_calendar().start
        last = date(lake.latest_date(ORDERS, default=first).year + 1, 12, 31)
        days = calendar_days(first, last, settings().holidays_country)
        load_calendar(days)
    return dg.MaterializeResult(metadata={ROW_COUNT: days.height})
