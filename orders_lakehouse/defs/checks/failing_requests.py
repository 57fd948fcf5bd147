"""Checks that what sensors ask for gets through, by what their cursors in Dagster remember."""

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

# So many failed runs in a row are an error: by then a quarter of an hour has gone by.
_FOR_GOOD = 6
# A table that is refused for so long is an error, too.
_REFUSED_FOR_GOOD = timedelta(minutes=15)


def _gets_through(asset: dg.AssetKey, sensor: str) -> dg.AssetChecksDefinition:
    """A check that the runs of a sensor do not fail again and again, borne by a table that they make."""
    description = (
        f"No date that {sensor} asks for has had {REPEATED} failed runs in a row or more; from {_FOR_GOOD} on it is an "
        "error. A failed run is asked for again by itself, so without this nobody would be told. The shop lets every "
        "table be looked at; one that is refused for a quarter of an hour is an error."
    )

    @dg.asset_check(asset=asset, name=SENSORS_GET_THROUGH, description=description)
    def gets_through(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        with failures(context):
            states = _remembered(context.instance, sensor)
            found = [one for state in states for one in repeated_failures(sensor, state)]
            refused = [one for state in states for one in refused_tables(state)]
            is_error = max((one.attempts for one in found), default=0) >= _FOR_GOOD
            is_error |= any(datetime.now(UTC) - one.since >= _REFUSED_FOR_GOOD for one in refused)
            severity = dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN
            told: dict[str, Any] = {
                "failed_attempts": max((one.attempts for one in found), default=0),
                "dates_in_vain": sum((one.last - one.first).days + 1 for one in found),
                "refused_tables": len(refused),
            }
            check = dg.AssetCheckKey(asset, SENSORS_GET_THROUGH)
            return report_what_is_new(context, lake, check, _verdict(sensor, found, refused), severity, told)

    return gets_through


def _verdict(sensor: str, found: Sequence[RepeatedFailure], refused: Sequence[RefusedTable]) -> dict[str, Any]:
    """What is said of a sensor."""
    more = [f"{len(found) - FEW} more stretches of dates"] if len(found) > FEW else []
    problems = [*(one.in_words for one in found[:FEW]), *more, *(f"{one.table} is not followed" for one in refused)]
    details = [*(f"{one.error}. {one.next_step()}" for one in found[:FEW]), *(one.in_words for one in refused)]
    return {
        "date": None,
        "passed": not problems,
        "expected": f"fewer than {REPEATED} failed runs in a row, and every table followed",
        "found": "; ".join(problems) or f"{sensor} gets through",
        "detail": "\n".join(details) or None,
    }


def _remembered(instance: dg.DagsterInstance, sensor: str) -> list[DateQueue]:
    """What a sensor remembers, by its cursor; nothing while it is switched off, as it asks for nothing then."""
    found: list[DateQueue] = []
    for state in sensor_states(instance):
        if state.name == sensor and state.status.value != "STOPPED":
            # Schedules have no cursor, and a sensor none before its first look.
            remembered = DateQueue.from_json(getattr(state.instigator_data, "cursor", None))
            found += [remembered] if remembered else []
    return found


gets_through_checks = [
    _gets_through(key_of(ROOT.raw), "shop_changes_sensor"),
    _gets_through(key_of(ROOT.cleansed), "touched_dates_sensor"),
]
