"""Checks that the runs requested by sensors succeed, from the sensors' cursors in Dagster."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from orders_lakehouse.contracts.checks import SENSORS_GET_THROUGH
from orders_lakehouse.defs.checks.check_reporting import report_what_is_new
from orders_lakehouse.defs.metadata import FEW, key_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.date_queue import REPEATED, DateQueue
from orders_lakehouse.pipeline.failing_requests import RepeatedFailure, refused_tables, repeated_failures
from orders_lakehouse.runtime.sensor_states import sensor_states
from orders_lakehouse.sources.base import RefusedTable
from orders_lakehouse.tables import ROOT

# Number of failed runs in a row that is an error; they take about a quarter of an hour.
_FOR_GOOD = 6
# Time of refusal from which a refused table is an error.
_REFUSED_FOR_GOOD = timedelta(minutes=15)


def _gets_through(asset: dg.AssetKey, sensor: str) -> dg.AssetChecksDefinition:
    """Make a check, on a table that a sensor's runs write, that these runs do not fail again and again."""
    description = (
        f"No date that {sensor} requests has {REPEATED} or more failed runs in a row; {_FOR_GOOD} are an error. "
        "Failed runs are requested again without asking anybody, so this check reports them. The shop lets every table "
        "be read; a table that is refused for a quarter of an hour is an error."
    )

    @dg.asset_check(asset=asset, name=SENSORS_GET_THROUGH, description=description)
    def gets_through(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        with failures(context):
            states = _states(context.instance, sensor)
            failing = [failure for state in states for failure in repeated_failures(sensor, state)]
            refused = [table for state in states for table in refused_tables(state)]
            is_error = max((failure.attempts for failure in failing), default=0) >= _FOR_GOOD
            is_error |= any(datetime.now(UTC) - table.since >= _REFUSED_FOR_GOOD for table in refused)
            severity = dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN
            metadata: dict[str, Any] = {
                "failed_attempts": max((failure.attempts for failure in failing), default=0),
                "dates_in_vain": sum((failure.last - failure.first).days + 1 for failure in failing),
                "refused_tables": len(refused),
            }
            check = dg.AssetCheckKey(asset, SENSORS_GET_THROUGH)
            return report_what_is_new(context, lake, check, _verdict(sensor, failing, refused), severity, metadata)

    return gets_through


def _verdict(sensor: str, failing: Sequence[RepeatedFailure], refused: Sequence[RefusedTable]) -> dict[str, Any]:
    """Return the verdict on a sensor."""
    more = [f"{len(failing) - FEW} more stretches of dates"] if len(failing) > FEW else []
    named = [failure.in_words for failure in failing[:FEW]]
    problems = [*named, *more, *(f"{table.table} is not followed" for table in refused)]
    details = [f"{failure.error}. {failure.next_step()}" for failure in failing[:FEW]]
    details += [table.in_words for table in refused]
    return {
        "date": None,
        "passed": not problems,
        "expected": f"fewer than {REPEATED} failed runs in a row, and every table followed",
        "found": "; ".join(problems) or f"the runs of {sensor} succeed",
        "detail": "\n".join(details) or None,
    }


def _states(instance: dg.DagsterInstance, sensor: str) -> list[DateQueue]:
    """Return the states of a sensor from its cursors; none if it is switched off, because it requests nothing then."""
    queues: list[DateQueue] = []
    for state in sensor_states(instance):
        if state.name == sensor and state.status.value != "STOPPED":
            # Schedules have no cursor, nor has a sensor before its first look.
            queue = DateQueue.from_json(getattr(state.instigator_data, "cursor", None))
            queues += [queue] if queue else []
    return queues


gets_through_checks = [
    _gets_through(key_of(ROOT.raw), "shop_changes_sensor"),
    _gets_through(key_of(ROOT.cleansed), "touched_dates_sensor"),
]
