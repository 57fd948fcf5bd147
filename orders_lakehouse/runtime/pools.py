"""Slots of Dagster's pools: set their number, and free those of a run whose process is gone."""

from collections.abc import Mapping

import dagster as dg


def set_slots(instance: dg.DagsterInstance, pools: Mapping[str, int]) -> None:
    """Set the number of slots of each pool that has none yet.

    A limit that is set here holds across processes; the default limit of dagster.yaml does not.
    """
    storage = instance.event_log_storage
    known = storage.get_concurrency_keys()
    for pool, slots in pools.items():
        if pool not in known:
            storage.set_concurrency_slots(pool, slots)


def free_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Free the slots that the steps of a run have taken."""
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)
