"""Marts: the star schema that dbt builds in the warehouse. Dimensions as a whole, facts by date."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.document import OWNERS
from orders_lakehouse.contracts.tables import ORDER_ITEMS, ORDER_LINES, ORDERS, PAYMENTS
from orders_lakehouse.defs.metadata import FIRST, key_of
from orders_lakehouse.defs.models import model_schema
from orders_lakehouse.defs.resources import Dbt, dates_for_dbt, failures, keep_what_dbt_parsed, warehouse_for_dbt
from orders_lakehouse.defs.results import record_tests
from orders_lakehouse.defs.without_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliInvocation,
    DbtProject,
    dbt_assets,
)
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.lake.results import bad_dates, latest
from orders_lakehouse.partitions import DAILY, run_dates
from orders_lakehouse.postgres import failure_in_words
from orders_lakehouse.retention import tidy_after_dbt
from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.load import load_lost

# Concurrent runs of one dbt project collide on their temporary tables: this pool has one slot.
DBT_POOL = "dbt"
PROJECT = DbtProject(project_dir=DBT_PROJECT, profiles_dir=DBT_PROJECT)


# Tables whose checks decide whether a date may stand in the facts.
_JUDGED = (ORDERS, ORDER_ITEMS, PAYMENTS, ORDER_LINES)
# What a fact follows date by date. Between them lie assets without dates; through those alone a range of dates that is
# launched in the UI would not find its way to the facts, and would end without them and without a word.
_FOLLOWS = {"fct_order_lines": [ORDER_LINES], "fct_orders": [ORDERS, PAYMENTS, ORDER_LINES]}


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
            deps=[key_of(table) for table in _FOLLOWS.get(spec.key.path[-1], [])],
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
    """Staging views and dimensions, with their tests."""
    _load_lost(context, lake)
    yield from _build(context, dbt, lake)


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
    _load_lost(context, lake)
    with failures(context):
        blocked = blocked_dates(lake)
    yield from _build(context, dbt, lake, run_dates(context), blocked)


def _load_lost(context: dg.AssetExecutionContext, lake: Lake) -> None:
    with failures(context):
        lost = load_lost(lake)
    if lost:
        context.log.warning(
            "Found no rows of %s in schema lake, as after a crash of the server: loaded.", ", ".join(lost)
        )


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
) -> Iterator[Any]:
    with failures(context):
        told = {**warehouse_for_dbt(), **dates_for_dbt(dates, blocked)}
    arguments = ["build", "--exclude-resource-type", "unit_test"]
    tests: list[dg.AssetCheckResult | dg.AssetCheckEvaluation] = []
    try:
        invocation = dbt.cli(arguments, told, context=context, raise_on_error=False)
        for event in invocation.stream():
            if isinstance(event, dg.AssetCheckResult | dg.AssetCheckEvaluation):
                tests.append(event)
            yield event
    finally:
        # Also when dbt ends with a failure: that is when they matter.
        with failures(context):
            record_tests(context, lake, tests, dates)
    keep_what_dbt_parsed(invocation.target_path)
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
