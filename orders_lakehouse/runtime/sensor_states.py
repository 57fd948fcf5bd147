"""What Dagster remembers of sensors and schedules."""

from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorType, SensorInstigatorData


def sensor_states(instance: dg.DagsterInstance) -> Sequence[Any]:
    """Return the states of all sensors and schedules; none of an instance in memory, where nothing ticks."""
    return [] if instance.schedule_storage is None else instance.all_instigator_state()


def forget_cursors(instance: dg.DagsterInstance, sensors: Collection[str]) -> None:
    """Let some sensors, by name, look as if for the first time; whether they are switched on stays."""
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        if state.instigator_name in sensors and isinstance(state.instigator_data, SensorInstigatorData):
            instance.update_instigator_state(state.with_data(state.instigator_data._replace(cursor=None)))
