"""Checks that tell people and hold nothing back: what is unusual, what stands twice for a moment, what is behind.

Their thresholds are a matter of judgement; the arithmetic is in `transforms/anomalies.py` and `pipeline/layer_lag.py`.
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
from orders_lakehouse.delta.frames import fetch, rows_of
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
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.pipeline.watermark import running_date
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import DATED, FACTS, QUARANTINE_OF, ROOT, VOLUMES
from orders_lakehouse.transforms.anomalies import DAYS, WEEKS, against_weekdays, mix_shifts
from orders_lakehouse.warehouse.facts import fact_rows, fact_totals_by_state

_WARN, _ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
_ONE_DAY = timedelta(days=1)
# Deviations from the mean of the same weekdays.
_UNUSUAL, _ALARMING = 1.5, 4.0
# From here on a population stability index is called a shift by those who use it.
_SHIFTED = 0.25
# The job that brings later layers up to date.
_DERIVE = "derive_dates_job"
# So many times the limit of the settings is an error.
_FAR_BEHIND = 4


def _monitor(table: Table, name: str, description: str) -> Callable[[Any], dg.AssetChecksDefinition]:
    """A check of the run's dates that warns, unless a verdict says otherwise, and blocks nothing."""

    def decorate(judge: Callable[[Lake, date, date], Judged]) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=key_of(table), name=name, description=description, op_tags=LAST)
        def monitor(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
            dates = run_dates(context)
            with failures(context):
                verdicts, told = judge(lake.source(), *dates)
                key = dg.AssetCheckKey(key_of(table), name)
                return report(context, lake, key, verdicts, dates, severity=_WARN, metadata=told)

        return monitor

    return decorate


def _stands_once(table: Table) -> dg.AssetChecksDefinition:
    name = STANDS_ONCE
    description = (
        "Each row stands on one date, in the table or in its quarantine. An order that moved stands twice, with its "
        "lines and payments, until the date that it left is derived. Only what ever counted at another date is read."
    )

    @_monitor(table, name, description)
    def stands_once(lake: Lake, first: date, last: date) -> Judged:
        before = latest(lake, asset=table.path, check_name=name)
        # What this run derives may put right what was found on another date.
        doubtful = {*pl.date_range(first, last, eager=True), *before.filter(~pl.col("passed"))["date"].drop_nulls()}
        doubles = _doubles(lake, table, doubtful)
        # Both dates are told of: it is the one that a row left that has to run.
        dates = doubtful.union(doubles["dates"].explode().drop_nulls())
        judged = pl.DataFrame({"date": sorted(dates)}, schema={"date": pl.Date})
        return judged.join(_said_of_doubles(doubles), on="date", how="left").with_columns(
            passed=pl.col("found").is_null()
        ), few_of(doubles)

    return stands_once


def _doubles(lake: Lake, table: Table, dates: Collection[date]) -> pl.DataFrame:
    """Rows that stand on one of the dates and elsewhere too: key (as text), dates."""
    moved, places = dates_of_moved_rows(lake, table, dates)
    if not places:
        return pl.DataFrame(schema={"key": pl.String, "dates": pl.List(pl.Date)})
    stored = nw.concat(
        [
            # Quarantine holds numbers that the table cannot; as text they are the same.
            lake.scan(place, dates=places).select(*(nw.col(name).cast(nw.String) for name in table.key), "order_date")
            for place in (table, QUARANTINE_OF[table.name])
        ]
    )
    key = moved.collect_schema().names()
    standing = rows_of(stored.join(moved, on=key, how="semi").unique())
    return (
        standing.group_by(key=pl.concat_str(table.key, separator=" / ", ignore_nulls=True))
        .agg(dates=pl.col("order_date").sort())
        .filter(pl.col("dates").list.len() > 1, pl.col("dates").list.eval(pl.element().is_in(list(dates))).list.any())
        .sort("key")
    )


def _said_of_doubles(doubles: pl.DataFrame) -> pl.DataFrame:
    on = pl.col("dates").list.eval(pl.element().cast(pl.String)).list.join(" and ")
    return (
        doubles.with_columns(said=pl.format("{} on {}", "key", on))
        .explode("dates")
        .group_by(date="dates")
        .agg(
            expected=pl.lit("each row on one date"),
            found=pl.format("{} rows that stand on another date too", pl.len()),
            detail=pl.format(
                "{}; derive both dates again (derive_dates_job)", pl.col("said").sort().head(FEW).str.join(", ")
            ),
        )
    )


def _volume_as_usual(table: Table, volume: Volume) -> dg.AssetChecksDefinition:
    @_monitor(
        table,
        VOLUME_AS_USUAL,
        f"{volume.what} of a date, by {volume.by}, are within {_UNUSUAL} standard deviations of the same weekday in "
        f"the {WEEKS} weeks before; beyond {_ALARMING:.0f} it is an error. The shop's running date is not judged.",
    )
    def volume_as_usual(lake: Lake, first: date, last: date) -> Judged:
        last = _last_complete(lake, last, settled_after=0)
        rows = fetch(lake.scan(table, between=(first - timedelta(weeks=WEEKS), max(first, last))))
        beside = rows_of(against_weekdays(rows, volume.by, volume.measures, first, last))
        beside = beside.sort("order_date", volume.by, "measure")
        return volume_verdicts(beside, volume.by), {"judged until": str(last), **few_of(beside.filter(_unusual()))}

    return volume_as_usual


def volume_verdicts(beside: pl.DataFrame, by: str) -> pl.DataFrame:
    """What is said of each date.

    Args:
        beside: What `against_weekdays` returns.
        by: Column of its groups.

    Returns:
        date, passed, expected, found, detail, severity: a row for each date that is out of the usual.
    """
    what = pl.format("{} {}", by, "measure")
    usual = pl.format("{} about {} (give or take {})", what, _number("usual", 0), _number("deviation", 1))
    found = pl.format("{} {} ({} deviations)", what, _number("value", 2), _number("score", 1))
    return (
        beside.filter(_unusual())
        .group_by(date="order_date")
        .agg(
            passed=pl.lit(value=False),
            expected=usual.head(FEW).str.join("; "),
            found=found.head(FEW).str.join("; "),
            detail=pl.lit(
                "a holiday or a campaign, or orders that are missing or twice: look at the date in the shop; "
                "`lakehouse reconcile` tells whether all of it was captured"
            ),
            severity=pl.when((pl.col("score").abs() > _ALARMING).any())
            .then(pl.lit(_ERROR.value))
            .otherwise(pl.lit(_WARN.value)),
        )
        .sort("date")
    )


def _number(column: str, digits: int) -> pl.Expr:
    return pl.col(column).round(digits).cast(pl.String).str.strip_suffix(".0")


def _unusual() -> pl.Expr:
    return pl.col("score").abs() > _UNUSUAL


def _mix_as_usual(table: Table, mix: Mix) -> dg.AssetChecksDefinition:
    column = mix.column
    description = (
        f"The shares of {column} on a date are those of the {DAYS} days before: a population stability index of at "
        f"most {_SHIFTED}. {mix.why}"
    )

    @_monitor(table, MIX_AS_USUAL.format(column), description)
    def mix_as_usual(lake: Lake, first: date, last: date) -> Judged:
        last = _last_complete(lake, last, mix.settled_after)
        rows = lake.scan(table, between=(first - timedelta(days=DAYS), max(first, last)))
        if "is_deleted" in table.columns:
            rows = rows.filter(~nw.col("is_deleted"))
        value = nw.col(column).fill_null("(none)")
        counts = rows.with_columns(value=value).group_by(nw.col("order_date").alias("date"), "value")
        # Computed once: the days before a date are this very table, shifted day by day.
        shifts = rows_of(mix_shifts(fetch(counts.agg(rows=nw.len())), first, last))
        return mix_verdicts(shifts), {"judged until": str(last)}

    return mix_as_usual


def mix_verdicts(shifts: pl.DataFrame) -> pl.DataFrame:
    """What is said of each date.

    Args:
        shifts: What `mix_shifts` returns.

    Returns:
        date, passed, expected, found, detail: a row for each date that was judged.
    """
    share, usual = (
        (100 * pl.col(rows) / pl.col(total)).round(1)
        for rows, total in (("rows", "total"), ("rows_before", "total_before"))
    )
    index = pl.col("shift").sum()
    moved = pl.format("{} {} % (usually {} %)", "value", share, usual).sort_by(
        "shift", "value", descending=[True, False]
    )
    return (
        shifts.group_by("date")
        .agg(
            passed=index <= _SHIFTED,
            expected=pl.lit(f"a stability index of at most {_SHIFTED}"),
            found=pl.format("{} over {} rows", index.round(3), pl.col("total").first()),
            detail=pl.format(
                "moved most: {}; look whether the shop really sold otherwise, or names or fills the column otherwise",
                moved.head(3).str.join(", "),
            ),
        )
        .with_columns(pl.when(~pl.col("passed")).then("detail").alias("detail"))
        .sort("date")
    )


def _last_complete(lake: Lake, last: date, settled_after: int) -> date:
    """The last date to judge: one that the shop has finished, so many days ago."""
    running = running_date(lake, calendar_of(lake))
    return last if running is None else min(last, running - _ONE_DAY - timedelta(days=settled_after))


@dataclass(frozen=True)
class _Behind:
    """How far a layer is behind.

    Attributes:
        behind: Since when something waits.
        lacks: What waits; empty for nothing.
        remedy: What to do.
        refused: Tables of the shop of which that is not known, and why.
    """

    behind: timedelta
    lacks: str
    remedy: str
    refused: Mapping[str, str] = field(default_factory=dict)


def _keeps_up(asset: dg.AssetKey, layer: str, what: str, look: Callable[[Lake], _Behind]) -> dg.AssetChecksDefinition:
    """A check that a layer is not far behind.

    Args:
        asset: Table of the layer that bears the check.
        layer: Name of the layer.
        what: What is measured.
        look: How far the layer is behind.
    """
    name = KEEPS_UP
    limit = timedelta(minutes=settings().freshness_minutes)
    description = (
        f"The layer {layer} is at most {limit.total_seconds() / 60:.0f} minutes behind the shop, by the shop's clock: "
        f"{what}. Beyond {_FAR_BEHIND} times as many it is an error."
    )

    @dg.asset_check(asset=asset, name=name, description=description)
    def keeps_up(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        with failures(context):
            found = look(lake.snapshot())
            minutes = round(found.behind.total_seconds() / 60)
            told: dict[str, Any] = {"minutes_behind": minutes, **({"waiting": found.lacks} if found.lacks else {})}
            is_late = found.behind > limit
            refused = [f"{table} is refused" for table in found.refused]
            remedies = [found.remedy] if is_late else []
            remedies += [f"{table}: {error}" for table, error in found.refused.items()]
            verdict = {
                "date": None,
                "passed": not is_late and not refused,
                "expected": f"at most {limit.total_seconds() / 60:.0f} minutes behind",
                "found": f"{minutes} minutes behind{': ' if found.lacks or refused else ''}"
                + "; ".join([*([found.lacks] if found.lacks else []), *refused]),
                "detail": "\n".join(remedies) or None,
            }
            severity = _ERROR if found.behind > limit * _FAR_BEHIND else _WARN
            return report_what_is_new(context, lake, dg.AssetCheckKey(asset, name), verdict, severity, told)

    return keeps_up


def _raw_waits(lake: Lake) -> _Behind:
    found = uncaptured(lake)
    lacks = ", ".join(f"{rows} rows of {table}" for table, rows in found.rows.items())
    remedy = "is shop_changes_sensor on, and does it run? What it captures: capture_changes_job"
    return _Behind(found.behind, lacks, remedy, found.refused)


def _dates_wait(waiting: LayerLag, job: str) -> _Behind:
    behind = shop_now() - waiting.since if waiting.since else timedelta()
    lacks = f"{len(waiting.dates)} dates wait: {_few(waiting.dates)}" if waiting.dates else ""
    return _Behind(
        behind,
        lacks,
        "`lakehouse checks --failed` tells whether a check holds them back; if not: is touched_dates_sensor on, "
        f"and do its runs succeed? To run them by hand: {job}",
    )


def _few(dates: Sequence[date]) -> str:
    more = f" and {len(dates) - FEW} more" if len(dates) > FEW else ""
    return in_words(dates[:FEW]) + more


def _rows_wait(table: Table, fact: Fact) -> list[dg.AssetChecksDefinition]:
    """That a table, and the fact that is made of it, are not far behind cleansed tables."""

    def wait_in_table(lake: Lake) -> _Behind:
        totals = curated_totals(lake, table, fact)
        waiting = fact_lag(lake, table, fact, totals, lambda dates: curated_rows(lake, table, fact, dates))
        return _dates_wait(waiting, _DERIVE)

    def wait_in_fact(lake: Lake) -> _Behind:
        totals = fact_totals_by_state(fact)
        waiting = fact_lag(lake, table, fact, totals, lambda dates: fact_rows(table, fact, dates))
        return _dates_wait(waiting, _DERIVE)

    what = "since the capture of the first line that cleansed tables have and {} has not"
    return [
        _keeps_up(key_of(table), "curated", what.format(table.path), wait_in_table),
        _keeps_up(dg.AssetKey(["marts", fact.name]), "marts", what.format(fact.name), wait_in_fact),
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
        _raw_waits,
    ),
    _keeps_up(
        key_of(ROOT.cleansed),
        "cleansed",
        "since the capture of the first version that no date accounts for",
        lambda lake: _dates_wait(cleansed_lag(lake), "refresh_cleansed_job"),
    ),
    *(check for curated, fact in FACTS for check in _rows_wait(curated.table, fact)),
]

FRESHNESS = dg.AssetSelection.checks(*freshness_checks, *gets_through_checks)

freshness_job = dg.define_asset_job(
    "freshness_job",
    selection=FRESHNESS,
    description="Says how far each layer is behind the shop, and what sensors ask for in vain.",
)


@dg.schedule(
    job=freshness_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus[settings().sensors.upper()],
    execution_timezone=settings().timezone,
)
def freshness_schedule(_: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every quarter of an hour: what has just run is never behind, so a run does not judge itself."""
    return dg.RunRequest()
