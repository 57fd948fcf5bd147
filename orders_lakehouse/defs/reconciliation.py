"""Regular comparisons that should find nothing: the nightly reconciliation with the shop, and the weekly repair."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.checks import AS_IN_SHOP, RAW_MATCHES_SOURCE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import in_words
from orders_lakehouse.defs.checks.check_reporting import VERDICT, report, started
from orders_lakehouse.defs.checks.monitors import FRESHNESS
from orders_lakehouse.defs.metadata import FEW, few_of, key_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.log import dates_changed_by
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.base import Entity, SourceTotal
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.instance.run_tags import TRIGGER
from orders_lakehouse.partitions import range_tags, run_dates
from orders_lakehouse.pipeline.check_results import failing_dates, latest
from orders_lakehouse.pipeline.healing import heal, held_back
from orders_lakehouse.pipeline.reconciliation import Compared, compare_totals_with_shop, compare_with_shop
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, DATED, QUARANTINE, RAW, ROOT, VOLUMES

_STATUS = dg.DefaultScheduleStatus[settings().sensors.upper()]
REPAIR = "repair_job"
# Name of each check of an amount that the source computes, too.
TOTALS = tuple(AS_IN_SHOP.format(entity.total.column) for entity in ENTITIES if entity.total)
# Tag of a run that decides what happens to the differences; without it, the settings decide.
RECONCILE_TAG, COMPARE, APPLY, ALLOW = "lakehouse/reconcile", "compare", "apply", "allow"
_REPAIRED = (*QUARANTINE, *CLEANSED, *(table for table in CURATED if table.partitioned_by))
# Table that bears the check of a repair: the shop's daily numbers.
_DAILY = VOLUMES[0][0].table


def _agrees_with_shop(table: Table) -> dg.AssetChecksDefinition:
    name = "agrees_with_shop"
    description = (
        "The shop holds the current version of each row of raw: no row is gone (deleted instead of marked), none was "
        "missed, and none has changed without a new updated_at. All rows are read, on both sides. Missed rows are "
        "captured and gone rows get a tombstone, unless LAKEHOUSE_RECONCILE_APPLIES is off."
    )

    @dg.asset_check(asset=key_of(table), name=name, description=description)
    def agrees_with_shop(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        key = dg.AssetCheckKey(key_of(table), name)
        with failures(context):
            calendar = calendar_of(lake)
            captured = set(latest(lake, asset=table.path, check_name=RAW_MATCHES_SOURCE)["date"])
            before = after = compare_with_shop(lake, table, calendar, captured)
            held = held_back(before.standing, before.standing.clear(), limit=1)
            limit = _limit(context)
            if limit is not None:
                healed = heal(lake, table, before, calendar, context.run.run_id, limit)
                held = healed.held
                if healed.ended or healed.captured:
                    after = compare_with_shop(lake, table, calendar, captured)
            differing = _differences(after)
            resolved = _differences(before).join(differing, on=["date", "difference"], how="anti")
            verdicts = _verdicts(differing, held)
            applied = _applied(resolved, verdicts["date"])
            others = pl.concat([verdicts["date"], applied["date"]])
            # The verdict without a date records that the table was compared; differences have dates.
            whole = pl.DataFrame([{"date": None, "passed": True}], schema=VERDICT)
            metadata: dict[str, Any] = {"rows compared": after.rows, **few_of(differing)}
            if limit is not None and (healed.ended or healed.captured):
                metadata |= {"tombstones written": healed.ended, "versions captured": healed.captured}
            all_verdicts = pl.concat([whole, verdicts, applied, _agreeing_again(lake, key, others)])
            return report(context, lake, key, all_verdicts, None, metadata=metadata)

    return agrees_with_shop


def _limit(context: dg.AssetCheckExecutionContext) -> float | None:
    """Return the share of keys that may be gone at once in a run that applies differences; None if it only compares."""
    how = context.run.tags.get(RECONCILE_TAG, APPLY if settings().reconcile_applies else COMPARE)
    return {COMPARE: None, ALLOW: 1.0}.get(how, settings().gone_limit)


def _differences(compared: Compared) -> pl.DataFrame:
    """Return date, difference, count, keys (a few, as text) of the differences."""
    differing = compared.by_date.filter(pl.col("difference").is_not_null())
    few = pl.col("keys").list.head(FEW).list.join(", ")
    return differing.select("date", "difference", count=pl.col("keys").list.len(), keys=few)


def _verdicts(differing: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    text = pl.format("{} {} ({})", "count", "difference", "keys").sort().str.join("; ")
    by_date = differing.group_by("date").agg(count=pl.col("count").sum(), text=text).join(held, on="date", how="left")
    guard = pl.format(
        "; {} of {} rows of the {} are gone at once, more than LAKEHOUSE_GONE_LIMIT allows. They stay until you run "
        "lakehouse reconcile --apply --allow",
        "gone",
        "keys",
        pl.when("of_table").then(pl.lit("table")).otherwise(pl.lit("date")),
    )
    verdicts = by_date.select(
        "date",
        passed=pl.lit(value=False),
        expected=pl.lit("every row of the shop, unchanged"),
        found=pl.format("{} rows that differ", "count"),
        detail=pl.concat_str("text", pl.when(pl.col("gone").is_not_null()).then(guard).otherwise(pl.lit(""))),
    )
    return verdicts.select(pl.col(name).cast(dtype) for name, dtype in VERDICT.items())


def _applied(resolved: pl.DataFrame, differing: pl.Series) -> pl.DataFrame:
    """Return passing verdicts for dates on which all differences were resolved."""
    text = pl.format("{} {} ({})", "count", "difference", "keys").sort().str.join("; ")
    by_date = (
        resolved.filter(~pl.col("date").is_in(differing.implode()))
        .group_by("date")
        .agg(
            passed=pl.lit(value=True),
            expected=pl.lit("every row of the shop, unchanged"),
            found=pl.format("{} rows that differed, and agree now", pl.col("count").sum()),
            detail=text,
        )
    )
    return by_date.select(pl.col(name).cast(dtype) for name, dtype in VERDICT.items())


def _agreeing_again(lake: Lake, check: dg.AssetCheckKey, differing: pl.Series) -> pl.DataFrame:
    """Return passing verdicts for dates that did not agree the last time and do now."""
    before = failing_dates(latest(lake, asset=check.asset_key.to_user_string(), check_name=check.name))
    agreeing = [day for day in before if day not in set(differing)]
    return pl.DataFrame([{"date": day, "passed": True} for day in agreeing], schema=VERDICT)


def _total_as_in_shop(entity: Entity, total: SourceTotal) -> dg.AssetChecksDefinition:
    table, name = entity.cleansed, AS_IN_SHOP.format(total.column)
    key = dg.AssetCheckKey(key_of(table), name)
    description = (
        f"The shop computes the same {total.column} for each line, {total.what}, if both sides have the same version. "
        "All lines are read, on both sides."
    )

    @dg.asset_check(asset=key_of(table), name=name, description=description)
    def total_as_in_shop(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        with failures(context):
            compared = compare_totals_with_shop(lake, entity, total)
            differing = compared.filter(pl.col("differing") > 0)
            verdicts = differing.select(
                "date",
                passed=pl.lit(value=False),
                expected=pl.format("{} over {} lines", "expected", "lines"),
                found=pl.format("{}, {} lines differ", "found", "differing"),
                detail=pl.format(
                    "order / line: the shop's total, not ours: {}. Unless {} also differs from the shop, an amount is "
                    "rounded or parsed wrongly: fix that, then derive the date again",
                    pl.col("sample").list.join("; "),
                    pl.lit(entity.raw.path),
                ),
            )
            whole = pl.DataFrame([{"date": None, "passed": True}], schema=VERDICT)
            verdicts = pl.concat([whole, verdicts, _agreeing_again(lake, key, differing["date"])])
            return report(context, lake, key, verdicts, None, metadata={"lines compared": int(compared["lines"].sum())})

    return total_as_in_shop


reconciliation_checks = [
    *(_agrees_with_shop(table) for table in RAW),
    *(_total_as_in_shop(entity, entity.total) for entity in ENTITIES if entity.total),
]


@dg.asset_check(
    asset=key_of(_DAILY),
    additional_deps=[key_of(entity.cleansed) for entity in DATED],
    description="Deriving dates again changes nothing, because they were derived after the last capture of their rows.",
)
def repair_changes_nothing(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Search the commits of the run for dates that changed."""
    key = dg.AssetCheckKey(key_of(_DAILY), "repair_changes_nothing")
    with failures(context):
        if context.run.job_name != REPAIR:
            # Other runs are meant to change tables, so the result of the last repair stays in force.
            held = latest(lake, asset=_DAILY.path, check_name=key.name)["passed"].all()
            return dg.AssetCheckResult(
                passed=held, severity=dg.AssetCheckSeverity.WARN, metadata={"judged": f"by the last {REPAIR}"}
            )
        since = started(context)
        changed = {table.path: dates_changed_by(lake, table, context.run.run_id, since) for table in _REPAIRED}
        rows: list[Mapping[str, Any]] = [
            {
                "date": day,
                "passed": False,
                "expected": "unchanged",
                "found": "changed",
                "detail": ", ".join(path for path, dates in changed.items() if day in dates),
            }
            for day in sorted(set().union(*changed.values()))
        ]
        dates_by_table = {path: in_words(dates) for path, dates in changed.items() if dates}
        return report(
            context,
            lake,
            key,
            pl.DataFrame(rows, schema=VERDICT),
            run_dates(context),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"changed": dg.MetadataValue.json(dates_by_table)} if dates_by_table else {},
        )


