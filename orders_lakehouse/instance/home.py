"""Dagster's instance under LAKEHOUSE_HOME: its home, and whether anything is at work in it."""

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
# Runs that a refusal names, and how long a daemon that lives is silent at most: it gives a sign every thirty seconds.
_NAMED, _DAEMON_SECONDS = 3, 90
# Runs of one dbt project collide on temporary tables.
_POOLS = {"dbt": 1}


class AtWorkError(ExpectedError):
    """Something is at work that must not be."""


def prepare_instance() -> str:
    """Make Dagster's home with its configuration and pools; returns it, and sets DAGSTER_HOME for this process."""
    make_home(settings().home)
    home = settings().dagster_home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(resources.files("orders_lakehouse").joinpath("dagster.yaml").read_text())
    # One at a time: two processes that make the SQLite files at once can leave a home that no run can use.
    with (home / "making.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_instance()
    return str(home)


def _make_instance() -> None:
    with dg.DagsterInstance.get() as instance:
        set_slots(instance, _POOLS)
        fail_dead_runs(instance)


def require_rest(instance: dg.DagsterInstance) -> None:
    """Make sure that nothing is at work, and that nothing starts by itself.

    Raises:
        AtWorkError: Runs are queued or at work, or a daemon lives that may start some.
    """
    fail_dead_runs(instance)
    runs = instance.get_runs(dg.RunsFilter(statuses=_AT_WORK))
    if runs:
        named = ", ".join(f"{run.run_id} ({run.job_name})" for run in runs[:_NAMED])
        raise AtWorkError(
            f"found {len(runs)} runs that are queued or at work: {named}; expected none. Wait for them, or end them in "
            "the UI. Nothing was changed."
        )
    seen = max((beat.timestamp for beat in instance.get_daemon_heartbeats().values()), default=0.0)
    silent = time.time() - seen
    if silent < _DAEMON_SECONDS:
        raise AtWorkError(
            f"Dagster's daemon gave a sign of life {silent:.0f} seconds ago, and may start a run; expected none. Stop "
            f"`make dev`, or the daemon, and try again {_DAEMON_SECONDS} seconds later. Nothing was changed."
        )


def forget(instance: dg.DagsterInstance, assets: Sequence[dg.AssetKey], sensors: Collection[str]) -> None:
    """Forget what was made and checked of some assets, and what some sensors remember.

    Args:
        instance: Dagster's instance.
        assets: Their dates turn to missing, and their checks to not judged.
        sensors: Names. Each looks as if for the first time.
    """
    known = set(instance.all_asset_keys())
    instance.wipe_assets([asset for asset in assets if asset in known])
    forget_cursors(instance, sensors)
    for sensor in sensors:
        failing_requests.keep(sensor, [])
        failing_requests.keep_refused(sensor, [])
