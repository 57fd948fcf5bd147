"""How the verdict of a check, date by date, reaches the lake and Dagster.

A range of dates is one run, and Dagster keeps one result of it. So every date's verdict goes to `checks/results`; and
Dagster gets an event of its own for each date that fails, or failed before, beside the summary of the run. The summary
is what a table's page shows: it fails where a date of the run fails, and warns while a date of another run does.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.tables import CHECK_RESULTS
from orders_lakehouse.dates import in_words
from orders_lakehouse.defs.metadata import FEW, table_of
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.lake.results import failing, failing_dates, in_force, last_good_date, latest, of_check, record
from orders_lakehouse.remedies import remedies

# What a check says of a date. Where a failure does not mean the same on every date, verdicts have a column `severity`
# (ERROR or WARN) beside.
VERDICT = {"date": pl.Date, "passed": pl.Boolean, "expected": pl.String, "found": pl.String, "detail": pl.String}

# Verdicts by date (see `report`), and what the summary says beside them.
Judged = tuple[pl.DataFrame, Mapping[str, Any]]

_WARN = dg.AssetCheckSeverity.WARN.value

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


def started(context: Context) -> datetime:
    """When the run of a step started."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    assert record is not None  # noqa: S101 (it is at work)
    return datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp


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
    now = in_force(pl.concat([known, results]))
    told_before = in_force(known).filter(~pl.col("passed"))["date"].to_list()
    _tell_dates(context, check, judged.filter(~pl.col("passed") | pl.col("date").is_in(told_before)))
    broken = judged.filter(~pl.col("passed"))
    failed = failing_dates(results)
    warned = broken.filter(pl.col("severity") == _WARN)["date"].drop_nulls()
    elsewhere = [day for day in failing_dates(now) if day not in failed]
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=broken.is_empty() and not elsewhere,
        # What other dates were last found to be stops nobody, but is not forgotten.
        severity=_worst(broken),
        metadata={
            **_summary(dates, failed, warned, elsewhere, last_good_date(now)),
            **_what_fails(failing(pl.concat([known, results]))),
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
        return dg.AssetCheckResult(passed=True, metadata=told)
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


def _worst(broken: pl.DataFrame) -> dg.AssetCheckSeverity:
    is_error = (broken["severity"] == dg.AssetCheckSeverity.ERROR.value).any()
    return dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN


def _tell_dates(context: Context, check: dg.AssetCheckKey, verdicts: pl.DataFrame) -> None:
    for row in verdicts.filter(pl.col("date").is_not_null()).iter_rows(named=True):
        told = {name: row[name] for name in ("expected", "found", "detail") if row[name] is not None}
        context.instance.report_dagster_event(
            dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
                job_name=context.run.job_name,
                event_specific_data=dg.AssetCheckEvaluation(
                    asset_key=check.asset_key,
                    check_name=check.name,
                    passed=row["passed"],
                    severity=dg.AssetCheckSeverity(row["severity"]),
                    metadata=told,
                    partition=str(row["date"]),
                ),
            ),
            run_id=context.run.run_id,
        )


def _summary(
    dates: tuple[date, date] | None,
    failed: list[date],
    warned: Iterable[date],
    elsewhere: list[date],
    good: date | None,
) -> dict[str, Any]:
    return {
        **({"dates": " to ".join(str(day) for day in sorted(set(dates)))} if dates else {}),
        **({"failed_dates": in_words(failed)} if failed else {}),
        **({"warned_dates": said} if (said := in_words(warned)) else {}),
        **({"failing_on_other_dates": in_words(elsewhere)} if elsewhere else {}),
        **({"last_good_date": str(good)} if good else {}),
    }


def _what_fails(found: pl.DataFrame) -> dict[str, Any]:
    """What is wrong and where, since when, and what to do; the latest dates first."""
    if found.is_empty():
        return {}
    shown = found.sort("date", descending=True, nulls_last=True).select(
        date=pl.coalesce(pl.col("date").cast(pl.String), pl.lit("the whole table")),
        since=pl.col("since").dt.strftime("%Y-%m-%d %H:%M UTC"),
        expected=pl.col("expected").fill_null(""),
        found=pl.col("found").fill_null(""),
        detail=pl.col("detail").fill_null(""),
    )
    return {"fails": table_of(shown.head(FEW)), "to_do": "\n".join(remedies(found))}
