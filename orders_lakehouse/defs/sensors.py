"""Sensors that capture the shop's changes and derive the dates that these affect.

Both keep the dates that wait in their cursors (`date_queue.py`). A failed run is requested again; after repeated
failures the sensor reports them (`failing_requests.py`). Errors of a look propagate, so that Dagster shows them and
ticks again. A skipped tick had nothing to do.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.in_force import show_after
from orders_lakehouse.defs.jobs import capture_changes_job, derive_dates_job
from orders_lakehouse.defs.metadata import FEW
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.instance.orphaned_runs import fail_dead_runs
from orders_lakehouse.instance.outcome import failure_in_words
from orders_lakehouse.instance.run_tags import DATES, TRIGGER, in_words
from orders_lakehouse.partitions import DAILY, range_tags
from orders_lakehouse.pipeline.affected_dates import affected_dates, unaccounted_dates, versions_now
from orders_lakehouse.pipeline.check_results import bad_dates, evaluations
from orders_lakehouse.pipeline.date_queue import DateQueue, Ended, Failed, RequestedRun
from orders_lakehouse.pipeline.failing_requests import (
    RepeatedFailure,
    refused_tables,
    repeated_failures,
    save_failures,
    save_refused,
)
from orders_lakehouse.pipeline.source_changes import changed_dates
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.base import RefusedTable
from orders_lakehouse.tables import DATED, DIMENSIONS
from orders_lakehouse.warehouse.facts import unbuilt_dates

_SECONDS = 5
# Time after which a requested run that Dagster does not know counts as failed.
_LOST = timedelta(minutes=2)
_NOWHERE = "Dagster knows no run with its key; it was probably not launched"
_STATUS = dg.DefaultSensorStatus[settings().sensors.upper()]
# Maximum time to wait for a running capture.
_PATIENCE = timedelta(minutes=5)
# Function from the marks of the last look to the dates with news and the marks for the next look.
Look = Callable[[Mapping[str, Any] | None], tuple[list[date], Mapping[str, Any]]]


def _tick(
    context: dg.SensorEvaluationContext, lake: Lake, look: Look, trigger: str, hold_since: datetime | None = None
) -> dg.SensorResult:
    """Look, note dates with news, apply the outcomes of runs, and request the dates that may run.

    Nothing is requested if all waiting dates were noted after `hold_since`.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    before = DateQueue.from_json(context.cursor)
    dates, marks = look(before.marks if before else None)
    noted = (before or DateQueue()).note(dates, marks, now)
    ended = _ended(context.instance, lake, noted.requested, now)
    failed = {
        key: Failed(run_id, failure_in_words(context.instance, run_id) if run_id else _NOWHERE)
        for key, (how, run_id) in ended.items()
        if how is Ended.FAILED
    }
    settled = noted.settle({key: how for key, (how, _) in ended.items()}, _bad_dates(lake, ended), now, failed)
    failing = repeated_failures(context.sensor_name, settled)
    save_failures(context.sensor_name, failing)
    refused = refused_tables(settled)
    save_refused(context.sensor_name, refused)
    problems = _problems(failing, refused)
    if hold_since is not None and all(queued.not_before >= hold_since for queued in settled.waiting.values()):
        return dg.SensorResult(skip_reason=f"the shop's changes are being captured{problems}", cursor=settled.to_json())
    after, requested = settled.request(now, context.sensor_name)
    if not requested:
        waiting = f"{len(after.waiting)} dates wait" if after.waiting else "nothing new"
        active = f", {len(after.requested)} runs active" if after.requested else ""
        return dg.SensorResult(skip_reason=waiting + active + problems, cursor=after.to_json())
    if problems:
        context.log.warning("requests %d ranges of dates%s", len(requested), problems)
    return dg.SensorResult(run_requests=[_request(run, trigger) for run in requested], cursor=after.to_json())


def _problems(failing: Sequence[RepeatedFailure], refused: Sequence[RefusedTable]) -> str:
    """Describe repeated failures and refused tables, as a suffix of a tick's message."""
    tables = [f"; {table.in_words}" for table in refused]
    failures = [f"; repeated failures: {failure.in_words}, last error: {failure.error}" for failure in failing[:FEW]]
    more = [f"; and {len(failing) - FEW} more stretches of dates"] if len(failing) > FEW else []
    return "".join([*tables, *failures, *more])


def _request(run: RequestedRun, trigger: str) -> dg.RunRequest:
    dates = {DATES: in_words(str(run.first), str(run.last))}
    return dg.RunRequest(run_key=run.run_key, tags={**range_tags(run.first, run.last), **dates, TRIGGER: trigger})


