"""Marts assets: the star schema that dbt builds in the warehouse, dimensions as a whole and facts by date."""

import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.document import OWNERS
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.defs.checks.check_reporting import record_tests
from orders_lakehouse.defs.checks.dimensions import dimension_key, gets_through, report_step, still_failing
from orders_lakehouse.defs.dbt_models import model_schema
from orders_lakehouse.defs.metadata import FIRST, key_of
from orders_lakehouse.defs.resources import Dbt, dates_for_dbt, failures, keep_what_dbt_parsed, warehouse_for_dbt
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.instance.retention import tidy_after_dbt
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.pipeline.check_results import bad_dates, latest
from orders_lakehouse.postgres.connections import error_from_output
from orders_lakehouse.runtime.dagster_dbt_light import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliInvocation,
    DbtProject,
    dbt_assets,
)
from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.tables import DATED, DIMENSIONS, dimension_of
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.copies import COPIES
from orders_lakehouse.warehouse.load import load, lost_copies

# Pool with one slot: concurrent runs of one dbt project collide on their temporary tables.
DBT_POOL = "dbt"
PROJECT = DbtProject(project_dir=DBT_PROJECT, profiles_dir=DBT_PROJECT)


# Name of dbt's file with the results of a build.
_RESULTS: Final = "run_results.json"
# Tables whose checks decide whether a date is allowed in the facts.
_JUDGED = (
    *(entity.cleansed for entity in DATED),
    *(curated.table for curated in CURATED_TABLES if curated.copied),
)


def followed(manifest: Mapping[str, Any], unique_id: str) -> list[Table]:
    """Return the lake tables that a fact follows date by date: those from whose copies it is made.

    The copies lie between these tables and the fact, and have no dates. Without direct dependencies on the tables, a
    range of dates launched in the UI would end silently before the facts.
    """
    if not models.is_by_date(models.node_of(manifest, unique_id)):
        return []
    sources = models.sources_of(manifest, unique_id)
    return [copy.table for copy in COPIES if copy.name in sources and copy.table not in DIMENSIONS]


class Translator(DagsterDbtTranslator):
    """Models become assets `[<layer>, <model>]`; descriptions and tests come from the models' yml."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Return layer and name of a model. A source names its asset in its yml."""
        if dbt_resource_props["resource_type"] == "model":
            return dg.AssetKey([models.layer_of(dbt_resource_props), dbt_resource_props["name"]])
        return super().get_asset_key(dbt_resource_props)

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """Return the spec of a model, with the lake tables that a fact follows, its columns and their lineage."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if not unique_id.startswith("model."):
            return spec
        lineage = {
            column: [
                dg.TableColumnDep(self.get_asset_key(models.node_of(manifest, source)), source_column)
                for source, source_column in origins
            ]
            for column, origins in models.origins(manifest, unique_id).items()
        }
        return spec.merge_attributes(
            deps=[key_of(table) for table in followed(manifest, unique_id)],
            metadata={
                "dagster/column_schema": model_schema(manifest, unique_id),
                "dagster/column_lineage": dg.TableColumnLineage(lineage),
            },
        )

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """Return the layer: staging or marts."""
        return models.layer_of(dbt_resource_props)

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002 (Dagster passes it)
        """Return the owners of the lake."""
        return OWNERS


# Translator that allows two sources for one asset: the copy of a table, and the list of the copy's keys.
TRANSLATOR = Translator(
    DagsterDbtTranslatorSettings(enable_code_references=True, enable_duplicate_source_asset_keys=True)
)


@dbt_assets(
    manifest=PROJECT.manifest_path,
    project=PROJECT,
    name="dimensions",
    exclude="tag:partitioned",
    dagster_dbt_translator=TRANSLATOR,
    backfill_policy=dg.BackfillPolicy.single_run(),
    op_tags=FIRST,
    pool=DBT_POOL,
)
def dimensions(context: dg.AssetExecutionContext, dbt: Dbt, lake: dg.ResourceParam[Lake]) -> Iterator[Any]:
    """Staging views and dimensions, with their tests. If a dimension cannot be built, its new members are inferred."""
    broken = {dimension_of(table): reason for table, reason in _load_lost(context, lake).items()}
    invocation = yield from _build_models(context, dbt, lake, without=list(broken))
    try:
        _finish(context, invocation)
    except dg.Failure as failure:
        failed = _failed_dimensions(invocation)
        if not failed:
            raise
        broken |= dict.fromkeys(failed, str(failure.description))
    yield from _repair_members(context, dbt, lake, broken)


@dbt_assets(
    manifest=PROJECT.manifest_path,
    project=PROJECT,
    name="facts",
    select="tag:partitioned",
    dagster_dbt_translator=TRANSLATOR,
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    op_tags=FIRST,
    pool=DBT_POOL,
)
def facts(context: dg.AssetExecutionContext, dbt: Dbt, lake: dg.ResourceParam[Lake]) -> Iterator[Any]:
    """Facts of the run's dates, each replaced in one transaction, with their tests."""
    # Lost copies of dimensions do not matter here: facts use the dimensions, which exist.
    _load_lost(context, lake)
    with failures(context):
        blocked = blocked_dates(lake)
    invocation = yield from _build_models(context, dbt, lake, run_dates(context), blocked)
    _finish(context, invocation)


