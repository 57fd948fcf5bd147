"""What Dagster says of its own health: runs whose process is gone, runs that nobody starts, a daemon that is silent.

And which versions of the lake's tables it remembers. The instance is only read.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import yaml

from orders_lakehouse.delta.lost_versions import Named
from orders_lakehouse.findings import ERROR, WARNING, Finding, Looked
from orders_lakehouse.instance.orphaned_runs import dead_runs
from orders_lakehouse.pipeline.date_queue import DateQueue
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, RAW

# The daemon says every half a minute that it lives; a look that takes long says it later.
_SILENT = timedelta(minutes=5)
# A run that waits for longer waits for something that does not come by itself, as a rule.
_QUEUED = timedelta(minutes=15)
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
# Materializations of an asset among which the one that tells of the table stands.
_LATEST = 5
_FOLLOWS = "touched_dates_sensor"


@contextmanager
def standing_instance() -> Iterator[dg.DagsterInstance | None]:
    """Dagster's instance as it stands; None where no run has made one."""
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
    # Of a storage that lies elsewhere, nothing lies here.
    elsewhere = {"storage", "run_storage"} & set(yaml.safe_load(configuration.read_text()) or {})
    return bool(elsewhere) or (home / "history").exists()


def look_at_runs(instance: dg.DagsterInstance) -> Looked:
    """Look for runs that say they are at work and are not, and for those that wait for long."""
    findings = [_dead(run) for run in dead_runs(instance)]
    waiting = instance.get_run_records(
        filters=dg.RunsFilter(statuses=_WAITING, created_before=datetime.now(UTC) - _QUEUED)
    )
    if waiting:
        findings.append(_waiting(waiting))
    at_work = len(instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))
    return Looked(
        f"{at_work} at work, none of them without a process" if not findings else f"{at_work} at work", findings
    )


def _dead(run: dg.DagsterRun) -> Finding:
    dates = _dates_of(run)
    command = [f"lakehouse backfill {dates[0]} {dates[1]} --job {run.job_name}"] if dates else []
    return Finding(
        ERROR,
        f"run {run.run_id} of {run.job_name}",
        f"it is {run.status.value}, and its process is gone",
        "a run that is at work, or has ended",
        "The next look of a sensor, or the next `lakehouse backfill`, marks it as failed and frees what it held. "
        + ("To run its dates again:" if dates else "Launch it again in the UI (`lakehouse dev`)."),
        command,
    )


def _dates_of(run: dg.DagsterRun) -> tuple[str, str] | None:
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    day = run.tags.get("dagster/partition")
    return (first, last) if first and last else (day, day) if day else None


def _waiting(records: Sequence[dg.RunRecord]) -> Finding:
    oldest = min(record.create_timestamp for record in records)
    jobs = sorted({record.dagster_run.job_name for record in records})
    return Finding(
        WARNING,
        "queue of runs",
        f"{len(records)} runs wait, the first since {oldest:%Y-%m-%d %H:%M} UTC: {', '.join(jobs)}",
        f"runs that start within {_QUEUED.total_seconds() / 60:.0f} minutes",
        "Runs are taken from the queue by Dagster's daemon, two at a time. Where it does not run, start it:",
        ["lakehouse dev"],
    )


def look_at_daemon(instance: dg.DagsterInstance) -> Looked:
    """Look when the daemon was heard of last. Where it has never run, nobody expects it to."""
    heartbeats = instance.get_daemon_heartbeats()
    required = [heartbeats[name] for name in sorted(instance.get_required_daemon_types()) if name in heartbeats]
    if not required:
        return Looked("not running, and never was: runs come from the terminal alone")
    now = datetime.now(UTC)
    heard = {beat.daemon_type: datetime.fromtimestamp(beat.timestamp, UTC) for beat in required}
    silent = {name: at for name, at in heard.items() if now - at > _SILENT}
    last = max(heard.values())
    if len(silent) == len(heard):
        said = f"not running, heard of last at {last:%Y-%m-%d %H:%M} UTC"
        return Looked(said, [_not_running(last)] if _sensors_are_on(instance) else [])
    findings = [
        Finding(
            ERROR,
            f"Dagster's daemon, {name}",
            f"silent since {at:%Y-%m-%d %H:%M} UTC, while others of it are heard of",
            f"a sign every {_SILENT.total_seconds() / 60:.0f} minutes at least",
            "It hangs: end the daemon, and start it again.",
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
            "The log of the daemon, and Deployment > Daemons in the UI, have all of it.",
        )
        for name, message in failing.items()
        if name not in silent
    ]
    return Looked(f"running, heard of at {last:%H:%M:%S} UTC", findings)


def _not_running(last: datetime) -> Finding:
    return Finding(
        WARNING,
        "Dagster's daemon",
        f"not heard of since {last:%Y-%m-%d %H:%M} UTC",
        f"a sign every {_SILENT.total_seconds() / 60:.0f} minutes at least, as sensors are on",
        "Nobody follows the shop, and nothing runs at night. Start it; or switch the sensors off, where runs come from "
        "the terminal alone (LAKEHOUSE_SENSORS=stopped).",
        ["lakehouse dev"],
    )


def _sensors_are_on(instance: dg.DagsterInstance) -> bool:
    if settings().sensors == "running":
        return True
    return any(state.status.value == "RUNNING" for state in instance.all_instigator_state())


def named_by_dagster(instance: dg.DagsterInstance) -> Iterator[Named]:
    """The versions that runs have told of, and the one that the sensor has seen last."""
    for table in (*RAW, *CLEANSED, *CURATED):
        for record in instance.fetch_materializations(dg.AssetKey([table.layer, table.name]), limit=_LATEST).records:
            told = record.asset_materialization
            version = told.metadata.get("delta_version") if told else None
            if version is not None and isinstance(version.value, int):
                at = datetime.fromtimestamp(record.timestamp, UTC)
                yield Named(f"run {record.run_id}", at, table.path, version.value)
                break
    for state in instance.all_instigator_state():
        remembered = (
            DateQueue.from_json(getattr(state.instigator_data, "cursor", None)) if state.name == _FOLLOWS else None
        )
        looked = getattr(state.instigator_data, "last_tick_timestamp", None)
        if remembered is not None and looked is not None:
            at = datetime.fromtimestamp(looked, UTC)
            for path, mark in remembered.marks.items():
                if isinstance(mark, list) and len(mark) == 2 and isinstance(mark[1], int):
                    yield Named(_FOLLOWS, at, path, mark[1], mark[0])
