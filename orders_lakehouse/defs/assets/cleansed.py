"""Cleansed assets: current rows by business date (every version of a dimension), split by their contracts.

Each asset writes its quarantine table in the same step.
"""

import time
from datetime import date

import dagster as dg
import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.charts import RED, Series, as_picture, bars_by_name
from orders_lakehouse.defs.checks.dimensions import gets_through, report_step, spared
from orders_lakehouse.defs.execution import derive_in_step
from orders_lakehouse.defs.metadata import (
    ROWS_OF_DATE,
    SAMPLE_ROWS,
    days_shown,
    describe,
    key_of,
    report_rows_by_date,
    report_state,
    sample_of,
)
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.pipeline.quarantine import by_reason, has_reason, quarantined
from orders_lakehouse.runtime.metadata_by_date import add_metadata_by_date
from orders_lakehouse.tables import CLEANSED, DIMENSIONS, QUARANTINE_OF

# Number of reasons with a chart by date.
_TRENDS = 3
# Number of rows of a reason in a sample.
_SAMPLED = 2
_COMMANDS = """```sh
lakehouse quarantine list --table {table}      # why, since when
lakehouse quarantine show {table} KEY          # all of a row
lakehouse quarantine export --table {table} .  # to correct it
lakehouse quarantine replay --table {table}    # after a waiver
```"""


def _cleansed(table: Table) -> dg.AssetsDefinition:
    @dg.asset(
        **describe(table, kinds={"polars", "deltalake", "pandera"}),
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[gets_through(key_of(table))] if table in DIMENSIONS else [],
    )
    def cleansed(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        failure = None
        try:
            with failures(context):
                _derive(context, lake, table)
        except dg.Failure as raised:
            if not spared(context, table):
                raise
            failure = raised.description or str(raised)
        results = [report_step(context, lake, key_of(table), failure)] if table in DIMENSIONS else []
        return dg.MaterializeResult(check_results=results)

    asset: dg.AssetsDefinition = cleansed
    return asset


def _derive(context: dg.AssetExecutionContext, lake: Lake, table: Table) -> None:
    """Derive the run's dates, and report on them."""
    first, last = run_dates(context)
    began = time.perf_counter()
    bad, good = derive_in_step(context, lake, table, (first, last))
    shown = days_shown(first, last)
    in_quarantine = quarantined(lake, table).filter(pl.col(str(table.partitioned_by)).is_between(*shown))
    counts_by_reason = by_reason(in_quarantine, table)
    counts = {
        "rows_in_run": good.rows,
        "quarantined_in_run": bad.rows,
        "dates_changed_in_run": pl.concat([good.changed, bad.changed]).n_unique(),
    }
    report_state(context, lake, table, good.sample, began, counts, _trends(counts_by_reason))
    _report_quarantine(context, table, in_quarantine, counts_by_reason, shown)
    report_rows_by_date(context, {ROWS_OF_DATE: good.by_date, "quarantined": bad.by_date})
    _report_reasons_by_date(context, counts_by_reason.filter(pl.col("date").is_between(first, last)))


def _report_reasons_by_date(context: dg.AssetExecutionContext, counts_by_reason: pl.DataFrame) -> None:
    counted = counts_by_reason.sort("date", "rows", "reason", descending=[False, True, False])
    by_date = {
        str(day): {"quarantined_by_reason": dg.MetadataValue.json(dict(of_day.select("reason", "rows").iter_rows()))}
        for (day,), of_day in counted.group_by("date", maintain_order=True)
    }
    add_metadata_by_date(context, by_date)


def _trends(counts_by_reason: pl.DataFrame) -> list[Series]:
    """Return the most frequent reasons as series by date."""
    return [
        Series(f"quarantine: {reason}", counts_by_reason.filter(reason=reason).select("date", value="rows"), RED)
        for reason in _most_frequent(counts_by_reason)["reason"].head(_TRENDS)
    ]


def _most_frequent(counts_by_reason: pl.DataFrame) -> pl.DataFrame:
    """Return reasons, the most frequent first, with the latest date of each: reason, rows, date."""
    by_name = counts_by_reason.group_by("reason").agg(pl.col("rows").sum(), pl.col("date").max())
    return by_name.sort("rows", "reason", descending=[True, False])


def _report_quarantine(
    context: dg.AssetExecutionContext,
    table: Table,
    in_quarantine: pl.LazyFrame,
    counts_by_reason: pl.DataFrame,
    shown: tuple[date, date],
) -> None:
    """Report once, at the run's last date, what is in quarantine on the charted dates, and how to go on."""
    if counts_by_reason.is_empty():
        return
    quarantine = QUARANTINE_OF[table.name]
    reasons = bars_by_name(counts_by_reason.group_by(name="reason").agg(value=pl.col("rows").sum()), RED)
    # The sample comes from the latest date of each reason, so that only a few partitions are read.
    day = pl.col(str(quarantine.partitioned_by))
    some = [
        in_quarantine.filter(day == row["date"], has_reason(row["reason"])).head(_SAMPLED)
        for row in _most_frequent(counts_by_reason).head(SAMPLE_ROWS // _SAMPLED).iter_rows(named=True)
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


cleansed_assets = [_cleansed(table) for table in CLEANSED]
