"""Prepare Dagster's instance under LAKEHOUSE_HOME, and check whether it is at rest."""

import fcntl
import os
import time
from collections.abc import Collection, Sequence
from importlib import resources

import dagster as dg

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.instance.orphaned_runs import fail_dead_runs
from orders_lakehouse.machine.private_files import make_home
from orders_lakehouse.pipeline import failing_requests
from orders_lakehouse.runtime.pools import set_slots
from orders_lakehouse.runtime.sensor_states import forget_cursors
from orders_lakehouse.settings import settings

_AT_WORK = [
    *(dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED),
    dg.DagsterRunStatus.CANCELING,
]
# Number of runs listed in an error.
_NAMED = 3
# Maximum seconds between signs of a live daemon, which gives one every thirty seconds.
_DAEMON_SECONDS = 90
# Slots by pool. Concurrent runs of one dbt project would collide on temporary tables.
_POOLS = {"dbt": 1}


class AtWorkError(ExpectedError):
    """Something is active that must not be."""


def prepare_instance() -> str:
    """Make Dagster's home with its configuration and pools, set DAGSTER_HOME for this process, and return the home."""
    make_home(settings().home)
    home = settings().dagster_home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(resources.files("orders_lakehouse").joinpath("dagster.yaml").read_text())
    # A lock serializes this: two processes that create the SQLite files at once can leave a home that no run can use.
    with (home / "making.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_instance()
    return str(home)


def _make_instance() -> None:
    with dg.DagsterInstance.get() as instance:
        set_slots(instance, _POOLS)
        fail_dead_runs(instance)


def require_rest(instance: dg.DagsterInstance) -> None:
    """Make sure that no run is active, and that none starts by itself.

    Raises:
        AtWorkError: Runs are queued or active, or a daemon is alive that may start some.
    """
    fail_dead_runs(instance)
    runs = instance.get_runs(dg.RunsFilter(statuses=_AT_WORK))
    if runs:
        named = ", ".join(f"{run.run_id} ({run.job_name})" for run in runs[:_NAMED])
        raise AtWorkError(
            f"found {len(runs)} runs that are queued or active: {named}; expected none. Wait for them, or end them in "
            "the UI. Nothing was changed."
        )
    last_sign = max((beat.timestamp for beat in instance.get_daemon_heartbeats().values()), default=0.0)
    silent = time.time() - last_sign
    if silent < _DAEMON_SECONDS:
        raise AtWorkError(
            f"Dagster's daemon gave a sign of life {silent:.0f} seconds ago, and may start a run; expected none. Stop "
            f"`make dev`, or the daemon, and try again {_DAEMON_SECONDS} seconds later. Nothing was changed."
        )


def forget(instance: dg.DagsterInstance, assets: Sequence[dg.AssetKey], sensors: Collection[str]) -> None:
    """Forget materializations and check results of some assets, and the cursors of some sensors.

    Args:
        instance: Dagster's instance.
        assets: Assets whose dates become missing, and whose checks become not evaluated.
        sensors: Names of sensors, whose next look is like their first.
    """
    known = set(instance.all_asset_keys())
    instance.wipe_assets([asset for asset in assets if asset in known])
    forget_cursors(instance, sensors)
    for sensor in sensors:
        failing_requests.save_failures(sensor, [])
        failing_requests.save_refused(sensor, [])
