"""Check Dagster's health: runs whose process is gone, runs that nobody starts, a silent daemon.

It also lists the table versions that Dagster has recorded. The instance is only read.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import yaml

from orders_lakehouse.delta.lost_versions import RememberedVersion
from orders_lakehouse.findings import ERROR, WARNING, Examination, Finding
from orders_lakehouse.instance.orphaned_runs import dead_runs
from orders_lakehouse.instance.run_tags import dates_of
from orders_lakehouse.pipeline.date_queue import DateQueue
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, RAW

# Maximum silence of a live daemon. It gives a sign every thirty seconds, and later during a long look of a sensor.
_SILENT = timedelta(minutes=5)
# Time in the queue from which a run is reported: most runs start earlier.
_QUEUED = timedelta(minutes=15)
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
# Number of materializations of an asset searched for one with a table version.
_LATEST = 5
_FOLLOWS = "touched_dates_sensor"


@contextmanager
def existing_instance() -> Iterator[dg.DagsterInstance | None]:
    """Yield Dagster's instance without making one; None where no run has made it."""
    home = settings().dagster_home
    if not _was_made(home):
        yield None
        return
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.get() as instance:
        yield instance


def _was_made(home: Path) -> bool:
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        return False
    # A storage elsewhere leaves no folder here.
    elsewhere = {"storage", "run_storage"} & set(yaml.safe_load(configuration.read_text()) or {})
    return bool(elsewhere) or (home / "history").exists()


def look_at_runs(instance: dg.DagsterInstance) -> Examination:
    """Look for runs that are active only in Dagster's records, and for runs that wait too long."""
    findings = [_dead(run) for run in dead_runs(instance)]
    waiting = instance.get_run_records(
        filters=dg.RunsFilter(statuses=_WAITING, created_before=datetime.now(UTC) - _QUEUED)
    )
    if waiting:
        findings.append(_waiting(waiting))
    active = len(instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))
    return Examination(f"{active} active, each with a live process" if not findings else f"{active} active", findings)


def _dead(run: dg.DagsterRun) -> Finding:
    dates = dates_of(run)
    command = [f"lakehouse backfill {dates[0]} {dates[1]} --job {run.job_name}"] if dates else []
    return Finding(
        ERROR,
        f"run {run.run_id} of {run.job_name}",
        f"it is {run.status.value}, and its process is gone",
        "a run that has ended, or has a live process",
        "The next look of a sensor, or the next `lakehouse backfill`, marks it as failed and frees its slots. "
        + ("To run its dates again:" if dates else "Launch it again in the UI (`lakehouse dev`)."),
        command,
    )


def _waiting(records: Sequence[dg.RunRecord]) -> Finding:
    oldest = min(record.create_timestamp for record in records)
    jobs = sorted({record.dagster_run.job_name for record in records})
    return Finding(
        WARNING,
        "queue of runs",
        f"{len(records)} runs wait, the first since {oldest:%Y-%m-%d %H:%M} UTC: {', '.join(jobs)}",
        f"runs that start within {_QUEUED.total_seconds() / 60:.0f} minutes",
        "Dagster's daemon takes runs from the queue, two at a time. If it does not run, start it:",
        ["lakehouse dev"],
    )


def look_at_daemon(instance: dg.DagsterInstance) -> Examination:
    """Look when the daemons gave their last sign. A daemon that has never run is not expected."""
    heartbeats = instance.get_daemon_heartbeats()
    required = [heartbeats[name] for name in sorted(instance.get_required_daemon_types()) if name in heartbeats]
    if not required:
        return Examination("never started: runs come from the terminal only")
    now = datetime.now(UTC)
    last_signs = {beat.daemon_type: datetime.fromtimestamp(beat.timestamp, UTC) for beat in required}
    silent = {name: at for name, at in last_signs.items() if now - at > _SILENT}
    last = max(last_signs.values())
    if len(silent) == len(last_signs):
        summary = f"not running, last sign at {last:%Y-%m-%d %H:%M} UTC"
        return Examination(summary, [_not_running(last)] if _sensors_are_on(instance) else [])
    findings = [
        Finding(
            ERROR,
            f"Dagster's daemon, {name}",
            f"silent since {at:%Y-%m-%d %H:%M} UTC, while other daemons give signs",
            f"a sign at least every {_SILENT.total_seconds() / 60:.0f} minutes",
            "It hangs: stop the daemon and start it again.",
            ["lakehouse dev"],
        )
        for name, at in silent.items()
    ]
    failing = {beat.daemon_type: beat.errors[0].message.strip() for beat in required if beat.errors}
    findings += [
        Finding(
            WARNING,
            f"Dagster's daemon, {name}",
            message.splitlines()[-1],
            "a look without an error",
            "The daemon's log, and Deployment > Daemons in the UI, have the whole message.",
        )
        for name, message in failing.items()
        if name not in silent
    ]
    return Examination(f"running, last sign at {last:%H:%M:%S} UTC", findings)


def _not_running(last: datetime) -> Finding:
    return Finding(
        WARNING,
        "Dagster's daemon",
        f"no sign since {last:%Y-%m-%d %H:%M} UTC",
        f"a sign at least every {_SILENT.total_seconds() / 60:.0f} minutes, because sensors are on",
        "No sensor follows the shop, and no schedule runs. Start the daemon; or switch the sensors off if runs come "
        "from the terminal only (LAKEHOUSE_SENSORS=stopped).",
        ["lakehouse dev"],
    )


def _sensors_are_on(instance: dg.DagsterInstance) -> bool:
    if settings().sensors == "running":
        return True
    return any(state.status.value == "RUNNING" for state in instance.all_instigator_state())


def named_by_dagster(instance: dg.DagsterInstance) -> Iterator[RememberedVersion]:
    """Yield the table versions that runs have recorded, and those that the sensor has seen last."""
    for table in (*RAW, *CLEANSED, *CURATED):
        for record in instance.fetch_materializations(dg.AssetKey([table.layer, table.name]), limit=_LATEST).records:
            materialization = record.asset_materialization
            version = materialization.metadata.get("delta_version") if materialization else None
            if version is not None and isinstance(version.value, int):
                at = datetime.fromtimestamp(record.timestamp, UTC)
                yield RememberedVersion(f"run {record.run_id}", at, table.path, version.value)
                break
    for state in instance.all_instigator_state():
        state_of_sensor = (
            DateQueue.from_json(getattr(state.instigator_data, "cursor", None)) if state.name == _FOLLOWS else None
        )
        last_tick = getattr(state.instigator_data, "last_tick_timestamp", None)
        if state_of_sensor is not None and last_tick is not None:
            at = datetime.fromtimestamp(last_tick, UTC)
            for path, mark in state_of_sensor.marks.items():
                if isinstance(mark, list) and len(mark) == 2 and isinstance(mark[1], int):
                    yield RememberedVersion(_FOLLOWS, at, path, mark[1], mark[0])
