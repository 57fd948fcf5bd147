"""Checks that only report: unusual values, rows that are on two dates for a while, layers that are behind.

Their thresholds are a matter of judgement; `transforms/anomalies.py` and `pipeline/layer_lag.py` do the computation.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import dagster as dg
import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.checks import KEEPS_UP, MIX_AS_USUAL, STANDS_ONCE, VOLUME_AS_USUAL
from orders_lakehouse.contracts.table import Mix, Table
from orders_lakehouse.curated.base import Fact, Volume
from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.dates import in_words
from orders_lakehouse.defs.checks.check_reporting import Judged, report, report_what_is_new
from orders_lakehouse.defs.checks.failing_requests import gets_through_checks
from orders_lakehouse.defs.metadata import FEW, LAST, few_of, key_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.partitions import run_dates
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.pipeline.key_index import dates_of_moved_rows
from orders_lakehouse.pipeline.layer_lag import (
    LayerLag,
    cleansed_lag,
    curated_rows,
    curated_totals,
    fact_lag,
)
from orders_lakehouse.pipeline.source_lag import shop_now, uncaptured
from orders_lakehouse.pipeline.stored_calendar import calendar_of, days_with_holidays
from orders_lakehouse.pipeline.watermark import running_date
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import DATED, FACTS, QUARANTINE_OF, ROOT, VOLUMES
from orders_lakehouse.transforms.anomalies import DAYS, DAYS_BEFORE, GONE_ROWS, WEEKS, against_weekdays, mix_shifts
from orders_lakehouse.warehouse.facts import fact_rows, fact_totals_by_state

_WARN, _ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
_ONE_DAY = timedelta(days=1)
# Multiple of the deviations that warn (LAKEHOUSE_UNUSUAL) that is an error.
_ALARMING = 2.5
# Population stability index from which a mix is usually called shifted.
_SHIFTED = 0.25
# Job that brings later layers up to date.
_DERIVE = "derive_dates_job"
# Multiple of the lag in the settings that is an error.
_FAR_BEHIND = 4


def _monitor(table: Table, name: str, description: str) -> Callable[[Any], dg.AssetChecksDefinition]:
    """Make a check of the run's dates that blocks nothing, and warns unless a verdict has another severity."""

    def decorate(judge: Callable[[Lake, date, date], Judged]) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=key_of(table), name=name, description=description, op_tags=LAST)
        def monitor(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
            dates = run_dates(context)
            with failures(context):
                verdicts, metadata = judge(lake.source(), *dates)
                key = dg.AssetCheckKey(key_of(table), name)
                return report(context, lake, key, verdicts, dates, severity=_WARN, metadata=metadata)

        return monitor

    return decorate


def _stands_once(table: Table) -> dg.AssetChecksDefinition:
    name = STANDS_ONCE
    description = (
        "Each row is on one date, in the table or in its quarantine. A moved order is on two dates, with its lines and "
        "payments, until the date that it left is derived. Only rows that ever counted at two dates are read."
    )

    @_monitor(table, name, description)
    def stands_once(lake: Lake, first: date, last: date) -> Judged:
        before = latest(lake, asset=table.path, check_name=name)
        # A date of this run may resolve what was found on another date, so failing dates are checked again.
        doubtful = {*pl.date_range(first, last, eager=True), *before.filter(~pl.col("passed"))["date"].drop_nulls()}
        doubles = _doubles(lake, table, doubtful)
        # Both dates get a verdict, because the date that a row left has to be derived.
        dates = doubtful.union(doubles["dates"].explode().drop_nulls())
        judged = pl.DataFrame({"date": sorted(dates)}, schema={"date": pl.Date})
        return judged.join(_verdicts_on_doubles(doubles), on="date", how="left").with_columns(
            passed=pl.col("found").is_null()
        ), few_of(doubles)

    return stands_once


def _doubles(lake: Lake, table: Table, dates: Collection[date]) -> pl.DataFrame:
    """Return rows that are on one of the dates and on another one: key (as text), dates."""
    moved, moved_dates = dates_of_moved_rows(lake, table, dates)
    if not moved_dates:
        return pl.DataFrame(schema={"key": pl.String, "dates": pl.List(pl.Date)})
    stored = nw.concat(
        [
            # Numbers become text, because quarantine holds numbers that the table cannot.
            lake.scan(stored_table, dates=moved_dates).select(
                *(nw.col(name).cast(nw.String) for name in table.key), "order_date"
            )
            for stored_table in (table, QUARANTINE_OF[table.name])
        ]
    )
    key = moved.collect_schema().names()
    dates_of_rows = rows_of(stored.join(moved, on=key, how="semi").unique())
    return (
        dates_of_rows.group_by(key=pl.concat_str(table.key, separator=" / ", ignore_nulls=True))
        .agg(dates=pl.col("order_date").sort())
        .filter(pl.col("dates").list.len() > 1, pl.col("dates").list.eval(pl.element().is_in(list(dates))).list.any())
        .sort("key")
    )


def _verdicts_on_doubles(doubles: pl.DataFrame) -> pl.DataFrame:
    on = pl.col("dates").list.eval(pl.element().cast(pl.String)).list.join(" and ")
    return (
        doubles.with_columns(text=pl.format("{} on {}", "key", on))
        .explode("dates")
        .group_by(date="dates")
        .agg(
            expected=pl.lit("each row on one date"),
            found=pl.format("{} rows that are on another date, too", pl.len()),
            detail=pl.format(
                "{}; derive both dates again (derive_dates_job)", pl.col("text").sort().head(FEW).str.join(", ")
            ),
        )
    )


def _volume_as_usual(table: Table, volume: Volume) -> dg.AssetChecksDefinition:
    @_monitor(
        table,
        VOLUME_AS_USUAL,
        f"{volume.what} of a date, by {volume.by}, are within {settings().unusual:g} deviations of what is usual: the "
        f"median of the same weekday in the {WEEKS} weeks before, at the level of the last seven days. A deviation is "
        f"what the last four weeks spread around that, at least 10 %. Beyond {_ALARMING:g} times as many it is an "
        "error. Public holidays, the days next to them, and the shop's running date are not judged.",
    )
    def volume_as_usual(lake: Lake, first: date, last: date) -> Judged:
        last = _last_complete(lake, last, settled_after=0)
        begin = first - timedelta(days=DAYS_BEFORE)
        rows = rows_of(lake.scan(table, between=(begin, max(first, last))))
        special = _around_holidays(lake, begin, last)
        compared = against_weekdays(rows, volume.by, volume.measures, first, last, special)
        compared = compared.sort("order_date", volume.by, "measure")
        return volume_verdicts(compared, volume.by), {"judged until": str(last), **few_of(compared.filter(_unusual()))}

    return volume_as_usual


def _around_holidays(lake: Lake, first: date, last: date) -> list[date]:
    """Return the public holidays of the lake's calendar, and the days next to them."""
    days = days_with_holidays(lake, first - _ONE_DAY, max(first, last) + _ONE_DAY)
    holidays = days.filter("is_holiday")["date"]
    return sorted({day + number * _ONE_DAY for day in holidays for number in (-1, 0, 1)})


def volume_verdicts(compared: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return the verdicts on dates with unusual measures.

    Args:
        compared: Result of `against_weekdays`.
        by: Column of its groups.

    Returns:
        date, passed, expected, found, detail, severity: a row for each date with unusual measures.
    """
    what = pl.format("{} {}", by, "measure")
    apart = (100 * pl.col("deviation")).round(0).cast(pl.Int64)
    usual = pl.format("{} about {} (give or take {} %)", what, _number("usual", 0), apart)
    found = pl.format("{} {} ({} deviations)", what, _number("value", 2), _number("score", 1))
    return (
        compared.filter(_unusual())
        .group_by(date="order_date")
        .agg(
            passed=pl.lit(value=False),
            expected=usual.head(FEW).str.join("; "),
            found=found.head(FEW).str.join("; "),
            detail=pl.lit(
                "a campaign, or orders that are missing or twice: look at the date in the shop; "
                "`lakehouse reconcile` checks whether everything was captured"
            ),
            severity=pl.when((pl.col("score").abs() > _ALARMING * settings().unusual).any())
            .then(pl.lit(_ERROR.value))
            .otherwise(pl.lit(_WARN.value)),
        )
        .sort("date")
    )


def _number(column: str, digits: int) -> pl.Expr:
    return pl.col(column).round(digits).cast(pl.String).str.strip_suffix(".0")


def _unusual() -> pl.Expr:
    return pl.col("score").abs() > settings().unusual


def _mix_as_usual(table: Table, mix: Mix) -> dg.AssetChecksDefinition:
    column = mix.column
    description = (
        f"The shares of {column} on a date are the same as on the {DAYS} days before: their population stability index "
        f"is at most {_SHIFTED}, and no value is gone of which {GONE_ROWS} rows or more are usual. {mix.why}"
    )

    @_monitor(table, MIX_AS_USUAL.format(column), description)
    def mix_as_usual(lake: Lake, first: date, last: date) -> Judged:
        last = _last_complete(lake, last, mix.settled_after)
        rows = lake.scan(table, between=(first - timedelta(days=DAYS), max(first, last)))
        if "is_deleted" in table.columns:
            rows = rows.filter(~nw.col("is_deleted"))
        value = nw.col(column).fill_null("(none)")
        counts = rows.with_columns(value=value).group_by(nw.col("order_date").alias("date"), "value")
        shifts = mix_shifts(rows_of(counts.agg(rows=nw.len())), first, last)
        return mix_verdicts(shifts), {"judged until": str(last)}

    return mix_as_usual


def mix_verdicts(shifts: pl.DataFrame) -> pl.DataFrame:
    """Return the verdicts on the mixes of dates.

    Args:
        shifts: Result of `mix_shifts`.

    Returns:
        date, passed, expected, found, detail: a row for each date that was judged.
    """
    share, usual = (
        (100 * pl.col(rows) / pl.col(total)).round(1)
        for rows, total in (("rows", "total"), ("rows_before", "total_before"))
    )
    index = pl.col("shift").sum()
    moved = pl.format("{} {} % (usually {} %)", "value", share, usual)
    usual_rows = (pl.col("rows_before") * pl.col("total") / pl.col("total_before")).round().cast(pl.Int64)
    gone = pl.format("; none of {} (usually {})", "value", usual_rows).filter("is_gone").head(FEW)
    return (
        shifts.sort("is_gone", "shift", "value", descending=[True, True, False])
        .group_by("date")
        .agg(
            passed=(index <= _SHIFTED) & ~pl.col("is_gone").any(),
            expected=pl.lit(f"a stability index of at most {_SHIFTED}, no value gone"),
            found=pl.format("{} over {} rows{}", index.round(3), pl.col("total").first(), gone.str.join("")),
            detail=pl.format(
                "largest shifts: {}; check whether sales really changed, or only names or use of the column",
                moved.head(3).str.join(", "),
            ),
        )
        .with_columns(pl.when(~pl.col("passed")).then("detail").alias("detail"))
        .sort("date")
    )


def _last_complete(lake: Lake, last: date, settled_after: int) -> date:
    """Return the last date to judge: one that the shop has finished for a number of days."""
    running = running_date(lake, calendar_of(lake))
    return last if running is None else min(last, running - _ONE_DAY - timedelta(days=settled_after))


@dataclass(frozen=True)
class _Behind:
    """How far a layer is behind.

    Attributes:
        behind: Time since the first row that waits.
        lacks: Description of what waits; empty if nothing does.
        next_step: What to do.
        refused: Error by table of the shop, for tables that could not be read.
    """

    behind: timedelta
    lacks: str
    next_step: str
    refused: Mapping[str, str] = field(default_factory=dict)


def _keeps_up(asset: dg.AssetKey, layer: str, what: str, look: Callable[[Lake], _Behind]) -> dg.AssetChecksDefinition:
    """Make a check that a layer is not far behind.

    Args:
        asset: Table of the layer that bears the check.
        layer: Name of the layer.
        what: Description of the measurement.
        look: Returns how far the layer is behind.
    """
    name = KEEPS_UP
    limit = timedelta(minutes=settings().freshness_minutes)
    description = (
        f"The layer {layer} is at most {limit.total_seconds() / 60:.0f} minutes behind the shop, by the shop's clock: "
        f"{what}. More than {_FAR_BEHIND} times as many are an error."
    )

    @dg.asset_check(asset=asset, name=name, description=description)
    def keeps_up(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        with failures(context):
            lag = look(lake.snapshot())
            minutes = round(lag.behind.total_seconds() / 60)
            metadata: dict[str, Any] = {"minutes_behind": minutes, **({"waiting": lag.lacks} if lag.lacks else {})}
            is_late = lag.behind > limit
            refused = [f"{table} is refused" for table in lag.refused]
            steps = [lag.next_step] if is_late else []
            steps += [f"{table}: {error}" for table, error in lag.refused.items()]
            verdict = {
                "date": None,
                "passed": not is_late and not refused,
                "expected": f"at most {limit.total_seconds() / 60:.0f} minutes behind",
                "found": f"{minutes} minutes behind{': ' if lag.lacks or refused else ''}"
                + "; ".join([*([lag.lacks] if lag.lacks else []), *refused]),
                "detail": "\n".join(steps) or None,
            }
            severity = _ERROR if lag.behind > limit * _FAR_BEHIND else _WARN
            return report_what_is_new(context, lake, dg.AssetCheckKey(asset, name), verdict, severity, metadata)

    return keeps_up


def _raw_lag(lake: Lake) -> _Behind:
    changes = uncaptured(lake)
    lacks = ", ".join(f"{rows} rows of {table}" for table, rows in changes.rows.items())
    next_step = "check whether shop_changes_sensor is on and runs; capture_changes_job captures its dates by hand"
    return _Behind(changes.behind, lacks, next_step, changes.refused)


def _derived_lag(lag: LayerLag, job: str) -> _Behind:
    behind = shop_now() - lag.since if lag.since else timedelta()
    lacks = f"{len(lag.dates)} dates wait: {_few(lag.dates)}" if lag.dates else ""
    return _Behind(
        behind,
        lacks,
        "`lakehouse checks --failed` shows whether a check holds them back; if not, check whether touched_dates_sensor "
        f"is on and its runs succeed. To run them by hand: {job}",
    )


def _few(dates: Sequence[date]) -> str:
    more = f" and {len(dates) - FEW} more" if len(dates) > FEW else ""
    return in_words(dates[:FEW]) + more


def _fact_lags(table: Table, fact: Fact) -> list[dg.AssetChecksDefinition]:
    """Make the checks that a table, and the fact that is made of it, are not far behind cleansed tables."""

    def lag_of_table(lake: Lake) -> _Behind:
        totals = curated_totals(lake, table, fact)
        lag = fact_lag(lake, table, fact, totals, lambda dates: curated_rows(lake, table, fact, dates))
        return _derived_lag(lag, _DERIVE)

    def lag_of_fact(lake: Lake) -> _Behind:
        totals = fact_totals_by_state(fact)
        lag = fact_lag(lake, table, fact, totals, lambda dates: fact_rows(table, fact, dates))
        return _derived_lag(lag, _DERIVE)

    what = "since the capture of the first line that cleansed tables have and {} lacks"
    return [
        _keeps_up(key_of(table), "curated", what.format(table.path), lag_of_table),
        _keeps_up(dg.AssetKey(["marts", fact.name]), "marts", what.format(fact.name), lag_of_fact),
    ]


stands_once_checks = [_stands_once(entity.cleansed) for entity in DATED]
volume_checks = [_volume_as_usual(curated.table, volume) for curated, volume in VOLUMES]
mix_checks = [
    *(_mix_as_usual(entity.cleansed, mix) for entity in ENTITIES for mix in entity.mixes),
    *(_mix_as_usual(curated.table, mix) for curated in CURATED_TABLES for mix in curated.mixes),
]
freshness_checks = [
    _keeps_up(
        key_of(ROOT.raw),
        "raw",
        "from the first change that is newer than raw to the newest one of the shop",
        _raw_lag,
    ),
    _keeps_up(
        key_of(ROOT.cleansed),
        "cleansed",
        "since the capture of the first version that no date accounts for",
        lambda lake: _derived_lag(cleansed_lag(lake), "refresh_cleansed_job"),
    ),
    *(check for curated, fact in FACTS for check in _fact_lags(curated.table, fact)),
]

FRESHNESS = dg.AssetSelection.checks(*freshness_checks, *gets_through_checks)

freshness_job = dg.define_asset_job(
    "freshness_job",
    selection=FRESHNESS,
    description="Reports how far each layer is behind the shop, and repeated failures of sensors' runs.",
)


@dg.schedule(
    job=freshness_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus[settings().sensors.upper()],
    execution_timezone=settings().timezone,
)
def freshness_schedule(_: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Check every quarter of an hour. A run does not check itself, because what has just run is never behind."""
    return dg.RunRequest()
