"""Raw assets: the log of row versions, captured from the shop by the date of their change clock."""

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.base import contract_version, declared_at
from orders_lakehouse.contracts.checks import KEY_STANDS_ONCE, RAW_MATCHES_SOURCE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.assets.shop import shop_key
from orders_lakehouse.defs.checks.check_reporting import VERDICT, Report, report, report_all, severity_of
from orders_lakehouse.defs.checks.dimensions import as_before, spared
from orders_lakehouse.defs.metadata import describe, key_of, report_rows_by_date, report_state, table_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.replaced import sampled
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.pipeline.capture import Captured, capture, repeated_keys
from orders_lakehouse.pipeline.stored_calendar import calendar_of, require_same
from orders_lakehouse.sources.base import Window
from orders_lakehouse.sources.registry import sources_of
from orders_lakehouse.sources.schema_drift import Drift, drifts, record_shape
from orders_lakehouse.tables import RAW, entity_of, stops

SCHEMA_DRIFT = "schema_drift"
# Maximum keys listed in a verdict.
_NAMED = 5


def _raw(table: Table) -> dg.AssetsDefinition:
    check = dg.AssetCheckSpec(
        RAW_MATCHES_SOURCE,
        asset=key_of(table),
        description="Raw has every row that the shop counts in the window.",
        blocking=stops(table.path, RAW_MATCHES_SOURCE),
    )
    drift = dg.AssetCheckSpec(
        SCHEMA_DRIFT,
        asset=key_of(table),
        description=(
            "The shop has exactly the columns of the contract, in the types that they had when this version of the "
            "contract was first captured. All columns of the shop are captured all the same."
        ),
    )
    once = dg.AssetCheckSpec(
        KEY_STANDS_ONCE,
        asset=key_of(table),
        description="The shop offers each key once at a time. Rows that share a key are all captured.",
    )

    @dg.asset(
        **describe(table, kinds={"postgres", "deltalake"}, deps=[shop_key(entity_of(table))]),
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[check, drift, once],
    )
    def captured_versions(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        try:
            with failures(context):
                return dg.MaterializeResult(check_results=judged(context, lake))
        except dg.Failure as failure:
            if not spared(context, table):
                raise
            context.log.warning("%s is not captured; facts are built without it: %s", table.path, failure.description)
            nothing = pl.DataFrame([not_captured(str(failure.description))], schema=VERDICT)
            result = report(context, lake, check.key, nothing, run_dates(context), severity=severity_of(check.key))
            return dg.MaterializeResult(check_results=[result, as_before(lake, drift.key), as_before(lake, once.key)])

    def judged(context: dg.AssetExecutionContext, lake: Lake) -> list[dg.AssetCheckResult]:
        dates = run_dates(context)
        captured: list[Captured] = []
        repeated: list[pl.DataFrame] = []
        counts: list[pl.DataFrame] = []
        shapes: list[pl.DataFrame] = []
        sample = pl.DataFrame(schema=table.schema)
        began = time.perf_counter()
        calendar = calendar_of(lake)
        for source in sources_of(entity_of(table)):
            for batch in source.read_versions(table, Window(*dates, calendar)):
                rows = batch.rows.with_columns(run_id=pl.lit(context.run_id))
                repeated.append(repeated_keys(table, rows))
                captured.append(capture(lake, table, rows, calendar, batch.extras))
                # Only a sample is kept, because the rows themselves would stay in memory.
                sample = sampled(rows, table.partitioned_by) if rows.height else sample
            counts.append(batch.counted)
            shapes.append(record_shape(lake, table, batch.shape, captured[-1].extra_columns, context.run_id))
        require_same(lake, calendar)
        present = pl.concat([part.present for part in captured]).group_by("date").agg(pl.col("rows").sum())
        report_rows_by_date(context, {"versions_read": present})
        new = sum(part.new for part in captured)
        report_state(context, lake, table, sample, began, {"new_versions_in_run": new})
        counted = matches_source(pl.concat(counts).group_by("date").agg(pl.col("rows").sum()), present)
        drifted = drifts(table, shapes[-1])
        warn = dg.AssetCheckSeverity.WARN
        details = {"drift": table_of(pl.DataFrame(drifted))} if drifted else {}
        reports = [
            Report(check.key, counted, dates, severity_of(check.key)),
            Report(drift.key, fits_contract(table, drifted), None, warn, details),
            Report(once.key, each_key_once(pl.concat(repeated)), dates, warn),
        ]
        return report_all(context, lake, reports)

    asset: dg.AssetsDefinition = captured_versions
    return asset


def matches_source(counted: pl.DataFrame, present: pl.DataFrame) -> pl.DataFrame:
    """Compare the rows that the shop counts with those in raw.

    Args:
        counted: date, rows, as counted by the shop.
        present: date, rows, as present in raw.

    Returns:
        date, passed, expected, found, detail; a row for each date that has rows on either side.
    """
    stored = present.select("date", found="rows")
    both = counted.join(stored, on="date", how="full", coalesce=True).with_columns(pl.col("rows", "found").fill_null(0))
    return both.select(
        "date",
        passed=pl.col("rows") == pl.col("found"),
        expected=pl.format("{} rows in the shop", "rows"),
        found=pl.format("{} in raw", "found"),
        detail=pl.lit(None, pl.String),
    )


def not_captured(error: str) -> dict[str, Any]:
    """Return the verdict on every date of a run that could not read its table of the shop."""
    return {"date": None, "passed": False, "expected": "every row of the shop", "found": f"not captured: {error}"}


def each_key_once(repeated: pl.DataFrame) -> pl.DataFrame:
    """Return verdicts on dates on which the shop offers a key more than once.

    Args:
        repeated: date, key, rows, of the repeated keys.

    Returns:
        date, passed, expected, found, detail; a row for each date that has such keys.
    """
    named = pl.format("{} ({} rows)", "key", "rows").head(_NAMED).str.join(", ")
    more = pl.when(pl.len() > _NAMED).then(pl.format(", and {} more", pl.len() - _NAMED)).otherwise(pl.lit(""))
    return repeated.group_by("date", maintain_order=True).agg(
        passed=pl.lit(value=False),
        expected=pl.lit("each key once"),
        found=pl.format("keys that occur more than once: {}", pl.len()),
        detail=pl.concat_str(named, more),
    )


def fits_contract(table: Table, drifted: Sequence[Drift]) -> pl.DataFrame:
    """Compare the shape of the shop's table with the contract of its raw table.

    Args:
        table: The raw table.
        drifted: Columns that differ.

    Returns:
        date (null: the whole table), passed, expected, found, detail; one row.
    """
    expected = [f"version {contract_version(table.model)} of the contract ({declared_at(table.model)})"]
    verdict = {
        "date": None,
        "passed": not drifted,
        "expected": "; ".join(expected + [f"{drift.column}: {drift.expected}" for drift in drifted]),
        "found": "; ".join(f"{drift.column}: {drift.found} since {drift.since:%Y-%m-%d %H:%M}Z" for drift in drifted)
        or None,
        "detail": "; ".join(f"{drift.column}: {drift.to_do}" for drift in drifted) or None,
    }
    return pl.DataFrame([verdict], schema=VERDICT)


raw_assets = [_raw(table) for table in RAW]
