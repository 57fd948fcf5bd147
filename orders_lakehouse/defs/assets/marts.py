"""Marts: the star schema that dbt builds in the warehouse. Dimensions as a whole, facts by date."""

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
from orders_lakehouse.defs.checks.dimensions import dimension_key, gets_through, still_failing, told
from orders_lakehouse.defs.dbt_models import model_schema
from orders_lakehouse.defs.metadata import FIRST, key_of
from orders_lakehouse.defs.resources import Dbt, dates_for_dbt, failures, keep_what_dbt_parsed, warehouse_for_dbt
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.instance.retention import tidy_after_dbt
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.pipeline.check_results import bad_dates, latest
from orders_lakehouse.postgres.connections import failure_in_words
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

# Concurrent runs of one dbt project collide on their temporary tables: this pool has one slot.
DBT_POOL = "dbt"
PROJECT = DbtProject(project_dir=DBT_PROJECT, profiles_dir=DBT_PROJECT)


# What dbt writes of a build.
_RESULTS: Final = "run_results.json"
# Tables whose checks decide whether a date may stand in the facts.
_JUDGED = (
    *(entity.cleansed for entity in DATED),
    *(curated.table for curated in CURATED_TABLES if curated.copied),
)


def followed(manifest: Mapping[str, Any], unique_id: str) -> list[Table]:
    """The tables that a fact follows date by date: those whose copies it is made of.

    Between them lie assets without dates; through those alone a range of dates that is launched in the UI would not
    find its way to the facts, and would end without them and without a word.
    """
    if not models.is_by_date(models.node_of(manifest, unique_id)):
        return []
    sources = models.sources_of(manifest, unique_id)
    return [copy.table for copy in COPIES if copy.name in sources and copy.table not in DIMENSIONS]


class Translator(DagsterDbtTranslator):
    """Models become `[marts, <model>]`; descriptions and tests come from the models' yml."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Layer and name; sources say in their yml which asset they are."""
        if dbt_resource_props["resource_type"] == "model":
            return dg.AssetKey([models.layer_of(dbt_resource_props), dbt_resource_props["name"]])
        return super().get_asset_key(dbt_resource_props)

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The spec of a model, with the lake tables that a fact follows, its columns and what they are made of."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if not unique_id.startswith("model."):
            return spec
        made_of = {
            column: [
                dg.TableColumnDep(self.get_asset_key(models.node_of(manifest, source)), other)
                for source, other in origins
            ]
            for column, origins in models.origins(manifest, unique_id).items()
        }
        return spec.merge_attributes(
            deps=[key_of(table) for table in followed(manifest, unique_id)],
            metadata={
                "dagster/column_schema": model_schema(manifest, unique_id),
                "dagster/column_lineage": dg.TableColumnLineage(made_of),
            },
        )

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The layer: staging or marts."""
        return models.layer_of(dbt_resource_props)

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002 (Dagster passes it)
        """Whoever owns the lake."""
        return OWNERS


# The copy of a table and the list of its keys are two sources and one asset.
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
    """Staging views and dimensions, with their tests. Members of one that cannot be built are inferred."""
    broken = {dimension_of(table): reason for table, reason in _load_lost(context, lake).items()}
    invocation = yield from _build(context, dbt, lake, without=list(broken))
    try:
        _end(context, invocation)
    except dg.Failure as failure:
        failed = _failed_dimensions(invocation)
        if not failed:
            raise
        broken |= dict.fromkeys(failed, str(failure.description))
    yield from _settle(context, dbt, lake, broken)


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
    # Of members the dimensions are made, and those stand.
    _load_lost(context, lake)
    with failures(context):
        blocked = blocked_dates(lake)
    invocation = yield from _build(context, dbt, lake, run_dates(context), blocked)
    _end(context, invocation)


def _load_lost(context: dg.AssetExecutionContext, lake: Lake) -> dict[Table, str]:
    """Load the copies that are empty for want of a load; returns those of dimensions that cannot be, and why."""
    with failures(context):
        lost = lost_copies()
    left = {}
    for copy in lost:
        try:
            with failures(context):
                load(lake, copy)
        except dg.Failure as failure:
            if copy.table not in DIMENSIONS:
                raise
            left[copy.table] = str(failure.description)
    loaded = [copy.name for copy in lost if copy.table not in left]
    if loaded:
        context.log.warning(
            "Found no rows of %s in schema lake, as after a crash of the server: loaded.", ", ".join(loaded)
        )
    return left


def _failed_dimensions(invocation: DbtCliInvocation) -> list[str]:
    """Return the dimensions that were not built, where nothing else failed."""
    # dbt that ends before its first model writes none.
    if not invocation.target_path.joinpath(_RESULTS).exists():
        return []
    return models.failed_dimensions(models.manifest(), invocation.get_artifact(_RESULTS))


def _settle(
    context: dg.AssetExecutionContext, dbt: Dbt, lake: Lake, broken: Mapping[str, str]
) -> Iterator[dg.Output[None]]:
    """Give dimensions that are broken the members that facts need, and facts the members of those that are mended.

    Args:
        context: The running step's.
        dbt: What builds.
        lake: The lake.
        broken: Name of each dimension that was not built, and why.
    """
    for table in DIMENSIONS:
        name, asset = dimension_of(table), dimension_key(table)
        if asset not in context.selected_asset_keys:
            continue
        check = gets_through(asset).key
        of_copy = still_failing(lake, gets_through(dg.AssetKey(["warehouse", table.name])).key)
        failure = broken.get(name, str(of_copy["found"].first()) if of_copy.height else None)
        if name in broken:
            try:
                _operate(context, dbt, "infer_members", name)
            except dg.Failure as error:
                # A fact whose member is there can be built; one whose member is not is refused by its contract.
                failure = f"{failure}; nor can members be inferred: {error.description}"
            yield dg.Output(None, asset.to_python_identifier(), metadata={"kept": "as it was, with inferred members"})
        elif failure is None and still_failing(lake, check).height:
            _operate(context, dbt, "follow_members", name)
        told(context, lake, asset, failure)


def _operate(context: dg.AssetExecutionContext, dbt: Dbt, macro: str, dimension: str) -> None:
    """Run a macro of `members.sql`."""
    with failures(context):
        variables = warehouse_for_dbt()
    arguments = ["run-operation", macro, "--args", json.dumps({"dimension": dimension})]
    invocation = dbt.cli(arguments, variables, raise_on_error=False).wait()
    _end(context, invocation)


def blocked_dates(lake: Lake) -> list[date]:
    """Dates that a blocking check of what facts are made of has found bad; they are left out of a first build."""
    upstream = pl.col("asset").is_in([table.path for table in _JUDGED])
    return bad_dates(latest(lake).filter(upstream))


def _build(
    context: dg.AssetExecutionContext,
    dbt: Dbt,
    lake: Lake,
    dates: tuple[date, date] | None = None,
    blocked: Sequence[date] = (),
    without: Sequence[str] = (),
) -> Generator[Any, None, DbtCliInvocation]:
    """Build the step's models but some, and store what tests found; returns the invocation, which may have failed."""
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
        # Also when dbt ends with a failure: that is when they matter.
        with failures(context):
            record_tests(context, lake, tests, dates)
    keep_what_dbt_parsed(invocation.target_path)
    return invocation


