"""Sensors: what the shop has changed is captured, and what that touches is derived, by themselves.

Both remember in their cursors which dates are pending (`date_queue.py`). A run that fails is asked for again; where
that is in vain, the sensor says so (`failing_requests.py`). Errors of a look propagate: Dagster shows them and ticks
again. A tick that is skipped had nothing to do.
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
# A run that was asked for and is nowhere after that time will not come.
_LOST = timedelta(minutes=2)
_NOWHERE = "the run is nowhere: Dagster knows none of its key, as when it could not be launched"
_STATUS = dg.DefaultSensorStatus[settings().sensors.upper()]
# So long touched dates wait for a run that captured the first of what touches them.
_PATIENCE = timedelta(minutes=5)
# Marks of the last look to the dates that it finds and the marks for the next one.
Look = Callable[[Mapping[str, Any] | None], tuple[list[date], Mapping[str, Any]]]


def _tick(
    context: dg.SensorEvaluationContext, lake: Lake, look: Look, hold_since: datetime | None = None
) -> dg.SensorResult:
    """Look, note what was found, see which runs have ended, and ask for the dates whose turn it is.

    Nothing is asked for if all that waits was noted after `hold_since`.
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
    in_vain = repeated_failures(context.sensor_name, settled)
    save_failures(context.sensor_name, in_vain)
    refused = refused_tables(settled)
    save_refused(context.sensor_name, refused)
    told = _told(in_vain, refused)
    if hold_since is not None and all(turn.not_before >= hold_since for turn in settled.waiting.values()):
        return dg.SensorResult(skip_reason=f"the shop's changes are being captured{told}", cursor=settled.to_json())
    after, asked = settled.request(now, context.sensor_name)
    if not asked:
        waiting = f"{len(after.waiting)} dates wait" if after.waiting else "nothing new"
        working = f", {len(after.requested)} runs at work" if after.requested else ""
        return dg.SensorResult(skip_reason=waiting + working + told, cursor=after.to_json())
    if told:
        context.log.warning("asks for %d ranges of dates%s", len(asked), told)
    return dg.SensorResult(run_requests=[_request(run) for run in asked], cursor=after.to_json())


def _told(in_vain: Sequence[RepeatedFailure], refused: Sequence[RefusedTable]) -> str:
    """What a tick says of dates that are asked for in vain and of refused tables, behind what it says anyway."""
    tables = [f"; {one.in_words}" for one in refused]
    found = [f"; in vain so far: {one.in_words}, the last one by: {one.error}" for one in in_vain[:FEW]]
    more = [f"; and {len(in_vain) - FEW} more stretches of dates"] if len(in_vain) > FEW else []
    return "".join([*tables, *found, *more])


def _request(run: RequestedRun) -> dg.RunRequest:
    return dg.RunRequest(run_key=run.run_key, tags=range_tags(run.first, run.last))


def _ended(
    instance: dg.DagsterInstance, lake: Lake, asked: Sequence[RequestedRun], now: datetime
) -> dict[str, tuple[Ended, str | None]]:
    """How the runs that were asked for have ended, and their ids, by run key."""
    for run_id in fail_dead_runs(instance):
        show_after(instance, lake, run_id)
    if not asked:
        return {}
    runs = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/run_key": [run.run_key for run in asked]}))
    # The newest of a key last: a run that is retried by hand or by Dagster keeps it.
    found = {run.tags["dagster/run_key"]: run for run in reversed(runs)}
    ended: dict[str, tuple[Ended, str | None]] = {}
    for one in asked:
        run = found.get(one.run_key)
        if run is None:
            if now - one.since > _LOST:
                ended[one.run_key] = (Ended.FAILED, None)
        elif run.is_success:
            ended[one.run_key] = (Ended.SUCCEEDED, run.run_id)
        elif run.is_finished:
            ended[one.run_key] = (Ended.FAILED, run.run_id)
    return ended


def _bad_dates(lake: Lake, ended: Mapping[str, tuple[Ended, str | None]]) -> dict[str, list[date]]:
    """Dates that the checks of failed runs found bad, by run key."""
    failed = {run_id: key for key, (how, run_id) in ended.items() if how is Ended.FAILED and run_id}
    if not failed:
        return {}
    found = evaluations(lake).filter(pl.col("run_id").is_in(list(failed)))
    return {failed[run_id]: bad for (run_id,), of_run in found.group_by("run_id") if (bad := bad_dates(of_run))}


@dg.sensor(
    job=capture_changes_job,
    minimum_interval_seconds=_SECONDS,
    default_status=_STATUS,
    description="Asks for the capture dates on which the shop has changed: a look at the rows of the last hour.",
)
def shop_changes_sensor(context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]) -> dg.SensorResult:
    """Compare the shop with what it was at the last look; at the first one, with raw."""
    calendar = calendar_of(lake)

    def look(marks: Mapping[str, Any] | None) -> tuple[list[date], Mapping[str, Any]]:
        dates, after = changed_dates(marks or {}, lambda table: _clocks(lake, table), calendar)
        if marks is None:
            dates += unaccounted_dates(lake, DIMENSIONS, calendar, _last_partition())
        return dates, after

    return _tick(context, lake, look)


@dg.sensor(
    job=derive_dates_job,
    minimum_interval_seconds=_SECONDS,
    default_status=_STATUS,
    description="Asks for the order dates that come out otherwise because of what was captured.",
)
def touched_dates_sensor(context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]) -> dg.SensorResult:
    """Compare the lake with what it was at the last look; at the first one, its tables with one another."""
    calendar = calendar_of(lake)

    def look(marks: Mapping[str, Any] | None) -> tuple[list[date], Mapping[str, Any]]:
        # First the versions: what is committed after them is seen by the next look.
        now = versions_now(lake)
        if marks is None:
            left = unaccounted_dates(lake, [entity.cleansed for entity in DATED], calendar, _last_partition())
            return sorted({*left, *unbuilt_dates(lake)}), now
        return (affected_dates(lake, marks, calendar) if now != marks else []), now

    # What such a run has captured so far touches the dates that the rest of it will touch.
    return _tick(context, lake, look, hold_since=_capturing_since(context.instance))


def _capturing_since(instance: dg.DagsterInstance) -> datetime | None:
    """Since when a run captures the shop's changes, if one is at work, and has not been for long."""
    at_work = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    since = datetime.now(UTC) - _PATIENCE
    found = dg.RunsFilter(job_name=capture_changes_job.name, statuses=at_work, created_after=since)
    return min((run.create_timestamp for run in instance.get_run_records(filters=found)), default=None)


def _clocks(lake: Lake, table: Table) -> dict[date, tuple[int, int]]:
    """Rows of a raw table by capture date, and the sum of their clocks."""
    if find(lake, table) is None:
        return {}
    # As decimals: the sum of a date is more than 64 bits hold.
    clock = nw.col("updated_at").dt.timestamp("us").cast(nw.Decimal(38, 0))
    rows = rows_of(lake.scan(table).group_by("captured_on").agg(rows=nw.len(), clocks=clock.sum()))
    return {on: (count, int(clocks)) for on, count, clocks in rows.iter_rows()}


def _last_partition() -> date:
    return date.fromisoformat(str(DAILY.get_last_partition_key()))