def _ended(
    instance: dg.DagsterInstance, lake: Lake, requested: Sequence[RequestedRun], now: datetime
) -> dict[str, tuple[Ended, str | None]]:
    """Return the outcomes of requested runs that have ended, and their ids, by run key."""
    for run_id in fail_dead_runs(instance):
        show_after(instance, lake, run_id)
    if not requested:
        return {}
    keys = [request.run_key for request in requested]
    runs = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/run_key": keys}))
    # A run that is retried keeps its key. Reversed, the newest run of a key comes last and wins.
    by_key = {run.tags["dagster/run_key"]: run for run in reversed(runs)}
    ended: dict[str, tuple[Ended, str | None]] = {}
    for request in requested:
        run = by_key.get(request.run_key)
        if run is None:
            if now - request.since > _LOST:
                ended[request.run_key] = (Ended.FAILED, None)
        elif run.is_success:
            ended[request.run_key] = (Ended.SUCCEEDED, run.run_id)
        elif run.is_finished:
            ended[request.run_key] = (Ended.FAILED, run.run_id)
    return ended


def _bad_dates(lake: Lake, ended: Mapping[str, tuple[Ended, str | None]]) -> dict[str, list[date]]:
    """Return the dates that checks of failed runs found bad, by run key."""
    failed = {run_id: key for key, (how, run_id) in ended.items() if how is Ended.FAILED and run_id}
    if not failed:
        return {}
    of_failed = evaluations(lake).filter(pl.col("run_id").is_in(list(failed)))
    return {failed[run_id]: bad for (run_id,), of_run in of_failed.group_by("run_id") if (bad := bad_dates(of_run))}


@dg.sensor(
    job=capture_changes_job,
    minimum_interval_seconds=_SECONDS,
    default_status=_STATUS,
    description="Requests the capture dates on which the shop has changed; each look reads the rows of the last hour.",
)
def shop_changes_sensor(context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]) -> dg.SensorResult:
    """Compare the shop with its state at the last look; the first look compares it with raw."""
    calendar = calendar_of(lake)

    def look(marks: Mapping[str, Any] | None) -> tuple[list[date], Mapping[str, Any]]:
        dates, after = changed_dates(marks or {}, lambda table: _clocks(lake, table), calendar)
        if marks is None:
            dates += unaccounted_dates(lake, DIMENSIONS, calendar, _last_partition())
        return dates, after

    return _tick(context, lake, look, "changed in the shop")


@dg.sensor(
    job=derive_dates_job,
    minimum_interval_seconds=_SECONDS,
    default_status=_STATUS,
    description="Requests the order dates that captured changes affect.",
)
def touched_dates_sensor(context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]) -> dg.SensorResult:
    """Compare the lake with its state at the last look; the first look compares its tables with one another."""
    calendar = calendar_of(lake)

    def look(marks: Mapping[str, Any] | None) -> tuple[list[date], Mapping[str, Any]]:
        # Versions are read first, so that the next look sees what is committed meanwhile.
        now = versions_now(lake)
        if marks is None:
            unaccounted = unaccounted_dates(lake, [entity.cleansed for entity in DATED], calendar, _last_partition())
            return sorted({*unaccounted, *unbuilt_dates(lake)}), now
        return (affected_dates(lake, marks, calendar) if now != marks else []), now

    # A capture that is still active will affect further rows of the same dates.
    return _tick(context, lake, look, "captured changes", hold_since=_capturing_since(context.instance))


def _capturing_since(instance: dg.DagsterInstance) -> datetime | None:
    """Return since when a run captures the shop's changes; None if none is active, or only one that takes too long."""
    active = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    since = datetime.now(UTC) - _PATIENCE
    captures = dg.RunsFilter(job_name=capture_changes_job.name, statuses=active, created_after=since)
    return min((run.create_timestamp for run in instance.get_run_records(filters=captures)), default=None)


def _clocks(lake: Lake, table: Table) -> dict[date, tuple[int, int]]:
    """Return the rows of a raw table by capture date, and the sum of their clocks."""
    if find(lake, table) is None:
        return {}
    # The clocks are decimals, because the sum of a date exceeds 64 bits.
    clock = nw.col("updated_at").dt.timestamp("us").cast(nw.Decimal(38, 0))
    rows = rows_of(lake.scan(table).group_by("captured_on").agg(rows=nw.len(), clocks=clock.sum()))
    return {on: (count, int(clocks)) for on, count, clocks in rows.iter_rows()}


def _last_partition() -> date:
    return date.fromisoformat(str(DAILY.get_last_partition_key()))
