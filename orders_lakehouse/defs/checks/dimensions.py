"""Checks of dimensions. A broken dimension only warns: facts are built with the known or inferred members.

The check `gets_through` reports a step of a dimension that fails; the step leaves its table unchanged.
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
    "cleansed": "The dates of the run were derived. If not, the earlier rows are still in the table.",
    "marts": (
        "The copy was loaded, and the dimension was built from it. If not, it has the earlier members, and other "
        "members that facts name are inferred."
    ),
}


def gets_through(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Return the check that a step of a dimension ran to its end."""
    return dg.AssetCheckSpec(GETS_THROUGH, asset=asset, description=_DESCRIPTIONS[asset.path[0]])


def dimension_key(table: Table) -> dg.AssetKey:
    """Return the asset key of the dimension that is made of a cleansed table."""
    return dg.AssetKey(["marts", dimension_of(table)])


def spared(context: dg.AssetExecutionContext, table: Table) -> bool:
    """Return whether a step's failure is only reported: for a dimension, in a run that also builds facts.

    A run that only captures fails like any other, so that its dates are requested again.
    """
    is_of_dimension = table.name in {dimension.name for dimension in DIMENSIONS}
    selected = context.job_def.asset_layer.selected_asset_keys
    return is_of_dimension and any(key_of(curated.table) in selected for curated, _ in FACTS)


def report_step(context: Context, lake: Lake, asset: dg.AssetKey, failure: str | None) -> dg.AssetCheckResult:
    """Report whether a step of a dimension succeeded.

    Args:
        context: Context of the running step.
        lake: The lake.
        asset: Asset of the step.
        failure: Error of the step; None if it succeeded.
    """
    verdict = {
        "date": None,
        "passed": failure is None,
        "expected": "the step succeeds",
        "found": failure,
        "detail": None if failure is None else "facts are built with the known or inferred members",
    }
    check = gets_through(asset).key
    if failure is not None:
        context.log.warning("%s is not up to date; facts are built without it: %s", asset.to_user_string(), failure)
    with failures(context):
        return report_what_is_new(context, lake, check, verdict, dg.AssetCheckSeverity.WARN, {})


def as_before(lake: Lake, check: dg.AssetCheckKey) -> dg.AssetCheckResult:
    """Return the result of a check that a step could not evaluate: the last result stays in force."""
    broken = still_failing(lake, check)
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=broken.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"judged": "by the last run that got through", **what_fails(broken)},
    )


def still_failing(lake: Lake, check: dg.AssetCheckKey) -> pl.DataFrame:
    """Return the failing results of a check that are in force, with `since`."""
    return failing(of_check(lake, check.asset_key.to_user_string(), check.name))


def _of_dimension(table: Table) -> dg.AssetChecksDefinition:
    """Make the check that repeats the stored result of a dimension's step; the step itself has only dbt's checks."""
    spec = gets_through(dimension_key(table))

    @dg.asset_check(asset=spec.asset_key, name=spec.name, description=spec.description)
    def check(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        with failures(context):
            broken = still_failing(lake, spec.key)
        return dg.AssetCheckResult(
            passed=broken.is_empty(), severity=dg.AssetCheckSeverity.WARN, metadata=what_fails(broken)
        )

    definition: dg.AssetChecksDefinition = check
    return definition


dimension_checks = [_of_dimension(table) for table in DIMENSIONS]
