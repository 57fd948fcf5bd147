"""What Dagster's instance says of its health: dead runs, waiting ones, a silent daemon, versions that it remembers."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._daemon.types import DaemonHeartbeat

from orders_lakehouse.findings import Finding
from orders_lakehouse.instance import health
from orders_lakehouse.instance.health import look_at_daemon, look_at_runs, named_by_dagster
from orders_lakehouse.instance.orphaned_runs import SIGNATURE, fail_dead_runs, signature_tags
from orders_lakehouse.pipeline.date_queue import DateQueue

DATES = {"dagster/asset_partition_range_start": "2017-01-01", "dagster/asset_partition_range_end": "2017-01-03"}


@dg.job
def some_job() -> None:
    """A job of nothing."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def with_schedules(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that knows sensors, which takes longer to make."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def run_in(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, *, lives: bool = False) -> dg.DagsterRun:
    run = instance.create_run_for_job(some_job, status=status, tags=DATES)
    signed = signature_tags(run.run_id)
    host, _, rest = signed[SIGNATURE].partition("/")
    # The process id is right, and its start is not: the number was given to another process.
    dead = f"{host}/{rest.split('/')[0]}9/1.00/{run.run_id}"
    instance.add_run_tags(run.run_id, signed if lives else {SIGNATURE: dead})
    return run


def test_run_without_process_is_reported_with_its_dates(instance: dg.DagsterInstance) -> None:
    run_in(instance, dg.DagsterRunStatus.STARTED, lives=True)
    assert look_at_runs(instance).findings == []
    dead = run_in(instance, dg.DagsterRunStatus.STARTED)
    (found,) = look_at_runs(instance).findings
    assert (found.severity, found.what) == ("error", f"run {dead.run_id} of some_job")
    assert found.commands == ["lakehouse backfill 2017-01-01 2017-01-03 --job some_job"]


def test_cancelling_run_is_cancelled_once_its_process_is_gone(instance: dg.DagsterInstance) -> None:
    dead = run_in(instance, dg.DagsterRunStatus.CANCELING)
    assert [found.what for found in look_at_runs(instance).findings] == [f"run {dead.run_id} of some_job"]
    assert fail_dead_runs(instance) == [dead.run_id]
    ended = instance.get_run_by_id(dead.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.CANCELED
    assert look_at_runs(instance).findings == []


def test_stuck_queued_runs_are_reported(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.NOT_STARTED)
    assert look_at_runs(instance).findings == []
    monkeypatch.setattr(health, "_QUEUED", timedelta(0))
    (found,) = look_at_runs(instance).findings
    assert (found.severity, found.commands) == ("warning", ["lakehouse dev"])
    assert found.found.startswith("1 runs wait, the first since ")


def heard(instance: dg.DagsterInstance, **minutes_ago: float) -> list[Finding]:
    """What is found when the daemons were heard of so many minutes ago; others never."""
    for name, ago in minutes_ago.items():
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 60 * ago, name, "some", None))
    return list(look_at_daemon(instance).findings)


def test_no_daemon_is_expected_before_the_first_one(instance: dg.DagsterInstance) -> None:
    assert look_at_daemon(instance).findings == ()
    assert look_at_daemon(instance).summary.startswith("never started")


def test_silent_daemon_is_a_warning_and_hanging_one_an_error(with_schedules: dg.DagsterInstance) -> None:
    assert heard(with_schedules, SENSOR=0.1, SCHEDULER=0.1) == []
    (found,) = heard(with_schedules, SENSOR=60)
    assert (found.severity, found.what) == ("error", "Dagster's daemon, SENSOR")
    (found,) = heard(with_schedules, SCHEDULER=60)
    assert (found.severity, found.what, found.commands) == ("warning", "Dagster's daemon", ["lakehouse dev"])


def test_versions_of_runs_and_of_the_sensor_are_known(with_schedules: dg.DagsterInstance) -> None:
    for version in (3, 4):
        with_schedules.report_runless_asset_event(
            dg.AssetMaterialization(["raw", "orders"], metadata={"delta_version": version})
        )
    with_schedules.report_runless_asset_event(dg.AssetMaterialization(["raw", "payments"]))
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("tests"), "tests"), "touched_dates_sensor"
    )
    marks = {"raw/orders": ["the id", 5], "cleansed/products by": ["attributes", ["category"]]}
    looked = SensorInstigatorData(cursor=DateQueue(marks=marks).to_json(), last_tick_timestamp=time.time())
    with_schedules.add_instigator_state(
        InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, looked)
    )
    found = [(one.path, one.version, one.table_id) for one in named_by_dagster(with_schedules)]
    assert found == [("raw/orders", 4, None), ("raw/orders", 5, "the id")]