def _end(context: dg.AssetExecutionContext, invocation: DbtCliInvocation) -> None:
    """Raise what dbt failed by, and remove its artifacts or those of earlier failures."""
    try:
        with failures(context):
            _raise_what_dbt_said(invocation)
    except Exception:
        tidy_after_dbt(invocation.target_path, failed=True)
        raise
    tidy_after_dbt(invocation.target_path, failed=False)


# What dbt says around an error: that there was one, where the SQL lies, how many there were; and whole rows, which may
# say who somebody is. Of these details only the view is told that stands in the way of another
# column; what is not told is Postgres' advice to drop it, which is somebody's.
_FRAMING = re.compile(
    r"^(?:\d+ of \d+ |Failure in model |Encountered an error:|Completed with |Done\. |Finished |compiled code at |"
    r"See test failures|DETAIL:(?!\s+(?:rule \S+ on )?(?:materialized )?view )|Database Error$|Is the server running|"
    r"HINT:\s+Use DROP|This probably means|before or while processing|LINE \d+:)"
)


def _raise_what_dbt_said(invocation: DbtCliInvocation) -> None:
    """Raise what dbt failed by, each thing once; nothing when it succeeded.

    Raises:
        DatabaseUnavailableError: The connection broke, or a lock was not to be had.
        DatabaseError: A model or a test failed.
    """
    error = invocation.get_error()
    if error is None:
        return
    _, _, logged = str(getattr(error, "description", error)).partition("Errors parsed from dbt logs:")
    plain = re.sub(r"\x1b\[\d+m", "", logged)
    lines = (re.sub(r"^connection to server .+? failed: ", "", line.strip()) for line in plain.splitlines())
    said = "; ".join(dict.fromkeys(line for line in lines if line and not _FRAMING.match(line)))
    ended = f"it ended with status {invocation.process.returncode} and no word; its log is in {invocation.target_path}"
    raise failure_in_words("warehouse", f"dbt failed: {said or ended}", plain)
