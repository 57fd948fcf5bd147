"""Cursors of sensors as Dagster keeps them, and the check's verdict on each sensor."""

from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData

from orders_lakehouse.pipeline.check_results import latest
from tests.support.daemon import Daemon

_REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("tests"), "tests")
ASSETS = {"raw/orders": "shop_changes_sensor", "cleansed/orders": "touched_dates_sensor"}


def remembered_by_dagster(daemon: Daemon, status: InstigatorStatus = InstigatorStatus.RUNNING) -> None:
    """Store the cursors as Dagster's daemon keeps them between two ticks."""
    instance = daemon.lakehouse.instance
    assert instance is not None
    known = {state.name: state for state in instance.all_instigator_state()}
    for sensor, cursor in daemon.cursors.items():
        origin = RemoteInstigatorOrigin(_REPOSITORY, sensor)
        state = InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData(cursor=cursor))
        (instance.update_instigator_state if sensor in known else instance.add_instigator_state)(state)


def judged(daemon: Daemon) -> dict[str, tuple[bool, str, str | None, str | None]]:
    """Return the check's verdict on each sensor: passed, severity, found, detail."""
    remembered_by_dagster(daemon)
    assert daemon.lakehouse.run_job("freshness_job").success
    found = latest(daemon.lakehouse.lake, check_name="sensors_get_through")
    rows = found.select("asset", "passed", "severity", "found", "detail").iter_rows()
    return {ASSETS[asset]: (passed, severity, found, detail) for asset, passed, severity, found, detail in rows}
