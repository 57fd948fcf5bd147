"""What Dagster shows of a check when a run has ended: the worst that is in force over all dates, whatever ran last.

Dagster shows the newest row of a check, and writes that row when a run is planned. So a run that was planned later
and ended sooner hides what the other one found, a step that is skipped hides what was found before it, and a test of
dbt knows the dates of its run alone. What is in force stands in `checks/results`; where the newest row says something
else, Dagster is told.
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
from orders_lakehouse.runtime.check_rows import CheckRow, is_of, newest_rows, report_of

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
# Metadata of a run's dates and of others, and the table of what fails.
_FAILED, _WARNED = ("failed_dates", "failing_on_other_dates"), ("warned_dates", "warned_on_other_dates")
_FAILS = "fails"


def show_what_is_in_force(
    instance: dg.DagsterInstance, lake: Lake, run_id: str, checks: Collection[dg.AssetCheckKey]
) -> None:
    """Tell Dagster what is in force, of each check whose newest row says something else.

    Args:
        instance: Dagster's instance.
        lake: The lake.
        run_id: The run that ends.
        checks: The checks that it was to evaluate.
    """
    untold = set(checks)
    while untold:
        # What another run has stored since the last look is seen by the next one: whoever tells last, tells all.
        rows = of_assets(lake, {check.asset_key.to_user_string() for check in untold})
        known = {(str(asset), str(name)): of for (asset, name), of in rows.group_by("asset", "check_name")}
        newest = newest_rows(instance, untold)
        told = set()
        for check in untold:
            evaluations = known.get((check.asset_key.to_user_string(), check.name))
            if evaluations is None:
                continue
            state = what_is_in_force(check, evaluations)
            if not _is_shown(instance, newest.get(check), state, run_id):
                report_of(instance, state, _newest_materialization(instance, state.asset_key))
                told.add(check)
        untold = told


def show_after(instance: dg.DagsterInstance, lake: Lake, run_id: str) -> None:
    """Tell Dagster what is in force of the checks of a run that could not do so itself, because it was killed."""
    planned = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    events = [entry.get_dagster_event() for entry in planned]
    checks = {event.asset_check_planned_data.asset_check_key for event in events}
    show_what_is_in_force(instance, lake, run_id, checks)


def what_is_in_force(check: dg.AssetCheckKey, evaluations: pl.DataFrame) -> dg.AssetCheckEvaluation:
    """The worst state of a check over all dates.

    Args:
        check: The check.
        evaluations: All evaluations of it: columns of `checks/results`.

    Returns:
        What Dagster shows: which dates fail, since when, what was expected and found, and what to do.
    """
    broken = failing(evaluations)
    warned = broken.filter(severity=_WARN.value)["date"].drop_nulls()
    return dg.AssetCheckEvaluation(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=broken.is_empty(),
        severity=worst(broken),
        metadata={
            **dates_told(failed_dates=failing_dates(broken), warned_dates=warned.unique().sort().to_list()),
            **last_good(evaluations),
            **what_fails(broken),
        },
    )


def worst(broken: pl.DataFrame) -> dg.AssetCheckSeverity:
    """The worst severity among verdicts that do not hold; WARN where there is none."""
    return _ERROR if (broken["severity"] == _ERROR.value).any() else _WARN


def dates_told(**dates: list[Any]) -> dict[str, str]:
    """Metadata that names dates; nothing where there are none."""
    return {name: in_words(days) for name, days in dates.items() if days}


def last_good(evaluations: pl.DataFrame) -> dict[str, str]:
    """The last date on which nothing fails, as metadata."""
    good = last_good_date(in_force(evaluations))
    return {"last_good_date": str(good)} if good else {}


def what_fails(broken: pl.DataFrame) -> dict[str, Any]:
    """What is wrong and where, since when, and what to do, as metadata; the latest dates first.

    Args:
        broken: What `failing` returns.
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
    """Whether the newest row of a check says what is in force, and of the newest materialization."""
    # A check that is planned has been told of, too.
    if newest is None or newest.evaluation is None or _told_of(newest.evaluation) != _told_of(state):
        return False
    if newest.run_id == run_id:
        return True
    made = _newest_materialization(instance, state.asset_key)
    return made is None or is_of(newest.evaluation, made)


def _newest_materialization(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dg.EventLogRecord | None:
    return next(iter(instance.fetch_materializations(asset, limit=1).records), None)


def _told_of(evaluation: dg.AssetCheckEvaluation) -> tuple[Any, ...]:
    """What an evaluation says of all dates: a run's names its own apart from the others."""
    if evaluation.passed:
        return (True,)
    told = {name: value for name, value in evaluation.metadata.items() if name in (*_FAILED, *_WARNED)}
    words = {name: from_words(str(value.value)) for name, value in told.items()}
    failed, warned = ({day for name in names for day in words.get(name, [])} for names in (_FAILED, _WARNED))
    return False, evaluation.severity, failed, warned, evaluation.metadata.get(_FAILS)
