"""Care: at night each table's files and log are brought into order, a job for each layer and a step for each table.

Then Dagster's history is pruned, and what older runs have left.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.metadata import FEW, key_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.maintenance import Maintained, maintain_table
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.instance.orphaned_runs import SIGNATURE
from orders_lakehouse.pipeline import failing_requests
from orders_lakehouse.pipeline.check_results import prune as prune_results
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, RAW, TABLES

if TYPE_CHECKING:
    from orders_lakehouse.instance.pruning import Pruned

_STATUS = dg.DefaultScheduleStatus[settings().sensors.upper()]
# After what reads every row at night, and what derives many dates anew on Sundays.
_EVERY_NIGHT = "30 4 * * *"
# After the care for tables, whose runs would keep the files of SQLite from being written anew.
_AFTERWARDS = "30 5 * * *"
_ASSETS = {*RAW, *CLEANSED, *CURATED}


def _care_for(table: Table) -> dg.OpDefinition:
    @dg.op(
        name=f"maintain_{table.layer}_{table.name}",
        description=f"Makes few files of the many of {table.path}, and removes what no version needs that is kept.",
    )
    def maintain(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
        with failures(context):
            done = maintain_table(lake, table, settings().retention_days)
        if done is None:
            context.log.info("%s has not been made yet", table.path)
            return
        context.add_output_metadata(_told(done))
        if table in _ASSETS:
            context.log_event(dg.AssetObservation(key_of(table), metadata=_told(done)))

    return maintain


def _told(done: Maintained) -> dict[str, Any]:
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


class SharedHistoryError(ExpectedError):
    """Others use the Dagster instance, too."""


def require_own_history(instance: dg.DagsterInstance) -> None:
    """Refuse to prune a Dagster instance that other projects use, too.

    Each run of the lakehouse is signed. Sensors and schedules are not, but name their code location.

    Raises:
        SharedHistoryError: There are runs without a signature, or several code locations; the message names some.
    """
    runs = [record.dagster_run for record in instance.get_run_records() if record.start_time is not None]
    others = {run.job_name for run in runs if SIGNATURE not in run.tags}
    by_location: dict[str, set[str]] = {}
    for state in instance.all_instigator_state():
        location = state.origin.repository_origin.code_location_origin.location_name
        by_location.setdefault(location, set()).add(state.instigator_name)
    if len(by_location) > 1:
        others |= set(by_location)
    if others:
        raise SharedHistoryError(
            f"this Dagster instance is not the lakehouse's alone: found {', '.join(sorted(others)[:FEW])}, which "
            "it did not run or does not have. Nothing is removed; expected a DAGSTER_HOME of its own."
        )


def prune_everything(instance: dg.DagsterInstance, lake: Lake, *, dry_run: bool = False) -> tuple["Pruned", int]:
    """Remove what older runs have left; returns what went, or would go, and how many rows of `checks/results`.

    Raises:
        SharedHistoryError: The instance is not the lakehouse's alone.
    """
    require_own_history(instance)
    # Dagster's storage brings SQLAlchemy, which no other run needs before it opens its instance.
    from orders_lakehouse.instance.pruning import prune_history

    told = {failure.run_id for failure in failing_requests.saved_failures() if failure.run_id}
    done = prune_history(instance, settings().keep_runs, told, dry_run=dry_run)
    return done, prune_results(lake, done.oldest, dry_run=dry_run) if done.oldest else 0


@dg.op(description="Removes events, logs and evaluations of older runs that nobody needs, and what they left in files.")
def prune(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Prune, and say what went."""
    from orders_lakehouse.instance.pruning import shrink_files

    with failures(context):
        try:
            done, results = prune_everything(context.instance, lake)
        except SharedHistoryError as error:
            # Somebody's choice, and no fault that a run has to fail by each night.
            context.log.warning(str(error))
            return
    given_back = shrink_files(context.instance, context.run.run_id)
    metadata = {**asdict(done), "check_results": results, "bytes_given_back": given_back}
    context.add_output_metadata({name: str(value) if name == "oldest" else value for name, value in metadata.items()})


@dg.job(description="Removes what older runs have left in Dagster's storage and LAKEHOUSE_HOME. No table changes.")
def prune_history_job() -> None:
    """One step."""
    prune()


prune_history_schedule = dg.ScheduleDefinition(
    name="prune_history_schedule",
    job=prune_history_job,
    cron_schedule=_AFTERWARDS,
    default_status=_STATUS,
    execution_timezone=settings().timezone,
    description="Every night.",
)
