"""A dimension that is broken warns and stops nothing: facts are built with the members that are known or inferred.

A step of its members that fails is told by the check `gets_through`, and leaves what it found as it was.
"""

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.checks import GETS_THROUGH
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.check_reporting import Context, report_what_is_new
from orders_lakehouse.defs.checks.in_force import what_fails
from orders_lakehouse.defs.metadata import key_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.check_results import failing, of_check
from orders_lakehouse.tables import DIMENSIONS, FACTS, dimension_of

_DESCRIPTIONS = {
    "cleansed": "The dates of the run were derived. Where they were not, the rows of before stand.",
    "warehouse": "The copy was loaded. Where it was not, it has the rows of before.",
    "marts": (
        "The dimension was built, of a copy that is up to date. Where it was not, the members of before stand, and "
        "those that facts name beside them are inferred."
    ),
}


def gets_through(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that a step of a dimension was not broken off."""
    return dg.AssetCheckSpec(GETS_THROUGH, asset=asset, description=_DESCRIPTIONS[asset.path[0]])


def dimension_key(table: Table) -> dg.AssetKey:
    """Asset key of the dimension that is made of a cleansed table."""
    return dg.AssetKey(["marts", dimension_of(table)])


def spared(context: dg.AssetExecutionContext, table: Table) -> bool:
    """Whether a failure of a step is only told: the table is a dimension's, and facts are built in the same run.

    A run that only captures fails as any other, so that whoever asked for it asks again.
    """
    is_of_dimension = table.name in {dimension.name for dimension in DIMENSIONS}
    selected = context.job_def.asset_layer.selected_asset_keys
    return is_of_dimension and any(key_of(curated.table) in selected for curated, _ in FACTS)


def told(context: Context, lake: Lake, asset: dg.AssetKey, failure: str | None) -> dg.AssetCheckResult:
    """Report whether a step of a dimension got through.

    Args:
        context: The running step's.
        lake: The lake.
        asset: What the step makes.
        failure: What it failed by; None when it did not.
    """
    verdict = {
        "date": None,
        "passed": failure is None,
        "expected": "the step gets through",
        "found": failure,
        "detail": None if failure is None else "facts are built with the members that are known or inferred",
    }
    check = gets_through(asset).key
    if failure is not None:
        context.log.warning("%s is not up to date, and stops no fact: %s", asset.to_user_string(), failure)
    with failures(context):
        return report_what_is_new(context, lake, check, verdict, dg.AssetCheckSeverity.WARN, {})


def as_before(lake: Lake, check: dg.AssetCheckKey) -> dg.AssetCheckResult:
    """The result of a check that a step could not judge: what it last found stays in force."""
    broken = still_failing(lake, check)
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=broken.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"judged": "by the last run that got through", **what_fails(broken)},
    )


def still_failing(lake: Lake, check: dg.AssetCheckKey) -> pl.DataFrame:
    """What a check last found that does not hold, with `since`."""
    return failing(of_check(lake, check.asset_key.to_user_string(), check.name))


def _of_dimension(table: Table) -> dg.AssetChecksDefinition:
    """Tell what the step that builds dimensions has stored: its checks are those that dbt knows."""
    spec = gets_through(dimension_key(table))

    @dg.asset_check(asset=spec.asset_key, name=spec.name, description=spec.description)
    def check(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        with failures(context):
            broken = still_failing(lake, spec.key)
        return dg.AssetCheckResult(
            passed=broken.is_empty(), severity=dg.AssetCheckSeverity.WARN, metadata=what_fails(broken)
        )

    made: dg.AssetChecksDefinition = check
    return made


dimension_checks = [_of_dimension(table) for table in DIMENSIONS]
