"""Show in Dagster, after a run, the worst result of each check that is in force over all dates.

Dagster shows the newest row of a check, and writes that row when a run is planned. So the result of a run that was
planned earlier and ended later is hidden. A skipped step hides earlier results, and a dbt test knows only the dates of
its run. The results in force are in `checks/results`; where the newest row differs, it is corrected in Dagster.
"""

from collections.abc import Collection
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.dates import from_words, in_words
from orders_lakehouse.defs.metadata import FEW, table_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.check_results import failing, failing_dates, in_force, last_good_date, of_assets
from orders_lakehouse.pipeline.next_steps import next_steps
from orders_lakehouse.runtime.check_rows import CheckRow, is_about, newest_rows, report_about

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
# Metadata names: dates of the run, dates of other runs, and the table of failing results.
_FAILED, _WARNED = ("failed_dates", "failing_on_other_dates"), ("warned_dates", "warned_on_other_dates")
_FAILS = "fails"


def show_what_is_in_force(
    instance: dg.DagsterInstance, lake: Lake, run_id: str, checks: Collection[dg.AssetCheckKey]
) -> None:
    """Report to Dagster the result in force of each check whose newest row differs.

    Args:
        instance: Dagster's instance.
        lake: The lake.
        run_id: The run that ends.
        checks: The checks of that run.
    """
    outdated = set(checks)
    while outdated:
        # Another run may store results after this look, so reported checks are looked at again.
        rows = of_assets(lake, {check.asset_key.to_user_string() for check in outdated})
        known = {(str(asset), str(name)): of for (asset, name), of in rows.group_by("asset", "check_name")}
        newest = newest_rows(instance, outdated)
        reported = set()
        for check in outdated:
            evaluations = known.get((check.asset_key.to_user_string(), check.name))
            if evaluations is None:
                continue
            state = what_is_in_force(check, evaluations)
            if not _is_shown(instance, newest.get(check), state, run_id):
                report_about(instance, state, _newest_materialization(instance, state.asset_key))
                reported.add(check)
        outdated = reported


def show_after(instance: dg.DagsterInstance, lake: Lake, run_id: str) -> None:
    """Report the results in force for the checks of a run that was killed and could not report them itself."""
    planned = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    events = [entry.get_dagster_event() for entry in planned]
    checks = {event.asset_check_planned_data.asset_check_key for event in events}
    show_what_is_in_force(instance, lake, run_id, checks)


def what_is_in_force(check: dg.AssetCheckKey, evaluations: pl.DataFrame) -> dg.AssetCheckEvaluation:
    """Return the worst state of a check over all dates.

    Args:
        check: The check.
        evaluations: All its evaluations, columns of `checks/results`.

    Returns:
        The evaluation for Dagster: failing dates, since when they fail, expected and found, and next steps.
    """
    broken = failing(evaluations)
    warned = broken.filter(severity=_WARN.value)["date"].drop_nulls()
    return dg.AssetCheckEvaluation(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=broken.is_empty(),
        severity=worst(broken),
        metadata={
            **named_dates(failed_dates=failing_dates(broken), warned_dates=warned.unique().sort().to_list()),
            **last_good(evaluations),
            **what_fails(broken),
        },
    )


def worst(broken: pl.DataFrame) -> dg.AssetCheckSeverity:
    """Return the worst severity among failing verdicts; WARN if there are none."""
    return _ERROR if (broken["severity"] == _ERROR.value).any() else _WARN


def named_dates(**dates: list[Any]) -> dict[str, str]:
    """Return metadata that lists dates; without dates, none."""
    return {name: in_words(days) for name, days in dates.items() if days}


def last_good(evaluations: pl.DataFrame) -> dict[str, str]:
    """Return the last date on which nothing fails, as metadata."""
    good = last_good_date(in_force(evaluations))
    return {"last_good_date": str(good)} if good else {}


def what_fails(broken: pl.DataFrame) -> dict[str, Any]:
    """Return what fails where, since when, and the next steps, as metadata; the latest dates first.

    Args:
        broken: Result of `failing`.
    """
    if broken.is_empty():
        return {}
    shown = broken.sort("date", descending=True, nulls_last=True).select(
        date=pl.coalesce(pl.col("date").cast(pl.String), pl.lit("the whole table")),
        since=pl.col("since").dt.strftime("%Y-%m-%d %H:%M UTC"),
        expected=pl.col("expected").fill_null(""),
        found=pl.col("found").fill_null(""),
        detail=pl.col("detail").fill_null(""),
    )
    return {_FAILS: table_of(shown.head(FEW)), "to_do": "\n".join(next_steps(broken))}


def _is_shown(
    instance: dg.DagsterInstance,
    newest: CheckRow | None,
    state: dg.AssetCheckEvaluation,
    run_id: str,
) -> bool:
    """Return whether the newest row of a check shows the state in force, for the newest materialization."""
    # A check that is only planned has no evaluation yet.
    if newest is None or newest.evaluation is None or _content_of(newest.evaluation) != _content_of(state):
        return False
    if newest.run_id == run_id:
        return True
    materialization = _newest_materialization(instance, state.asset_key)
    return materialization is None or is_about(newest.evaluation, materialization)


def _newest_materialization(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dg.EventLogRecord | None:
    return next(iter(instance.fetch_materializations(asset, limit=1).records), None)


def _content_of(evaluation: dg.AssetCheckEvaluation) -> tuple[Any, ...]:
    """Return what an evaluation says of all dates, whether they are dates of its run or others."""
    if evaluation.passed:
        return (True,)
    entries = {name: value for name, value in evaluation.metadata.items() if name in (*_FAILED, *_WARNED)}
    words = {name: from_words(str(value.value)) for name, value in entries.items()}
    failed, warned = ({day for name in names for day in words.get(name, [])} for names in (_FAILED, _WARNED))
    return False, evaluation.severity, failed, warned, evaluation.metadata.get(_FAILS)
