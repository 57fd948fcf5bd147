"""Describe the state of a mart on its page: rows, rows by date, a chart, and a sample."""

from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.personal import masked
from orders_lakehouse.defs.charts import Series, as_picture, bars_by_date
from orders_lakehouse.defs.metadata import (
    ROW_COUNT,
    ROWS_OF_DATE,
    SAMPLE_ROWS,
    chart_span,
    days_shown,
    report_rows_by_date,
    table_of,
)
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.partitions import run_dates
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.contents import number_of_rows, rows_of_fact_by_date, some_rows


def with_state(context: dg.AssetExecutionContext, output: dg.Output[None]) -> dg.Output[None]:
    """Return the output of a mart that dbt has just built, and record the mart's state once, at the run's last date.

    Args:
        context: Context of the running step.
        output: The output that dagster-dbt has made.

    Returns:
        The output with the seconds that dbt took; dbt's own ids are left out.
    """
    mart = context.asset_key_for_output(output.output_name)
    node = models.mart(models.manifest(), mart.path[-1])
    name, (first, last) = node["name"], run_dates(context)
    shown: dict[str, Any] = {}
    newest = None
    with failures(context):
        shown[ROW_COUNT] = number_of_rows(name)
        if models.is_by_date(node):
            rows = rows_of_fact_by_date(name, *days_shown(first, last))
            in_run = rows.filter(pl.col("date").is_between(first, last))
            newest = max(in_run["date"], default=last)
            bars = Series(f"rows of {name}", rows.rename({"rows": "value"}))
            chart = bars_by_date([bars], *chart_span(rows, first, last))
            shown |= {"by_date": as_picture(chart, "Bars by date"), "rows_in_run": int(in_run["rows"].sum())}
            report_rows_by_date(context, {ROWS_OF_DATE: in_run}, mart)
        sample = some_rows(name, list(node["columns"]), newest, SAMPLE_ROWS)
    personal = {column for column, described in node["columns"].items() if "pii" in described["tags"]}
    context.add_asset_metadata(
        {**shown, "sample": table_of(masked(sample, personal))}, mart, partition_key=context.partition_keys[-1]
    )
    seconds = output.metadata["Execution Duration"].value
    return dg.Output(None, output.output_name, metadata={"duration": f"{seconds:.1f} s"})
