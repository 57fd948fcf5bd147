"""Register the tables of the lake in AWS Glue every night, if the settings name a Glue database."""

from collections import Counter

import dagster as dg

from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.glue import register
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings

_STATUS = dg.DefaultScheduleStatus[settings().sensors.upper()]
# Cron time of the registration, so that new columns of the day are there in the morning.
_EVERY_NIGHT = "0 5 * * *"


@dg.op(description="Creates and updates the tables of the Glue database that differ from the lake's.")
def register_tables(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Register every table of the lake."""
    with failures(context):
        outcomes = register(lake, settings().glue_database)
    for table, outcome in outcomes.items():
        context.log.info("%s: %s", table.path, outcome)
    counts = Counter(outcomes.values())
    context.add_output_metadata({outcome.replace(" ", "_"): count for outcome, count in counts.items()})


@dg.job(description="Registers the tables of the lake in AWS Glue, for Athena, Spark on EMR and Trino.")
def register_tables_job() -> None:
    """Register every table, in a single step."""
    register_tables()


register_tables_schedule = dg.ScheduleDefinition(
    name="register_tables_schedule",
    job=register_tables_job,
    cron_schedule=_EVERY_NIGHT,
    default_status=_STATUS,
    execution_timezone=settings().timezone,
    description="Every night.",
)

# Without a Glue database there is no job.
catalog_jobs = [register_tables_job] if settings().glue_database else []
catalog_schedules = [register_tables_schedule] if settings().glue_database else []
