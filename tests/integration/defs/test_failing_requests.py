"""A sensor whose runs fail again and again says so, wherever people look, until one succeeds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus

from orders_lakehouse.cli.status import look
from orders_lakehouse.defs.sensors import shop_changes_sensor, touched_dates_sensor
from orders_lakehouse.pipeline import date_queue
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.pipeline.failing_requests import saved_failures
from tests.support.daemon import Daemon
from tests.support.lakehouse import Lakehouse, changed, day
from tests.support.late_changes import BROKEN, REPAIRED, SHOP
from tests.support.sensor_states import ASSETS, judged, remembered_by_dagster

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two attempts."""
    monkeypatch.setattr(date_queue, "_PAUSE", timedelta(0))


@pytest.mark.long
def test_dates_requested_in_vain_are_reported(built: Lakehouse, tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as with_schedules:
        _dates_are_told(replace(built, instance=with_schedules))


def _dates_are_told(built: Lakehouse) -> None:
    daemon = Daemon(built)
    daemon.settle()
    changed(built, BROKEN)
    asked = 0
    while asked < 3:
        assert saved_failures() == []
        daemon.asked.clear()
        daemon.tick_all()
        asked += sum(first <= "2017-01-04" for job, first, _ in daemon.asked if job == "derive_dates_job")
    # The sensor learns with its next tick how its last run has ended, and asks again.
    daemon.tick(touched_dates_sensor)

    (one,) = saved_failures()
    assert (one.sensor, one.first, one.last, one.attempts) == ("touched_dates_sensor", *[day("2017-01-04")] * 2, 3)
    assert "check rejected_share on cleansed/order_items failed for 1 date: 2017-01-04" in one.error
    assert built.instance is not None
    run = built.instance.get_run_by_id(str(one.run_id))
    assert run is not None
    assert run.is_failure
    assert one.since < run_started(built, one.run_id)
    assert list(look(built.lake).asked_in_vain) == [one]

    said = judged(daemon)
    assert said["shop_changes_sensor"][0]
    passed, severity, found, detail = said["touched_dates_sensor"]
    assert (passed, severity, found) == (False, "WARN", one.in_words)
    assert one.error in str(detail)
    assert "lakehouse backfill 2017-01-04 2017-01-04 --job derive_dates_job" in str(detail)
    # What nobody asks for is not in vain.
    remembered_by_dagster(daemon, InstigatorStatus.STOPPED)
    assert built.run_job("freshness_job").get_asset_check_evaluations()
    assert latest(built.lake, check_name="sensors_get_through").filter(~pl.col("passed")).is_empty()
    for _ in range(3):
        daemon.tick(touched_dates_sensor)
    assert judged(daemon)["touched_dates_sensor"][:2] == (False, "ERROR")
    with waiting_an_hour():
        daemon.tick(touched_dates_sensor)
        assert not daemon.tick(touched_dates_sensor)
    reason = str(daemon.skipped["touched_dates_sensor"])
    assert reason.startswith("1 dates wait; repeated failures: 2017-01-04: ")
    assert "rejected_share" in reason

    # The date waits for its hour; that it changed is its turn at once.
    changed(built, REPAIRED)
    daemon.settle()
    assert saved_failures() == []
    assert {sensor: passed for sensor, (passed, *_) in judged(daemon).items()} == dict.fromkeys(ASSETS.values(), True)
    assert "repeated failures" not in str(daemon.skipped["touched_dates_sensor"])
    assert built.wrong_curated() == {}


@contextmanager
def waiting_an_hour() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(date_queue, "_PAUSE", timedelta(hours=1))
        yield


def run_started(lakehouse: Lakehouse, run_id: str | None) -> Any:
    assert lakehouse.instance is not None
    record = lakehouse.instance.get_run_record_by_id(str(run_id))
    assert record is not None
    return record.create_timestamp


@pytest.mark.thorough
def test_failed_capture_reports_the_error_of_its_step(lakehouse: Lakehouse) -> None:
    daemon = Daemon(lakehouse)
    changed(lakehouse, SHOP)
    lakehouse.shop("ALTER TABLE shop.payments RENAME amount TO amount_in_cents")
    for _ in range(3):
        assert daemon.tick(shop_changes_sensor)
    # The shop goes on changing, which is a turn at once, and nothing that mends it.
    changed(
        lakehouse,
        "UPDATE shop.orders SET status = 'paid', updated_at = '2017-01-06 10:30+00' WHERE order_id = 'spoilt'",
    )
    daemon.tick(shop_changes_sensor)
    (one,) = saved_failures()
    assert (one.sensor, one.job, one.attempts) == ("shop_changes_sensor", "capture_changes_job", 3)
    assert (one.first, one.last) == (day("2017-01-01"), day("2017-01-06"))
    assert "raw/payments: " in one.error
    assert "amount" in one.error

    lakehouse.shop("ALTER TABLE shop.payments RENAME amount_in_cents TO amount")
    daemon.tick(shop_changes_sensor)
    daemon.tick(shop_changes_sensor)
    assert saved_failures() == []


def test_run_that_never_started_is_reported_as_such(lakehouse: Lakehouse) -> None:
    daemon = Daemon(lakehouse)
    changed(lakehouse, SHOP)
    daemon.dying = 3
    for _ in range(4):
        daemon.tick(shop_changes_sensor)
    (one,) = saved_failures()
    assert one.attempts == 3
    assert one.error
