"""The sensors, with a daemon that is played by the test: what the shop changes reaches the tables by itself."""

import time
from datetime import timedelta

import dagster as dg
import pytest

from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.defs.sensors import shop_changes_sensor, touched_dates_sensor
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.pipeline import date_queue
from orders_lakehouse.postgres.connections import DatabaseUnavailableError
from orders_lakehouse.settings import settings
from tests.support.daemon import Daemon
from tests.support.lakehouse import Lakehouse, changed, not_accounted_for
from tests.support.late_changes import BROKEN, CHANGES, CHANGES_BACK, REPAIRED, SHOP
from tests.support.rows import at

pytestmark = pytest.mark.slow

IN_THE_LAKE = "group:cleansed or group:curated"
# What does not move its clock is seen by nobody who does not look at every row.
CLOCKED = ";".join(
    change for change in CHANGES.split(";") if not change.strip().startswith("UPDATE") or "updated_at" in change
)


@pytest.fixture
def daemon(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(date_queue, "_PAUSE", timedelta(0))
    return Daemon(lakehouse)


@pytest.mark.long
def test_shop_is_followed(daemon: Daemon) -> None:
    lakehouse = daemon.lakehouse
    changed(lakehouse, SHOP)
    # An old shop is one range, not a run for each date.
    assert daemon.settle() == [
        ("capture_changes_job", "2017-01-01", "2017-01-06"),
        ("derive_dates_job", "2017-01-02", "2017-01-06"),
    ]
    assert lakehouse.wrong_curated() == {}
    assert daemon.settle() == []

    for script in (CLOCKED, CHANGES_BACK):
        changed(lakehouse, script)
        daemon.settle()
        assert lakehouse.wrong_curated() == {}
        assert not_accounted_for(lakehouse) == {}
    assert daemon.settle() == []


@pytest.mark.thorough
def test_row_that_changes_twice_within_minutes_is_seen_twice(daemon: Daemon) -> None:
    changed(daemon.lakehouse, SHOP)
    daemon.settle()
    for minute, status in ((30, "paid"), (40, "shipped"), (40, "delivered")):
        clock = f"2017-01-06 10:{minute}+00"
        change = f"UPDATE shop.orders SET status = '{status}', updated_at = '{clock}' WHERE order_id = 'spoilt'"
        changed(daemon.lakehouse, change)
        assert len(daemon.settle()) == 2
        assert daemon.lakehouse.wrong_curated() == {}
    assert daemon.settle() == []


@pytest.mark.thorough
def test_clock_that_runs_ahead_hides_nothing(daemon: Daemon) -> None:
    changed(daemon.lakehouse, SHOP)
    daemon.settle()
    for key, clock in (("ahead", "now() + interval '20 hours'"), ("on time", "now()")):
        payment = f"('{key}', 'moves', 'card', 1, 'EUR', 'captured', null, {clock}, null)"
        changed(daemon.lakehouse, f"INSERT INTO shop.payments VALUES {payment}")
        daemon.settle()
    assert {"ahead", "on time"} < set(daemon.lakehouse.lake_rows(PAYMENTS)["payment_id"])


@pytest.mark.long
def test_infinite_clock_is_followed(daemon: Daemon) -> None:
    changed(daemon.lakehouse, SHOP)
    changed(daemon.lakehouse, "UPDATE shop.products SET updated_at = '-infinity' WHERE product_id = 'px'")
    daemon.settle()
    daemon.cursors.clear()
    assert daemon.settle() == []

    # Who has lost its cursor follows the shop as before.
    changed(daemon.lakehouse, "UPDATE shop.orders SET updated_at = '2017-01-07 10:00+00' WHERE order_id = 'spoilt'")
    daemon.settle()
    assert daemon.lakehouse.wrong_curated() == {}
    assert at("2017-01-07 10:00") in daemon.lakehouse.lake_rows(ORDERS)["updated_at"].to_list()


@pytest.mark.thorough
def test_dates_built_by_command_are_not_built_again(daemon: Daemon) -> None:
    lakehouse = daemon.lakehouse
    changed(lakehouse, SHOP)
    assert lakehouse.run("2017-01-01", "2017-01-06", select=f"group:raw or {IN_THE_LAKE}").success
    # As many rows as before on that date, and the latest of them is as late as before.
    changed(
        lakehouse,
        "UPDATE shop.orders SET status = 'paid', updated_at = '2017-01-07' WHERE order_id = 'spoilt';"
        "INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at) "
        "VALUES ('late', '2017-01-06', 'paid', 'EUR', '2017-01-06 10:30+00')",
    )
    assert len(daemon.settle()) == 2
    assert lakehouse.wrong_curated() == {}

    changed(lakehouse, CHANGES_BACK)
    assert lakehouse.run("2017-01-01", "2017-01-10", select=f"group:raw or {IN_THE_LAKE}").success
    daemon.cursors.clear()
    daemon.settle()
    assert daemon.settle() == []


def test_affected_dates_wait_for_their_own_capture_only(daemon: Daemon) -> None:
    instance = daemon.lakehouse.instance
    assert instance is not None

    def capture() -> dg.DagsterRun:
        job = daemon.lakehouse.definitions.resolve_job_def("capture_changes_job")
        return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    changed(daemon.lakehouse, SHOP)
    assert daemon.tick(shop_changes_sensor)
    at_work = capture()
    # Turns are told in whole seconds.
    time.sleep(1)
    for _ in range(2):
        assert not daemon.tick(touched_dates_sensor)
    instance.report_run_failed(at_work)
    capture()
    assert daemon.tick(touched_dates_sensor)
    assert daemon.lakehouse.wrong_curated() == {}


def test_runs_that_die_are_requested_again(daemon: Daemon) -> None:
    changed(daemon.lakehouse, SHOP)
    daemon.dying = 2
    runs = daemon.settle()
    assert [job for job, _, _ in runs].count("capture_changes_job") == 3
    assert daemon.lakehouse.wrong_curated() == {}


@pytest.mark.thorough
def test_unreachable_shop_is_reported_and_nothing_is_forgotten(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(daemon.lakehouse, SHOP)
    daemon.settle()
    before = dict(daemon.cursors)
    changed(daemon.lakehouse, CHANGES_BACK)
    with monkeypatch.context() as down:
        down.setenv("SHOP_DATABASE_URL", "postgresql://reader@127.0.0.1:1/shop")
        settings.cache_clear()
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            daemon.tick(shop_changes_sensor)
    settings.cache_clear()
    assert daemon.cursors == before
    assert [job for job, _, _ in daemon.settle()] == ["capture_changes_job", "derive_dates_job"]
    assert daemon.lakehouse.wrong_curated() == {}


@pytest.mark.long
def test_bad_date_delays_no_other_and_heals(built: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    lakehouse, daemon = built, Daemon(built)
    assert daemon.settle() == []
    monkeypatch.setattr(date_queue, "_PAUSE", timedelta(hours=1))
    changed(lakehouse, BROKEN)
    runs = [(first, last) for job, first, last in daemon.settle() if job == "derive_dates_job"]
    assert runs == [("2017-01-04", "2017-01-05"), ("2017-01-05", "2017-01-05")]
    assert "good" in lakehouse_orders(lakehouse)
    assert "broken" not in lakehouse_orders(lakehouse)

    changed(lakehouse, REPAIRED)
    runs = [(first, last) for job, first, last in daemon.settle() if job == "derive_dates_job"]
    assert runs == [("2017-01-04", "2017-01-04")]
    assert lakehouse.wrong_curated() == {}


def lakehouse_orders(lakehouse: Lakehouse) -> set[str]:
    return set(lakehouse.lake_rows(ORDER_LINES)["order_id"])
