"""The sensors, with a daemon that is played by the test: what the shop changes reaches the tables by itself."""

from dataclasses import dataclass, field
from datetime import timedelta

import dagster as dg
import pytest

from orders_lakehouse import pending
from orders_lakehouse.contracts.tables import ORDER_LINES
from orders_lakehouse.defs.sensors import shop_changes_sensor, touched_dates_sensor
from orders_lakehouse.postgres import DatabaseUnavailableError
from orders_lakehouse.settings import settings
from tests.integration.conftest import Lakehouse
from tests.integration.test_late_changes import CHANGES, CHANGES_BACK, SHOP, changed, not_accounted_for

pytestmark = pytest.mark.slow

IN_THE_LAKE = "group:cleansed or group:curated"
DERIVED = f"({IN_THE_LAKE}) and not (key:cleansed/customers or key:cleansed/products)"
# What does not move its clock is seen by nobody who does not look at every row.
CLOCKED = ";".join(
    change for change in CHANGES.split(";") if not change.strip().startswith("UPDATE") or "updated_at" in change
)


@dataclass
class Daemon:
    """Ticks the sensors and runs what they ask for, without dbt.

    Attributes:
        lakehouse: The lakehouse.
        cursors: Cursor of each sensor.
        asked: Job, first and last date of each run, in order.
        dying: How many of the next runs end before they begin.
    """

    lakehouse: Lakehouse
    cursors: dict[str, str | None] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    dying: int = 0

    def tick(self, sensor: dg.SensorDefinition) -> bool:
        """One tick of a sensor; returns whether it asked for something."""
        context = dg.build_sensor_context(
            instance=self.lakehouse.instance,
            cursor=self.cursors.get(sensor.name),
            sensor_name=sensor.name,
            resources={"lake": self.lakehouse.lake},
        )
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursors[sensor.name] = result.cursor
        for request in result.run_requests or ():
            self._run(sensor.job.name, request)
        return bool(result.run_requests)

    def _run(self, job: str, request: dg.RunRequest) -> None:
        first, last = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
        self.asked.append((job, first, last))
        select = DERIVED if job == "derive_dates_job" else None
        if self.dying:
            self.dying -= 1
            run = self.lakehouse.instance.create_run_for_job(
                self.lakehouse.definitions.resolve_job_def(job), tags={"dagster/run_key": str(request.run_key)}
            )
            self.lakehouse.instance.report_run_failed(run)
            return
        self.lakehouse.run(first, last, job=job, select=select, run_key=request.run_key)

    def settle(self) -> list[tuple[str, str, str]]:
        """Tick until nobody asks for anything; returns what was asked for."""
        self.asked.clear()
        for _ in range(20):
            busy = [self.tick(sensor) for sensor in (shop_changes_sensor, touched_dates_sensor)]
            if not any(busy):
                return self.asked
        raise AssertionError(f"no end: {self.asked}")


@pytest.fixture
def daemon(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(pending, "_PAUSE", timedelta(0))
    return Daemon(lakehouse)


def test_a_shop_is_followed(daemon: Daemon) -> None:
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


def test_what_was_built_from_the_terminal_is_not_built_again(daemon: Daemon) -> None:
    lakehouse = daemon.lakehouse
    changed(lakehouse, SHOP)
    assert lakehouse.run("2017-01-01", "2017-01-06", select=f"group:raw or {IN_THE_LAKE}").success
    assert daemon.settle() == []


def test_runs_that_die_are_asked_for_again(daemon: Daemon) -> None:
    changed(daemon.lakehouse, SHOP)
    daemon.dying = 2
    runs = daemon.settle()
    assert [job for job, _, _ in runs].count("capture_changes_job") == 3
    assert daemon.lakehouse.wrong_curated() == {}


def test_a_shop_that_is_down_is_told_and_forgets_nothing(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
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


BROKEN = """
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
  ('broken', 'ca', '2017-01-04 10:00+00', 'paid', 'EUR', '2017-01-07 10:00+00'),
  ('good', 'ca', '2017-01-05 10:00+00', 'paid', 'EUR', '2017-01-07 10:00+00');
INSERT INTO shop.order_items SELECT 'broken', line, 'px', -1, 3, 0, '2017-01-07 10:00+00', null
  FROM generate_series(1, 40) AS line;
INSERT INTO shop.order_items VALUES ('good', 1, 'px', 1, 3, 0, '2017-01-07 10:00+00', null);
"""
REPAIRED = "UPDATE shop.order_items SET quantity = 1, updated_at = '2017-01-08 10:00+00' WHERE order_id = 'broken'"


def test_a_bad_date_keeps_nobody_waiting_and_heals(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    lakehouse = daemon.lakehouse
    changed(lakehouse, SHOP)
    daemon.settle()
    monkeypatch.setattr(pending, "_PAUSE", timedelta(hours=1))
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
