"""A daemon played by a test: it ticks the sensors, and runs their requests at once."""

from dataclasses import dataclass, field

import dagster as dg
import pytest

from orders_lakehouse.defs import sensors
from orders_lakehouse.defs.sensors import shop_changes_sensor, touched_dates_sensor
from tests.support.lakehouse import Lakehouse

# Tables that are derived by order date, without dbt, which takes seconds.
DERIVED = "(group:cleansed or group:curated) and not (key:cleansed/customers or key:cleansed/products)"


class Killed(BaseException):
    """The process of a run ends here."""


@dataclass
class Daemon:
    """Ticks the sensors and runs what they ask for.

    Attributes:
        lakehouse: The lakehouse.
        cursors: Cursor of each sensor.
        skipped: Why each sensor skipped its last tick, if it did.
        asked: Job, first and last date of each run, in order.
        dying: How many of the next runs end before they begin.
        through: What a run that derives consists of; None stands for the whole job.
    """

    lakehouse: Lakehouse
    cursors: dict[str, str | None] = field(default_factory=dict)
    skipped: dict[str, str | None] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    dying: int = 0
    through: str | None = DERIVED

    def tick(self, sensor: dg.SensorDefinition) -> bool:
        """Tick a sensor; return whether it requested a run."""
        context = dg.build_sensor_context(
            instance=self.lakehouse.instance,
            cursor=self.cursors.get(sensor.name),
            sensor_name=sensor.name,
            resources={"lake": self.lakehouse.lake},
        )
        with pytest.MonkeyPatch.context() as patch:
            if self.through == DERIVED:
                # Without dbt, facts are never built, and must not be missed.
                patch.setattr(sensors, "unbuilt_dates", lambda _: set())
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursors[sensor.name] = result.cursor
        reason = result.skip_reason
        self.skipped[sensor.name] = reason.skip_message if isinstance(reason, dg.SkipReason) else reason
        requests = [request for request in result.run_requests or () if not self._is_used(request)]
        if [request for request in requests if not self._lives_through(sensor.job.name, request)]:
            raise Killed
        return bool(result.run_requests)

    def _is_used(self, request: dg.RunRequest) -> bool:
        """Return whether a run has had the key before; Dagster's daemon silently skips such a request."""
        assert self.lakehouse.instance is not None
        return bool(self.lakehouse.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)})))

    def _lives_through(self, job: str, request: dg.RunRequest) -> bool:
        """Run a request as a process would; return whether the process reached its end."""
        try:
            self._run(job, request)
        except Killed:
            return False
        return True

    def tick_all(self) -> bool:
        """Tick each sensor; return whether one of them requested a run."""
        captured = self.tick(shop_changes_sensor)
        return self.tick(touched_dates_sensor) or captured

    def bury(self) -> None:
        """Mark runs whose process was killed as failed, as the next tick would."""
        unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
        for run in self.lakehouse.instance.get_runs(filters=unfinished):
            self.lakehouse.instance.report_run_failed(run)

    def _run(self, job: str, request: dg.RunRequest) -> None:
        first, last = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
        self.asked.append((job, first, last))
        select = self.through if job == "derive_dates_job" else None
        if self.dying:
            self.dying -= 1
            run = self.lakehouse.instance.create_run_for_job(
                self.lakehouse.definitions.resolve_job_def(job), tags={"dagster/run_key": str(request.run_key)}
            )
            self.lakehouse.instance.report_run_failed(run)
            return
        self.lakehouse.run(first, last, job=job, select=select, run_key=request.run_key)

    def settle(self) -> list[tuple[str, str, str]]:
        """Tick until no sensor requests a run; return the requests."""
        self.asked.clear()
        for _ in range(20):
            if not self.tick_all():
                return self.asked
        raise AssertionError(f"no end: {self.asked}")
