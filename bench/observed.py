"""The `lakehouse` command with timing of Dagster's events: `python -m bench.observed FILE COMMAND ARGUMENT ...`.

`unchecked FIRST LAST` does everything that a backfill does except its checks; it exists only here.

Every event passes `DagsterInstance.handle_new_event`, which stores it. This module measures its time in the process of
the run, and changes nothing else. After the end of the command, FILE holds as JSON:

    events   a list for each event: instant (seconds since the epoch), seconds that storing it took, type, step,
             seconds that the step took (of STEP_SUCCESS), rows (of materializations and contract checks)
    stages   the stage of each step
"""

import json
import sys
from datetime import date
from pathlib import Path
from time import time
from typing import Any

import dagster as dg

from orders_lakehouse.cli import main as cli
from orders_lakehouse.cli.runs import run_selection
from orders_lakehouse.definitions import defs
from orders_lakehouse.defs.metadata import ROWS_OF_DATE

# Metadata with the number of rows that an asset worked on, or that a contract check judged.
_ROWS = ("versions_read", ROWS_OF_DATE, "quarantined", "rows_copied", "rows")

_events: list[tuple[float, float, str, str | None, float | None, int]] = []


def main() -> None:
    """Run the command, then write the observations, also after a failure."""
    target = Path(sys.argv.pop(1))
    _watch()
    try:
        if sys.argv[1] == "unchecked":
            _run_unchecked(*map(date.fromisoformat, sys.argv[2:]))
        else:
            cli.main()
    finally:
        target.write_text(json.dumps({"events": _events, "stages": _stages()}))


def _run_unchecked(first: date, last: date) -> None:
    # Assets of raw include the check of their capture, so it stays.
    own = [key for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition) for key in _own_checks(asset)]
    everything = dg.AssetSelection.all().without_checks() | dg.AssetSelection.checks(*own)
    outcome = run_selection(everything, first, last, lambda *_: None)
    if not outcome.success:
        raise SystemExit(str(outcome.errors))


def _own_checks(asset: dg.AssetsDefinition) -> list[dg.AssetCheckKey]:
    return [] if asset.can_subset else list(asset.check_keys)


def _watch() -> None:
    store = dg.DagsterInstance.handle_new_event

    def timed(self: dg.DagsterInstance, event: dg.EventLogEntry, **options: Any) -> None:
        started = time()
        try:
            store(self, event, **options)
        finally:
            if event.is_dagster_event:
                _note(started, time() - started, event.get_dagster_event())

    dg.DagsterInstance.handle_new_event = timed  # type: ignore[method-assign, assignment]


def _note(started: float, seconds: float, event: dg.DagsterEvent) -> None:
    took = event.step_success_data.duration_ms / 1000 if event.is_step_success else None
    _events.append((started, seconds, event.event_type_value, event.step_key, took, _rows(event)))


def _rows(event: dg.DagsterEvent) -> int:
    if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
        metadata = event.step_materialization_data.materialization.metadata
    elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        metadata = event.asset_check_evaluation_data.metadata
    else:
        return 0
    return sum(int(str(metadata[name].value)) for name in _ROWS if name in metadata)


def _stages() -> dict[str, str]:
    """Return the layer at the beginning of a step's name; steps of dbt keep their names; all checks are one stage."""
    stages = {
        asset.op.name: asset.op.name.partition("__")[0]
        for asset in defs.assets or ()
        if isinstance(asset, dg.AssetsDefinition)
    }
    return stages | {check.op.name: "checks" for check in defs.asset_checks or ()}


if __name__ == "__main__":
    main()
