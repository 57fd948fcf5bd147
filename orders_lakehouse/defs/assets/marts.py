"""Marts assets: the star schema that dbt builds in the warehouse, dimensions as a whole and facts by date.

One step loads the copies of the lake that the chosen marts read, and builds the marts in one call of dbt. So a mart
is always made of what the lake holds, whatever else a run selects.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.defs.checks.dimensions import dimension_key, gets_through, report_step, still_failing
from orders_lakehouse.defs.dbt_models import PROJECT, TRANSLATOR
from orders_lakehouse.defs.dbt_runs import build_models, failed_models, finish, run_macro, run_models, skipped_models
from orders_lakehouse.defs.metadata import FIRST
from orders_lakehouse.defs.resources import Dbt, failures
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.partitions import DAILY
from orders_lakehouse.pipeline.check_results import bad_dates, latest
from orders_lakehouse.pipeline.stored_calendar import days_with_holidays
from orders_lakehouse.runtime.dagster_dbt_light import DbtCliInvocation, dbt_assets
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import DATED, DIMENSIONS, ROOT, dimension_of
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.calendar import load_calendar
from orders_lakehouse.warehouse.copies import COPIES, lake_schema
from orders_lakehouse.warehouse.load import Loaded, load_all, loaded_versions
from orders_lakehouse.warehouse.views import record_views, stale_views

# Pool with one slot: concurrent runs of one dbt project collide on their temporary tables.
DBT_POOL = "dbt"
# Dimension by name of the staging view, and by its own name: facts can be built without these models.
_SPARED = {
    name: dimension_of(table) for table in DIMENSIONS for name in (f"stg_lake__{table.name}", dimension_of(table))
}
# Tables whose checks decide whether a date is allowed in the facts.
_JUDGED = (
    *(entity.cleansed for entity in DATED),
    *(curated.table for curated in CURATED_TABLES if curated.copied),
)


@dbt_assets(
    manifest=PROJECT.manifest_path,
    project=PROJECT,
    name="marts",
    select="tag:marts",
    dagster_dbt_translator=TRANSLATOR,
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    op_tags=FIRST,
    pool=DBT_POOL,
)
def marts(context: dg.AssetExecutionContext, dbt: Dbt, lake: dg.ResourceParam[Lake]) -> Iterator[Any]:
    """Build dimensions, and the facts of the run's dates, each replaced in one transaction, with their tests.

    If a dimension cannot be built, the members that facts need are inferred, and the facts are built all the same.
    """
    tested = {check.asset_key for check in context.selected_asset_check_keys}
    chosen = [models.mart(models.manifest(), key.path[-1]) for key in sorted(context.selected_asset_keys or tested)]
    broken = _load_copies(context, lake, chosen)
    # A view fails because its copy was not loaded, so the copy's error is the one to report.
    broken = _made_here(context, {**_make_views(context, dbt, chosen), **broken})
    yield from _infer_members(context, dbt, broken)
    with failures(context):
        blocked = blocked_dates(lake)
    invocation = yield from build_models(context, dbt, lake, blocked, without=list(broken))
    failed = _made_here(context, _failed_dimensions(context, invocation))
    if failed:
        yield from _infer_members(context, dbt, failed)
        broken |= failed
        skipped = skipped_models(invocation)
        if skipped:
            # These facts refer to a failed dimension, which has its members now.
            made = [str(node["name"]) for node in chosen if node["name"] not in skipped]
            finish(context, (yield from build_models(context, dbt, lake, blocked, without=made)))
    _report_dimensions(context, dbt, lake, broken)


def _made_here(context: dg.AssetExecutionContext, dimensions: Mapping[str, str]) -> dict[str, str]:
    """Return the given dimensions that this step makes; a run of tests alone makes none."""
    return {name: reason for name, reason in dimensions.items() if _key(name) in context.selected_asset_keys}


def _key(mart: str) -> dg.AssetKey:
    return dg.AssetKey(["marts", mart])


def _load_copies(context: dg.AssetExecutionContext, lake: Lake, chosen: Sequence[models.Node]) -> dict[str, str]:
    """Bring the copies that some marts read up to date; return the dimensions whose copy cannot be loaded, and why."""
    names = {name for node in chosen for name in models.sources_of(models.manifest(), node["unique_id"])}
    if "calendar" in names and context.selected_asset_keys:
        with failures(context):
            _load_calendar(context, lake)
    # Curated tables are the largest; their copies come last in the list, and are loaded first.
    needed = [copy for copy in reversed(COPIES) if names & {copy.name, copy.keys}]
    if not context.selected_asset_keys:
        # A run of tests alone judges what is loaded, and loads only what a crash of the server has emptied.
        with failures(context):
            loaded = loaded_versions()
        needed = [copy for copy in needed if copy.name not in loaded]
    broken = {}
    for copy, outcome in load_all(lake, needed):
        try:
            with failures(context):
                if not isinstance(outcome, Loaded):
                    raise outcome
        except dg.Failure as failure:
            if copy.table not in DIMENSIONS:
                raise
            broken[dimension_of(copy.table)] = str(failure.description)
            continue
        if outcome.dates != 0:
            dates = "all dates" if outcome.dates is None else f"{outcome.dates} dates"
            context.log.info(f"Copied {outcome.rows:,} rows of {dates} into {lake_schema()}.{copy.name}.")
    return broken


def _load_calendar(context: dg.AssetExecutionContext, lake: Lake) -> None:
    """Load every day from the first partition to the end of the year after the last order, with public holidays."""
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


def _make_views(context: dg.AssetExecutionContext, dbt: Dbt, chosen: Sequence[models.Node]) -> dict[str, str]:
    """Make staging views that are missing or have changed; return the dimensions whose view cannot be made, and why."""
    if not context.selected_asset_keys:
        return {}
    with failures(context):
        stale = stale_views({view for node in chosen for view in models.views_of(models.manifest(), node["unique_id"])})
    if not stale:
        return {}
    invocation = run_models(context, dbt, stale)
    broken = _failed_dimensions(context, invocation)
    with failures(context):
        record_views(sorted(set(stale) - set(failed_models(invocation))))
    return broken


def _failed_dimensions(context: dg.AssetExecutionContext, invocation: DbtCliInvocation) -> dict[str, str]:
    """Return the dimensions that could not be made, and why; raise dbt's error if anything else failed."""
    try:
        finish(context, invocation)
    except dg.Failure as failure:
        failed = failed_models(invocation)
        if not failed or not _SPARED.keys() >= set(failed):
            raise
        return {_SPARED[name]: str(failure.description) for name in failed}
    return {}


