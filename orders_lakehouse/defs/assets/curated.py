"""Curated assets: one for each curated table, made by its recipe."""

import time
from itertools import chain, repeat
from typing import Any

import dagster as dg
import narwhals as nw

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.base import Curated
from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.defs.charts import BLUE, GREEN, Series, as_picture, bars_by_name
from orders_lakehouse.defs.execution import derive_in_step
from orders_lakehouse.defs.metadata import ROWS_OF_DATE, days_shown, describe, report_rows_by_date, report_state
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.partitions import DAILY, run_dates


def _curated(curated: Curated) -> dg.AssetsDefinition:
    table = curated.table

    @dg.asset(
        **describe(table, kinds={"polars", "deltalake"}),
        # A table without dates has partitions, too: Dagster would cut a range of dates where partitions differ.
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def curated_rows(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        began = time.perf_counter()
        with failures(context):
            (result,) = derive_in_step(context, lake, table, run_dates(context))
            details = _drawn_by_name(lake, table, curated.drawn_by) if curated.drawn_by else {}
            if table.partitioned_by is not None:
                details |= {"rows_in_run": result.rows, "dates_changed_in_run": len(result.changed)}
            report_state(context, lake, table, result.sample, began, details, _drawn_by_date(context, lake, curated))
        if table.partitioned_by is not None:
            report_rows_by_date(context, {ROWS_OF_DATE: result.by_date})
        return dg.MaterializeResult()

    asset: dg.AssetsDefinition = curated_rows
    return asset


def _drawn_by_date(context: dg.AssetExecutionContext, lake: Lake, curated: Curated) -> list[Series]:
    """Return the series that a table draws by date, the first one in green."""
    if curated.drawn_by_date is None:
        return []
    rows = rows_of(lake.scan(curated.table, between=days_shown(*run_dates(context))))
    colours = chain([GREEN], repeat(BLUE))
    drawn = curated.drawn_by_date(rows).items()
    return [Series(title, values, colour) for (title, values), colour in zip(drawn, colours, strict=False)]


def _drawn_by_name(lake: Lake, table: Table, column: str) -> dict[str, Any]:
    """Draw the number of rows for each value of a column."""
    counted = rows_of(lake.scan(table).group_by(nw.col(column).alias("name")).agg(value=nw.len()))
    return {f"rows_by_{column}": as_picture(bars_by_name(counted), f"Rows by {column}")}


curated_assets = [_curated(curated) for curated in CURATED_TABLES]