def _load_lost(context: dg.AssetExecutionContext, lake: Lake) -> dict[Table, str]:
    """Load copies that are unexpectedly empty; return the dimensions whose copy cannot be loaded, and why."""
    with failures(context):
        lost = lost_copies()
    failed = {}
    for copy in lost:
        try:
            with failures(context):
                load(lake, copy)
        except dg.Failure as failure:
            if copy.table not in DIMENSIONS:
                raise
            failed[copy.table] = str(failure.description)
    loaded = [copy.name for copy in lost if copy.table not in failed]
    if loaded:
        context.log.warning(
            "Found no rows of %s in schema lake, probably after a crash of the server; loaded again.", ", ".join(loaded)
        )
    return failed


def _failed_dimensions(invocation: DbtCliInvocation) -> list[str]:
    """Return the dimensions that were not built, provided nothing else failed."""
    # dbt writes no results if it ends before its first model.
    if not invocation.target_path.joinpath(_RESULTS).exists():
        return []
    return models.failed_dimensions(models.manifest(), invocation.get_artifact(_RESULTS))


def _repair_members(
    context: dg.AssetExecutionContext, dbt: Dbt, lake: Lake, broken: Mapping[str, str]
) -> Iterator[dg.Output[None]]:
    """Infer the members that facts need in broken dimensions, and update facts once a dimension works again.

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
        check = gets_through(asset).key
        failing_copy = still_failing(lake, gets_through(dg.AssetKey(["warehouse", table.name])).key)
        failure = broken.get(name, str(failing_copy["found"].first()) if failing_copy.height else None)
        if name in broken:
            try:
                _operate(context, dbt, "infer_members", name)
            except dg.Failure as error:
                # Facts whose members all exist can still be built; a fact's contract refuses rows without a member.
                failure = f"{failure}; members cannot be inferred either: {error.description}"
            yield dg.Output(None, asset.to_python_identifier(), metadata={"kept": "as it was, with inferred members"})
        elif failure is None and still_failing(lake, check).height:
            _operate(context, dbt, "follow_members", name)
        report_step(context, lake, asset, failure)


def _operate(context: dg.AssetExecutionContext, dbt: Dbt, macro: str, dimension: str) -> None:
    """Run a macro of `members.sql`."""
    with failures(context):
        variables = warehouse_for_dbt()
    arguments = ["run-operation", macro, "--args", json.dumps({"dimension": dimension})]
    invocation = dbt.cli(arguments, variables, raise_on_error=False).wait()
    _finish(context, invocation)


def blocked_dates(lake: Lake) -> list[date]:
    """Return the dates that a blocking check has found bad in tables upstream of a fact; a first build omits them."""
    upstream = pl.col("asset").is_in([table.path for table in _JUDGED])
    return bad_dates(latest(lake).filter(upstream))


def _build_models(
    context: dg.AssetExecutionContext,
    dbt: Dbt,
    lake: Lake,
    dates: tuple[date, date] | None = None,
    blocked: Sequence[date] = (),
    without: Sequence[str] = (),
) -> Generator[Any, None, DbtCliInvocation]:
    """Build the step's models but for `without`, store test results, and return the invocation even if it failed."""
    with failures(context):
        variables = {**warehouse_for_dbt(), **dates_for_dbt(dates, blocked)}
    arguments = ["build", "--exclude-resource-type", "unit_test", *(["--exclude", *without] if without else [])]
    tests: list[dg.AssetCheckResult | dg.AssetCheckEvaluation] = []
    try:
        invocation = dbt.cli(arguments, variables, context=context, raise_on_error=False)
        for event in invocation.stream():
            if isinstance(event, dg.AssetCheckResult | dg.AssetCheckEvaluation):
                tests.append(event)
            yield event
    finally:
        # Results are stored even if dbt fails, because then they matter most.
        with failures(context):
            record_tests(context, lake, tests, dates)
    keep_what_dbt_parsed(invocation.target_path)
    return invocation


def _finish(context: dg.AssetExecutionContext, invocation: DbtCliInvocation) -> None:
    """Raise dbt's error, if any. Artifacts of a successful build and of old failed builds are removed."""
    try:
        with failures(context):
            _raise_error_of(invocation)
    except Exception:
        tidy_after_dbt(invocation.target_path, failed=True)
        raise
    tidy_after_dbt(invocation.target_path, failed=False)


# Lines of dbt's log that are left out of error messages. Most only frame an error: they say that there was one, where
# its SQL is, or how many there were. Postgres' DETAIL is left out because it shows whole rows with personal values; a
# DETAIL that names a dependent view stays. The HINT to drop that view is left out because the view may belong to
# somebody else.
_FRAMING = re.compile(
    r"^(?:\d+ of \d+ |Failure in model |Encountered an error:|Completed with |Done\. |Finished |compiled code at |"
    r"See test failures|DETAIL:(?!\s+(?:rule \S+ on )?(?:materialized )?view )|Database Error$|Is the server running|"
    r"HINT:\s+Use DROP|This probably means|before or while processing|LINE \d+:)"
)


def _raise_error_of(invocation: DbtCliInvocation) -> None:
    """Raise dbt's error, each message once; do nothing if dbt succeeded.

    Raises:
        DatabaseUnavailableError: The connection broke, or a lock could not be obtained.
        DatabaseError: A model or a test failed.
    """
    error = invocation.get_error()
    if error is None:
        return
    _, _, logged = str(getattr(error, "description", error)).partition("Errors parsed from dbt logs:")
    plain = re.sub(r"\x1b\[\d+m", "", logged)
    lines = (re.sub(r"^connection to server .+? failed: ", "", line.strip()) for line in plain.splitlines())
    messages = "; ".join(dict.fromkeys(line for line in lines if line and not _FRAMING.match(line)))
    ended = f"status {invocation.process.returncode} and no message; its log is in {invocation.target_path}"
    raise error_from_output("warehouse", f"dbt failed: {messages or ended}", plain)