def _infer_members(context: dg.AssetExecutionContext, dbt: Dbt, broken: dict[str, str]) -> Iterator[dg.Output[None]]:
    """Infer the members that facts need in dimensions that were not built; an error is added to `broken`."""
    for name in broken:
        try:
            run_macro(context, dbt, "infer_members", name)
        except dg.Failure as error:
            # Facts whose members all exist can still be built; a fact's contract refuses rows without a member.
            broken[name] += f"; members cannot be inferred either: {error.description}"
        # Dagster expects the outputs of dimensions before those of facts.
        yield dg.Output(None, _key(name).to_python_identifier(), metadata={"kept": "as it was, with inferred members"})


def _report_dimensions(context: dg.AssetExecutionContext, dbt: Dbt, lake: Lake, broken: Mapping[str, str]) -> None:
    """Report on each dimension, and update facts once a dimension works again.

    Args:
        context: Context of the running step.
        dbt: The dbt of the run.
        lake: The lake.
        broken: Error by name of each dimension that was not built.
    """
    for table in DIMENSIONS:
        name, asset = dimension_of(table), dimension_key(table)
        if asset not in context.selected_asset_keys:
            continue
        if name not in broken and still_failing(lake, gets_through(asset).key).height:
            run_macro(context, dbt, "follow_members", name)
        report_step(context, lake, asset, broken.get(name))


def blocked_dates(lake: Lake) -> list[date]:
    """Return the dates that a blocking check has found bad in tables upstream of a fact; a first build omits them."""
    upstream = pl.col("asset").is_in([table.path for table in _JUDGED])
    return bad_dates(latest(lake).filter(upstream))
