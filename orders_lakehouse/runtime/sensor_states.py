"""States of sensors and schedules in Dagster's storage."""

from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorType, SensorInstigatorData


def sensor_states(instance: dg.DagsterInstance) -> Sequence[Any]:
    """Return the states of all sensors and schedules; an instance in memory has none."""
    return [] if instance.schedule_storage is None else instance.all_instigator_state()


def forget_cursors(instance: dg.DagsterInstance, sensors: Collection[str]) -> None:
    """Reset the cursors of sensors, by name, so that they start from scratch; they stay switched on or off."""
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        if state.instigator_name in sensors and isinstance(state.instigator_data, SensorInstigatorData):
            instance.update_instigator_state(state.with_data(state.instigator_data._replace(cursor=None)))
