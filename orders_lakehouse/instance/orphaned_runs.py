"""Runs whose process is gone.

A process that is killed leaves its run as started for ever, and with it the slots of the pools that the run had taken;
whoever waits for a slot would wait in vain. So a run is signed with the process that executes it, and a run of this
machine whose process does not live any more is marked as failed, which frees its slots.
"""

import os
import socket

import dagster as dg
import psutil

from orders_lakehouse.runtime.pools import free_slots

SIGNATURE = "orders_lakehouse/process"
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def sign_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Note on a run that this process executes it."""
    instance.add_run_tags(run_id, signature_tags(run_id))


def signature_tags(run_id: str) -> dict[str, str]:
    """The same note, as tags for a run that is about to start in this process."""
    return {SIGNATURE: f"{_signature(psutil.Process())}/{run_id}"}


def dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The signed runs of this machine that say they are at work, and whose process is gone."""
    dead = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_AT_WORK)):
        signature, _, signed = run.tags.get(SIGNATURE, "").rpartition("/")
        # A run that is executed again bears the tags of the one before, until it signs itself.
        is_here = signed == run.run_id and signature.startswith(f"{socket.gethostname()}/")
        if is_here and not _lives(signature):
            dead.append(run)
    return dead


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark dead runs as failed, or as canceled where somebody wanted that, and free their slots; returns their ids."""
    dead = dead_runs(instance)
    for run in dead:
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process that executed this run is gone.")
        else:
            instance.report_run_failed(run, "The process that executed this run is gone.")
        free_slots(instance, run.run_id)
    return [run.run_id for run in dead]


def _signature(process: psutil.Process) -> str:
    # A process id is used again one day; the time of its start tells the two apart.
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
