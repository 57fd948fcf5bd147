"""Runs whose process is gone.

A process that is killed leaves its run as started for ever, and with it the slots of the pools that the run had taken;
whoever waits for a slot would wait in vain. So a run is signed with the process that executes it, and a run of this
machine whose process does not live any more is marked as failed, which frees its slots.
"""

import os
import socket

import dagster as dg
import psutil

SIGNATURE = "orders_lakehouse/process"


def sign_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Note on a run that this process executes it."""
    instance.add_run_tags(run_id, signature_tags(run_id))


def signature_tags(run_id: str) -> dict[str, str]:
    """The same note, as tags for a run that is about to start in this process."""
    return {SIGNATURE: f"{_signature(psutil.Process())}/{run_id}"}


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the signed runs of this machine whose process is gone as failed, and free their slots; returns their ids."""
    dead = []
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(filters=unfinished):
        signature, _, signed = run.tags.get(SIGNATURE, "").rpartition("/")
        # A run that is executed again bears the tags of the one before, until it signs itself.
        if signed != run.run_id or not signature.startswith(f"{socket.gethostname()}/") or _lives(signature):
            continue
        instance.report_run_failed(run, "The process that executed this run is gone.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        dead.append(run.run_id)
    return dead


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
