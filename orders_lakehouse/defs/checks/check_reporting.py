"""How the verdict of a check, date by date, reaches the lake and Dagster.

A range of dates is one run, and Dagster keeps one result of it. So every date's verdict goes to `checks/results`, and
Dagster gets a summary: what fails over all dates. It stops the run only where a date of the run fails; `in_force` has
Dagster show the worst in the end.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.defs.checks.in_force import dates_told, last_good, what_fails, worst
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.check_results import failing, failing_dates, latest, of_check, record
from orders_lakehouse.tables import CHECK_RESULTS, stops

# What a check says of a date. Where a failure does not mean the same on every date, verdicts have a column `severity`
# (ERROR or WARN) beside.
VERDICT = {"date": pl.Date, "passed": pl.Boolean, "expected": pl.String, "found": pl.String, "detail": pl.String}

# Verdicts by date (see `report`), and what the summary says beside them.
Judged = tuple[pl.DataFrame, Mapping[str, Any]]

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN.value

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


def started(context: Context) -> datetime:
    """When the run of a step started."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    assert record is not None  # noqa: S101 (it is at work)
    return datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp


def severity_of(check: dg.AssetCheckKey) -> dg.AssetCheckSeverity:
    """What it means that a check fails which is an error wherever it stops its run."""
    return _ERROR if stops(check.asset_key.to_user_string(), check.name) else dg.AssetCheckSeverity.WARN


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
    """Store what a check found, tell Dagster, and sum up.

    Args:
        context: The running step's.
        lake: The lake.
        check: The check.
        verdicts: date, passed, expected, found, detail, and severity where it differs by date; the run's dates that
            are not named passed with nothing to judge. A date outside the run is judged as well when it is named.
        dates: First and last date of the run; None where the table is judged as a whole.
        severity: What a failure means, unless its verdict says otherwise.
        metadata: What else the summary says.

    Returns:
        The result of the run.
    """
    judged = _every_date(verdicts, dates, severity)
    known = of_check(lake, check.asset_key.to_user_string(), check.name)
    results = _as_results(context, check, judged)
    record(lake, results)
    evaluations = pl.concat([known, results])
    broken = failing(evaluations)
    in_run = judged.filter(~pl.col("passed"))
    of_run = pl.col("date").is_in(in_run["date"].implode(), nulls_equal=True)
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=broken.is_empty(),
        # What other dates were last found to be does not stop this run; when it has ended, Dagster is told the worst.
        severity=worst(in_run if stops(check.asset_key.to_user_string(), check.name) else broken),
        metadata={
            **({"dates": " to ".join(str(day) for day in sorted(set(dates)))} if dates else {}),
            **dates_told(
                failed_dates=failing_dates(results),
                warned_dates=in_run.filter(severity=_WARN)["date"].drop_nulls().to_list(),
                failing_on_other_dates=failing_dates(broken.filter(~of_run)),
                warned_on_other_dates=broken.filter(~of_run, severity=_WARN)["date"].drop_nulls().sort().to_list(),
            ),
            **last_good(evaluations),
            **what_fails(broken),
            **(metadata or {}),
        },
    )


def report_what_is_new(
    context: Context,
    lake: Lake,
    check: dg.AssetCheckKey,
    verdict: Mapping[str, Any],
    severity: dg.AssetCheckSeverity,
    told: Mapping[str, Any],
) -> dg.AssetCheckResult:
    """Report what a check says of its table as a whole; what holds as before is not stored again."""
    before = latest(lake, asset=check.asset_key.to_user_string(), check_name=check.name)
    if verdict["passed"] and before.height and before["passed"].all():
        # A row every quarter of an hour would be the bulk of the results.
        return dg.AssetCheckResult(asset_key=check.asset_key, check_name=check.name, passed=True, metadata=dict(told))
    verdicts = pl.DataFrame([verdict], schema=VERDICT)
    return report(context, lake, check, verdicts, None, severity=severity, metadata=told)


def record_tests(
    context: Context,
    lake: Lake,
    tests: Sequence[dg.AssetCheckResult | dg.AssetCheckEvaluation],
    dates: tuple[date, date] | None,
) -> None:
    """Store what dbt's tests found; a test looks at the run's dates together and says the same of each.

    Args:
        context: The running step's.
        lake: The lake.
        tests: dbt's results.
        dates: First and last date of the run; None for models without dates.
    """
    results = []
    for test in tests:
        key = dg.AssetCheckKey(dg.AssetKey.from_coercible(test.asset_key or []), str(test.check_name))
        rows = test.metadata.get("dagster_dbt/failed_row_count")
        verdict = {
            "passed": test.passed,
            "expected": None if test.passed else "no row that the test selects",
            "found": None if test.passed or rows is None else f"{getattr(rows, 'value', rows)} rows",
            "detail": None if test.passed or dates is None else f"tested {dates[0]} to {dates[1]} as a whole",
        }
        days = pl.select(date=pl.date_range(*dates)) if dates else pl.DataFrame({"date": [None]}, {"date": pl.Date})
        said = {**verdict, "severity": test.severity.value}
        judged = days.with_columns(pl.lit(value).alias(name) for name, value in said.items())
        results.append(_as_results(context, key, judged))
    if results:
        record(lake, pl.concat(results))


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
    own = "severity" in verdicts.columns
    meant = (pl.col("severity") if own else pl.lit(None, pl.String)).fill_null(severity.value)
    given = verdicts.select(*(pl.col(name).cast(dtype) for name, dtype in VERDICT.items()), severity=meant)
    if dates is None:
        return given
    days = pl.select(date=pl.date_range(*dates))
    # What is wrong with the table as a whole, a column's type, is wrong on every date.
    everywhere = given.filter(pl.col("date").is_null() & ~pl.col("passed")).drop("date").head(1)
    if everywhere.height:
        return days.join(everywhere, how="cross")
    every = days.join(given, on="date", how="full", coalesce=True).filter(pl.col("date").is_not_null())
    return every.with_columns(pl.col("passed").fill_null(True), pl.col("severity").fill_null(severity.value)).sort(
        "date"
    )
