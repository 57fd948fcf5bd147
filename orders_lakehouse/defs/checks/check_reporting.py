"""Store the verdicts of a check by date, and report a summary to Dagster.

A range of dates is one run, and Dagster keeps one result for it. So the verdict on each date goes to `checks/results`,
and Dagster gets a summary of what fails over all dates. The summary stops the run only if a date of the run fails.
After the run, `in_force` shows the worst result in Dagster.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.defs.checks.in_force import last_good, named_dates, what_fails, worst
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.check_results import failing, failing_dates, in_force, of_assets, record
from orders_lakehouse.tables import CHECK_RESULTS, stops

# Columns of verdicts by date. Verdicts whose failures differ in severity have a column `severity` (ERROR or WARN), too.
VERDICT = {"date": pl.Date, "passed": pl.Boolean, "expected": pl.String, "found": pl.String, "detail": pl.String}

# Verdicts by date (see `report`), and further metadata of the summary.
Judged = tuple[pl.DataFrame, Mapping[str, Any]]

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN.value
# Expectation of every test of dbt.
NO_SELECTED_ROW = "no row that the test selects"

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


def started(context: Context) -> datetime:
    """Return when the run of a step started."""
    return _started(context.instance, context.run.run_id)


# Each step of a run asks, and Dagster takes a hundredth of a second to read the run.
@lru_cache(maxsize=1)
def _started(instance: dg.DagsterInstance, run_id: str) -> datetime:
    record = instance.get_run_record_by_id(run_id)
    assert record is not None  # noqa: S101 (the run is active)
    return datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp


def severity_of(check: dg.AssetCheckKey) -> dg.AssetCheckSeverity:
    """Return the severity of a check's failure: ERROR if the check stops its run, otherwise WARN."""
    return _ERROR if stops(check.asset_key.to_user_string(), check.name) else dg.AssetCheckSeverity.WARN


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        check: The check.
        verdicts: date, passed, expected, found, detail, and severity if it differs by date. Dates of the run without a
            verdict pass; dates outside of the run may have verdicts, too.
        dates: First and last date of the run; None for a check of the whole table.
        severity: Severity of failures whose verdict has none.
        metadata: Further metadata of the summary.
        only_new: Store nothing if the check passes and passed before: a row every quarter of an hour would be the bulk
            of the results.
    """

    check: dg.AssetCheckKey
    verdicts: pl.DataFrame
    dates: tuple[date, date] | None
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    metadata: Mapping[str, Any] = field(default_factory=dict)
    only_new: bool = False


def report(
    context: Context,
    lake: Lake,
    check: dg.AssetCheckKey,
    verdicts: pl.DataFrame,
    dates: tuple[date, date] | None,
    *,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetCheckResult:
    """Store the verdicts of a check, and return a summary for Dagster; see `Report`."""
    (result,) = report_all(context, lake, [Report(check, verdicts, dates, severity, metadata or {})])
    return result


def report_what_is_new(
    context: Context,
    lake: Lake,
    check: dg.AssetCheckKey,
    verdict: Mapping[str, Any],
    severity: dg.AssetCheckSeverity,
    metadata: Mapping[str, Any],
) -> dg.AssetCheckResult:
    """Report the verdict on a whole table, unless the check passes and passed before."""
    verdicts = pl.DataFrame([verdict], schema=VERDICT)
    (result,) = report_all(context, lake, [Report(check, verdicts, None, severity, metadata, only_new=True)])
    return result


def report_all(context: Context, lake: Lake, reports: Sequence[Report]) -> list[dg.AssetCheckResult]:
    """Store the verdicts of several checks in one commit, and return their summaries for Dagster.

    Args:
        context: Context of the running step.
        lake: The lake.
        reports: What the checks found.

    Returns:
        The result of each check, in order.
    """
    known = of_assets(lake, {given.check.asset_key.to_user_string() for given in reports})
    results, stored = [], []
    for given in reports:
        earlier = known.filter(asset=given.check.asset_key.to_user_string(), check_name=given.check.name)
        if given.only_new and given.verdicts["passed"].all() and earlier.height and in_force(earlier)["passed"].all():
            results.append(_passed(given))
            continue
        judged = _every_date(given.verdicts, given.dates, given.severity)
        stored.append(_as_results(context, given.check, judged))
        results.append(_summary(given, judged, pl.concat([earlier, stored[-1]])))
    if stored:
        record(lake, pl.concat(stored))
    return results


def _passed(given: Report) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=given.check.asset_key, check_name=given.check.name, passed=True, metadata=dict(given.metadata)
    )


def _summary(given: Report, judged: pl.DataFrame, evaluations: pl.DataFrame) -> dg.AssetCheckResult:
    """Return the summary of a check for Dagster.

    Args:
        given: What the check found.
        judged: A verdict for each date of the run.
        evaluations: Every evaluation of the check, with those of the run.
    """
    check, broken = given.check, failing(evaluations)
    in_run = judged.filter(~pl.col("passed"))
    of_run = pl.col("date").is_in(in_run["date"].implode(), nulls_equal=True)
    dates = {"dates": " to ".join(str(day) for day in sorted(set(given.dates)))} if given.dates else {}
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=broken.is_empty(),
        # Failures on other dates do not stop this run; Dagster shows the worst result after the run.
        severity=worst(in_run if stops(check.asset_key.to_user_string(), check.name) else broken),
        metadata={
            **dates,
            **named_dates(
                failed_dates=failing_dates(judged),
                warned_dates=in_run.filter(severity=_WARN)["date"].drop_nulls().to_list(),
                failing_on_other_dates=failing_dates(broken.filter(~of_run)),
                warned_on_other_dates=broken.filter(~of_run, severity=_WARN)["date"].drop_nulls().sort().to_list(),
            ),
            **last_good(evaluations),
            **what_fails(broken),
            **given.metadata,
        },
    )


def record_tests(
    context: Context,
    lake: Lake,
    tests: Sequence[dg.AssetCheckResult | dg.AssetCheckEvaluation],
    dates: tuple[date, date],
    facts: Collection[dg.AssetKey],
    failing_rows: Mapping[str, pl.DataFrame],
) -> None:
    """Store the results of dbt's tests.

    Args:
        context: Context of the running step.
        lake: The lake.
        tests: dbt's results.
        dates: First and last date of the run.
        facts: Keys of the models that have dates; tests of other models judge them as a whole.
        failing_rows: date, rows: the failing rows of a fact's test, by dbt's id of the test. A failing test that is not
            listed judges the dates together, so each date gets the same result.
    """
    results = []
    for test in tests:
        key = key_of_test(test)
        is_by_date = key.asset_key in facts
        of_dates = failing_rows.get(str(value_of(test, "unique_id")))
        if of_dates is not None and not test.passed:
            judged = _tested_by_date(of_dates, dates)
        else:
            rows = value_of(test, "dagster_dbt/failed_row_count")
            is_together = is_by_date and not test.passed
            judged = pl.select(date=pl.date_range(*dates) if is_by_date else pl.lit(None, pl.Date)).with_columns(
                passed=pl.lit(test.passed),
                expected=pl.lit(None if test.passed else NO_SELECTED_ROW),
                found=pl.lit(None if test.passed or rows is None else f"{rows} rows"),
                detail=pl.lit(f"tested {dates[0]} to {dates[1]} as a whole" if is_together else None),
            )
        results.append(_as_results(context, key, judged.with_columns(severity=pl.lit(test.severity.value))))
    if results:
        record(lake, pl.concat(results))


def key_of_test(test: dg.AssetCheckResult | dg.AssetCheckEvaluation) -> dg.AssetCheckKey:
    """Return the key of the check that a test is."""
    return dg.AssetCheckKey(dg.AssetKey.from_coercible(test.asset_key or []), str(test.check_name))


def value_of(test: dg.AssetCheckResult | dg.AssetCheckEvaluation, name: str) -> Any:
    """Return the value of an entry in the metadata of a test; None if there is none."""
    entry = test.metadata.get(name)
    return getattr(entry, "value", entry)


def _tested_by_date(failing_rows: pl.DataFrame, dates: tuple[date, date]) -> pl.DataFrame:
    """Return the verdicts of a failing test on each date of a run: only dates with failing rows fail."""
    days = pl.select(date=pl.date_range(*dates))
    has_failed = pl.col("rows").is_not_null()
    return days.join(failing_rows, on="date", how="left").select(
        "date",
        passed=~has_failed,
        expected=pl.when(has_failed).then(pl.lit(NO_SELECTED_ROW)),
        found=pl.when(has_failed).then(pl.format("{} rows", "rows")),
        detail=pl.lit(None, pl.String),
    )


def _as_results(context: Context, check: dg.AssetCheckKey, judged: pl.DataFrame) -> pl.DataFrame:
    return judged.with_columns(
        asset=pl.lit(check.asset_key.to_user_string()),
        check_name=pl.lit(check.name),
        run_id=pl.lit(context.run.run_id),
        evaluated_at=pl.lit(datetime.now(UTC)),
    ).select(pl.col(name).cast(dtype) for name, dtype in CHECK_RESULTS.schema.items())


def _every_date(
    verdicts: pl.DataFrame, dates: tuple[date, date] | None, severity: dg.AssetCheckSeverity
) -> pl.DataFrame:
    has_severity = "severity" in verdicts.columns
    given = (pl.col("severity") if has_severity else pl.lit(None, pl.String)).fill_null(severity.value)
    typed = verdicts.select(*(pl.col(name).cast(dtype) for name, dtype in VERDICT.items()), severity=given)
    if dates is None:
        return typed
    days = pl.select(date=pl.date_range(*dates))
    # A failure without a date, such as a column's type, concerns every date.
    everywhere = typed.filter(pl.col("date").is_null() & ~pl.col("passed")).drop("date").head(1)
    if everywhere.height:
        return days.join(everywhere, how="cross")
    every = days.join(typed, on="date", how="full", coalesce=True).filter(pl.col("date").is_not_null())
    return every.with_columns(pl.col("passed").fill_null(True), pl.col("severity").fill_null(severity.value)).sort(
        "date"
    )
