"""Find and fail runs whose process is gone.

The run of a killed process stays started for ever and keeps its slots in pools, and other runs wait for these. So each
run is signed with the process that executes it. A run of this machine whose process is gone is marked as failed, which
frees its slots.
"""

import os
import socket

import dagster as dg
import psutil

from orders_lakehouse.instance.run_tags import subject_tags
from orders_lakehouse.runtime.pools import free_slots

# The UI hides tags with this prefix.
SIGNATURE = ".dagster/orders_lakehouse_process"
# Tag of the signature in runs of earlier versions of the lakehouse.
_FORMER_SIGNATURE = "orders_lakehouse/process"
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def sign_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Sign a run as executed by this process, and tag it with what it is about."""
    run = instance.get_run_by_id(run_id)
    instance.add_run_tags(run_id, {**signature_tags(run_id), **(subject_tags(run) if run else {})})


def signature_tags(run_id: str) -> dict[str, str]:
    """Return the same signature as tags, for a run that is about to start in this process."""
    return {SIGNATURE: f"{_signature(psutil.Process())}/{run_id}"}


def signature_of(run: dg.DagsterRun) -> str:
    """Return the signature of a run; empty for a run that is not the lakehouse's."""
    return run.tags.get(SIGNATURE) or run.tags.get(_FORMER_SIGNATURE, "")


def dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Return the signed runs of this machine that are active in Dagster and whose process is gone."""
    dead = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_AT_WORK)):
        signature, _, signed = signature_of(run).rpartition("/")
        # A run that is executed again has the tags of the earlier run until it signs itself.
        is_here = signed == run.run_id and signature.startswith(f"{socket.gethostname()}/")
        if is_here and not _lives(signature):
            dead.append(run)
    return dead


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark dead runs as failed, or as canceled if they were being canceled, and free their slots; return their ids."""
    dead = dead_runs(instance)
    for run in dead:
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process that executed this run is gone.")
        else:
            instance.report_run_failed(run, "The process that executed this run is gone.")
        free_slots(instance, run.run_id)
    return [run.run_id for run in dead]


def _signature(process: psutil.Process) -> str:
    # Process ids are reused; the start time distinguishes the processes.
    return f"{socket.gethostname()}/{process.pid}/{process.create_time():.2f}"


def _lives(signature: str) -> bool:
    _host, pid, _started = signature.rsplit("/", 2)
    if int(pid) == os.getpid():
        return True
    try:
        process = psutil.Process(int(pid))
        return _signature(process) == signature and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
