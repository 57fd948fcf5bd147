"""Maintain each table's files and log every night, with a job for each layer and a step for each table.

Afterwards a job prunes Dagster's history and the leftovers of old runs.
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
from orders_lakehouse.instance.orphaned_runs import signature_of
from orders_lakehouse.pipeline import failing_requests
from orders_lakehouse.pipeline.check_results import prune as prune_results
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, RAW, TABLES

if TYPE_CHECKING:
    from orders_lakehouse.instance.pruning import Pruned

_STATUS = dg.DefaultScheduleStatus[settings().sensors.upper()]
# Cron time of maintenance: after the reconciliation, which reads every row, and after the Sunday repair.
_EVERY_NIGHT = "30 4 * * *"
# Cron time of pruning: after maintenance, because SQLite files are not written anew while runs are active.
_AFTERWARDS = "30 5 * * *"
_ASSETS = {*RAW, *CLEANSED, *CURATED}


def _maintain_op(table: Table) -> dg.OpDefinition:
    @dg.op(
        name=f"maintain_{table.layer}_{table.name}",
        description=f"Compacts the files of {table.path}, and removes those that no kept version needs.",
    )
    def maintain(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
        with failures(context):
            result = maintain_table(lake, table, settings().retention_days)
        if result is None:
            context.log.info("%s has not been made yet", table.path)
            return
        context.add_output_metadata(_metadata(result))
        if table in _ASSETS:
            context.log_event(dg.AssetObservation(key_of(table), metadata=_metadata(result)))

    return maintain


def _metadata(result: Maintained) -> dict[str, Any]:
    before, after = asdict(result.before), asdict(result.after)
    return {
        **{f"{name}_{when}": of[name] for name in before for when, of in (("before", before), ("after", after))},
        "partitions_compacted": result.compacted,
        "partitions_left": result.left,
        "files_removed": result.removed,
    }


def _maintain_layer(layer: str, tables: Sequence[Table]) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    ops = [_maintain_op(table) for table in tables]

    @dg.job(
        name=f"maintain_{layer}_job",
        description=f"Compacts files, shortens logs and removes unused files of the tables of {layer}. No row changes.",
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
_layer_maintenance = [_maintain_layer(layer, [table for table in TABLES if table.layer == layer]) for layer in _layers]
maintain_jobs = [job for job, _ in _layer_maintenance]
maintain_schedules = [schedule for _, schedule in _layer_maintenance]


class SharedHistoryError(ExpectedError):
    """Other projects use the Dagster instance, too."""


def require_own_history(instance: dg.DagsterInstance) -> None:
    """Refuse to prune a Dagster instance that other projects use, too.

    Each run of the lakehouse is signed. Sensors and schedules are not, but they name their code location.

    Raises:
        SharedHistoryError: There are runs without a signature, or several code locations; the message names some.
    """
    runs = [record.dagster_run for record in instance.get_run_records() if record.start_time is not None]
    others = {run.job_name for run in runs if not signature_of(run)}
    by_location: dict[str, set[str]] = {}
    for state in instance.all_instigator_state():
        location = state.origin.repository_origin.code_location_origin.location_name
        by_location.setdefault(location, set()).add(state.instigator_name)
    if len(by_location) > 1:
        others |= set(by_location)
    if others:
        raise SharedHistoryError(
            f"found {', '.join(sorted(others)[:FEW])} in this Dagster instance, which do not belong to the lakehouse; "
            "expected a DAGSTER_HOME of its own. Nothing is removed."
        )


def prune_everything(instance: dg.DagsterInstance, lake: Lake, *, dry_run: bool = False) -> tuple["Pruned", int]:
    """Remove what older runs have left.

    Returns:
        Numbers of removed things, or of those that would be removed; and rows removed from `checks/results`.

    Raises:
        SharedHistoryError: Other projects use the instance, too.
    """
    require_own_history(instance)
    # Pruning imports SQLAlchemy, which other runs do not need.
    from orders_lakehouse.instance.pruning import prune_history

    named = {failure.run_id for failure in failing_requests.saved_failures() if failure.run_id}
    pruned = prune_history(instance, settings().keep_runs, named, dry_run=dry_run)
    return pruned, prune_results(lake, pruned.oldest, dry_run=dry_run) if pruned.oldest else 0


@dg.op(description="Removes events, logs, evaluations and files of older runs that nothing needs.")
def prune(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Prune, and report what was removed."""
    from orders_lakehouse.instance.pruning import shrink_files

    with failures(context):
        try:
            pruned, results = prune_everything(context.instance, lake)
        except SharedHistoryError as error:
            # A shared instance is the user's choice, so the run does not fail.
            context.log.warning(str(error))
            return
    bytes_freed = shrink_files(context.instance, context.run.run_id)
    metadata = {**asdict(pruned), "check_results": results, "bytes_given_back": bytes_freed}
    context.add_output_metadata({name: str(value) if name == "oldest" else value for name, value in metadata.items()})


@dg.job(description="Removes what older runs have left in Dagster's storage and LAKEHOUSE_HOME. No table changes.")
def prune_history_job() -> None:
    """Prune, in a single step."""
    prune()


prune_history_schedule = dg.ScheduleDefinition(
    name="prune_history_schedule",
    job=prune_history_job,
    cron_schedule=_AFTERWARDS,
    default_status=_STATUS,
    execution_timezone=settings().timezone,
    description="Every night.",
)