# Checks that are left to jobs of their own.
UPKEEP = dg.AssetSelection.checks(*reconciliation_checks, repair_changes_nothing) | FRESHNESS

reconcile_job = dg.define_asset_job(
    "reconcile_job",
    selection=dg.AssetSelection.checks(*reconciliation_checks),
    description=(
        "Compares every row of the shop with raw, captures missed rows and writes tombstones for gone ones; and "
        "compares every total with the shop's own computation."
    ),
)
_DERIVED_FROM_RAW = dg.AssetSelection.groups("cleansed", "curated")
repair_job = dg.define_asset_job(
    REPAIR,
    selection=(_DERIVED_FROM_RAW - UPKEEP) | dg.AssetSelection.checks(repair_changes_nothing),
    description="Derives dates again from raw, and reports whether that changed anything. It should not.",
)


@dg.schedule(
    job=reconcile_job,
    cron_schedule="30 3 * * *",
    default_status=_STATUS,
    execution_timezone=settings().timezone,
)
def reconcile_schedule(_: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Compare with the shop every night."""
    return dg.RunRequest(tags={TRIGGER: "nightly comparison"})


@dg.schedule(job=repair_job, cron_schedule="0 4 * * 0", default_status=_STATUS, execution_timezone=settings().timezone)
def repair_schedule(_: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[Lake]) -> dg.RunRequest:
    """Every Sunday, derive the last dates with orders again."""
    last = lake.latest_date(ROOT.cleansed, default=settings().start_date)
    first = max(settings().start_date, last - timedelta(days=settings().repair_days - 1))
    return dg.RunRequest(tags={**range_tags(first, last), TRIGGER: "weekly repair"})
