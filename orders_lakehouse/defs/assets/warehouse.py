"""Warehouse assets: copies of lake tables in Postgres, for dbt. Unpartitioned: a load copies the dates that changed."""

from datetime import date

import dagster as dg

from orders_lakehouse.contracts.document import OWNERS
from orders_lakehouse.defs.checks.dimensions import gets_through, report_step
from orders_lakehouse.defs.dbt_models import model_schema
from orders_lakehouse.defs.metadata import ROW_COUNT, copied, key_of, priority
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.stored_calendar import days_with_holidays
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import DIMENSIONS, ROOT
from orders_lakehouse.warehouse.calendar import load_calendar
from orders_lakehouse.warehouse.copies import COPIES, Copy, lake_schema
from orders_lakehouse.warehouse.load import load
from orders_lakehouse.warehouse.models import manifest


def _copy(copy: Copy) -> dg.AssetsDefinition:
    key = dg.AssetKey(["warehouse", copy.name])
    is_dimension = copy.table in DIMENSIONS

    @dg.asset(
        key=key,
        group_name="warehouse",
        description=f"Copy of {copy.table.path} in the warehouse's schema lake.",
        kinds={"postgres"},
        owners=OWNERS,
        deps=[key_of(copy.table)],
        metadata=copied(copy.table, copy.types, f"{lake_schema()}.{copy.name}"),
        op_tags=priority(copy.table),
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[gets_through(key)] if is_dimension else [],
    )
    def loaded(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        try:
            with failures(context):
                result = load(lake, copy)
        except dg.Failure as failure:
            if not is_dimension:
                raise
            check = report_step(context, lake, key, failure.description)
            return dg.MaterializeResult(metadata={"kept": "as it was"}, check_results=[check])
        return dg.MaterializeResult(
            check_results=[report_step(context, lake, key, None)] if is_dimension else [],
            metadata={
                "rows_copied": result.rows,
                "dates_replaced": "all" if result.dates is None else str(result.dates),
                "delta_version": result.version,
            },
        )

    asset: dg.AssetsDefinition = loaded
    return asset


@dg.asset(
    key=["warehouse", "calendar"],
    group_name="warehouse",
    kinds={"postgres"},
    owners=OWNERS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[key_of(ROOT.cleansed)],
    metadata={
        "dagster/table_name": f"{lake_schema()}.calendar",
        "dagster/column_schema": model_schema(manifest(), "source.orders_lakehouse.lake.calendar"),
    },
)
def calendar(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Every day from the first partition to the end of the year after the last order, with public holidays."""
    with failures(context):
        first = settings().start_date
        last = date(lake.latest_date(ROOT.cleansed, default=first).year + 1, 12, 31)
        days = days_with_holidays(lake, first, last)
        load_calendar(days)
    country = days["holidays_country"][0]
    if country != settings().holidays_country:
        context.log.warning(
            f"LAKEHOUSE_HOLIDAYS_COUNTRY is {settings().holidays_country}, and the lake has the holidays of {country}; "
            "run `lakehouse calendar --apply` to change them."
        )
    return dg.MaterializeResult(metadata={ROW_COUNT: days.height, "holidays_country": country})


copies = [_copy(copy) for copy in COPIES]
