"""Call dbt in a step: build models, run macros, and translate dbt's failures for Dagster."""

import json
import re
from collections.abc import Generator, Sequence
from datetime import date
from typing import Any, Final

import dagster as dg
import polars as pl

from orders_lakehouse.defs.checks.check_reporting import key_of_test, record_tests, value_of
from orders_lakehouse.defs.mart_pages import with_state
from orders_lakehouse.defs.resources import Dbt, dates_for_dbt, failures, keep_what_dbt_parsed, warehouse_for_dbt
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.instance.retention import tidy_after_dbt
from orders_lakehouse.partitions import run_dates
from orders_lakehouse.postgres.connections import error_from_output
from orders_lakehouse.runtime.dagster_dbt_light import DbtCliInvocation
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.contents import failing_rows_by_date

# Name of dbt's file with the results of a build.
_RESULTS: Final = "run_results.json"


def build_models(
    context: dg.AssetExecutionContext, dbt: Dbt, lake: Lake, blocked: Sequence[date], without: Sequence[str]
) -> Generator[Any, None, DbtCliInvocation]:
    """Build and test the step's models, and store the results of the tests.

    Args:
        context: Context of the running step.
        dbt: The dbt of the run.
        lake: The lake.
        blocked: Dates that a fact leaves out when it is built for the first time.
        without: Names of models that are not built.

    Returns:
        The invocation, even if it failed; `finish` raises its error.
    """
    dates = run_dates(context)
    parsed = models.manifest()
    marts = [models.node_of(parsed, node_id) for node_id in models.models(parsed, "marts")]
    facts = [dg.AssetKey(["marts", node["name"]]) for node in marts if models.is_by_date(node)]
    with failures(context):
        variables = {**warehouse_for_dbt(), **dates_for_dbt(dates, blocked)}
    arguments = [
        "build",
        "--exclude-resource-type",
        "unit_test",
        *(["--exclude", " ".join(without)] if without else []),
    ]
    tests: list[dg.AssetCheckResult | dg.AssetCheckEvaluation] = []
    invocation = None
    try:
        invocation = dbt.cli(arguments, variables, context=context, raise_on_error=False)
        for event in invocation.stream():
            if isinstance(event, dg.AssetCheckResult | dg.AssetCheckEvaluation):
                tests.append(event)
            elif isinstance(event, dg.Output):
                event = with_state(context, event)
            yield event
    finally:
        # Results are stored even if dbt fails, because then they matter most.
        with failures(context):
            record_tests(context, lake, tests, dates, facts, _failing_rows(context, invocation, tests, facts))
    keep_what_dbt_parsed(invocation.target_path)
    return invocation


def _failing_rows(
    context: dg.AssetExecutionContext,
    invocation: DbtCliInvocation | None,
    tests: Sequence[dg.AssetCheckResult | dg.AssetCheckEvaluation],
    facts: Sequence[dg.AssetKey],
) -> dict[str, pl.DataFrame]:
    """Return date and number of failing rows of each failing test of a fact, by dbt's id of the test.

    Tests are left out if they select no dates, or dates outside of the run, or if the warehouse does not answer any
    more. Such tests judge the dates of the run together, so that no failure is lost.
    """
    failing = {str(value_of(test, "unique_id")) for test in tests if not test.passed and _asset_of(test) in facts}
    if invocation is None or not failing:
        return {}
    compiled = {result["unique_id"]: result.get("compiled_code") for result in _results(invocation)["results"]}
    by_test = {}
    for test in sorted(failing):
        try:
            rows = failing_rows_by_date(compiled[test]) if compiled.get(test) else None
        except ExpectedError as error:
            context.log.warning("The dates on which %s fails cannot be read: %s", test, error)
            continue
        if rows is not None and rows.height and rows["date"].is_between(*run_dates(context)).fill_null(False).all():
            by_test[test] = rows
    return by_test


def _asset_of(test: dg.AssetCheckResult | dg.AssetCheckEvaluation) -> dg.AssetKey:
    return key_of_test(test).asset_key


def run_models(context: dg.AssetExecutionContext, dbt: Dbt, names: Sequence[str]) -> DbtCliInvocation:
    """Make models without tests and without events; return the invocation, even if it failed."""
    with failures(context):
        variables = warehouse_for_dbt()
    return dbt.cli(["run", "--select", " ".join(names)], variables, raise_on_error=False).wait()


def run_macro(context: dg.AssetExecutionContext, dbt: Dbt, macro: str, dimension: str) -> None:
    """Run a macro of `members.sql`, and raise its error, if any."""
    with failures(context):
        variables = warehouse_for_dbt()
    arguments = ["run-operation", macro, "--args", json.dumps({"dimension": dimension})]
    finish(context, dbt.cli(arguments, variables, raise_on_error=False).wait())


def failed_models(invocation: DbtCliInvocation) -> list[str]:
    """Return the models that an invocation could not make, or that failed a test."""
    return models.failed_models(models.manifest(), _results(invocation))


def skipped_models(invocation: DbtCliInvocation) -> list[str]:
    """Return the models that an invocation skipped because a model that they read had failed."""
    return models.skipped_models(models.manifest(), _results(invocation))


def _results(invocation: DbtCliInvocation) -> dict[str, Any]:
    """Return dbt's results; dbt writes none if it ends before its first model."""
    exists = invocation.target_path.joinpath(_RESULTS).exists()
    return invocation.get_artifact(_RESULTS) if exists else {"results": []}


def finish(context: dg.AssetExecutionContext, invocation: DbtCliInvocation) -> None:
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
