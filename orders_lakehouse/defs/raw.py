"""Raw: the log of row versions, captured from the shop by the date of its change clock."""

import dagster as dg
import polars as pl

from orders_lakehouse.calendar import configured_calendar
from orders_lakehouse.contracts.tables import RAW, Table
from orders_lakehouse.defs.metadata import describe, report_rows_by_date
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.lake.capture import Captured, capture
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.sources.shop import Window, read_versions


def _raw(table: Table) -> dg.AssetsDefinition:
    @dg.asset(
        **describe(table, kinds={"postgres", "deltalake"}),
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[
            dg.AssetCheckSpec(
                "raw_matches_source",
                asset=["raw", table.name],
                description="Every row that the shop counts in the window stands in raw.",
                blocking=True,
            )
        ],
    )
    def captured_versions(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        first, last = run_dates(context)
        calendar = configured_calendar()
        captured: list[Captured] = []
        with failures(context):
            for batch in read_versions(table, Window(first, last, calendar)):
                rows = batch.rows.with_columns(run_id=pl.lit(context.run_id))
                captured.append(capture(lake, table, rows, calendar))
        dates = pl.concat([part.captured_on for part in captured]).to_frame()
        report_rows_by_date(context, {"versions_read": ("captured_on", dates)})
        present = sum(part.present for part in captured)
        return dg.MaterializeResult(
            metadata={"new_versions_in_run": sum(part.new for part in captured)},
            check_results=[
                dg.AssetCheckResult(
                    check_name="raw_matches_source",
                    passed=present == batch.in_window,
                    metadata={
                        "expected (shop)": batch.in_window,
                        "found (raw)": present,
                        "dates": f"{first} to {last}",
                    },
                )
            ],
        )

    asset: dg.AssetsDefinition = captured_versions
    return asset


raw_assets = [_raw(table) for table in RAW]
