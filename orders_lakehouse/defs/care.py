"""Care: at night each table's files and log are brought into order, a job for each layer and a step for each table."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from orders_lakehouse.contracts.tables import CLEANSED, CURATED, RAW, TABLES, Table
from orders_lakehouse.defs.metadata import key_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.lake.care import Care, care_for
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.settings import settings

_STATUS = dg.DefaultScheduleStatus[settings().sensors.upper()]
# After what reads every row at night, and what derives many dates anew on Sundays.
_EVERY_NIGHT = "30 4 * * *"
_ASSETS = {*RAW, *CLEANSED, *CURATED}


def _care_for(table: Table) -> dg.OpDefinition:
    @dg.op(
        name=f"maintain_{table.layer}_{table.name}",
        description=f"Makes few files of the many of {table.path}, and removes what no version needs that is kept.",
    )
    def maintain(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
        with failures(context):
            done = care_for(lake, table, settings().retention_days)
        if done is None:
            context.log.info("%s has not been made yet", table.path)
            return
        context.add_output_metadata(_told(done))
        if table in _ASSETS:
            context.log_event(dg.AssetObservation(key_of(table), metadata=_told(done)))

    return maintain


def _told(done: Care) -> dict[str, Any]:
    before, after = asdict(done.before), asdict(done.after)
    return {
        **{f"{name}_{when}": of[name] for name in before for when, of in (("before", before), ("after", after))},
        "partitions_compacted": done.compacted,
        "partitions_left": done.left,
        "files_removed": done.removed,
    }


def _of_layer(layer: str, tables: Sequence[Table]) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    ops = [_care_for(table) for table in tables]

    @dg.job(
        name=f"maintain_{layer}_job",
        description=f"Cares for the tables of {layer}: few files, a short log, no file without need. No row changes.",
    )
    def maintain_layer() -> None:
        for op in ops:
            op()

    schedule = dg.ScheduleDefinition(
        name=f"maintain_{layer}_schedule",
        job=maintain_layer,
        cron_schedule=_EVERY_NIGHT,
        default_status=_STATUS,
        execution_timezone=settings().timezone,
        description="Every night.",
    )
    return maintain_layer, schedule


_layers = dict.fromkeys(table.layer for table in TABLES)
_made = [_of_layer(layer, [table for table in TABLES if table.layer == layer]) for layer in _layers]
maintain_jobs = [job for job, _ in _made]
maintain_schedules = [schedule for _, schedule in _made]
