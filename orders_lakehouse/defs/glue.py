"""The catalog: where a database of AWS Glue is set, a job registers the tables of the lake in it, every night."""

from collections import Counter

import dagster as dg

from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.glue import register
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings

_STATUS = dg.DefaultScheduleStatus[settings().sensors.upper()]
# A column that the day brought is there in the morning.
_EVERY_NIGHT = "0 5 * * *"


@dg.op(description="Makes and changes the tables of the Glue database that are not as the lake's are.")
def register_tables(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Register every table of the lake."""
    with failures(context):
        done = register(lake, settings().glue_database)
    for table, outcome in done.items():
        context.log.info("%s: %s", table.path, outcome)
    context.add_output_metadata({outcome.replace(" ", "_"): count for outcome, count in Counter(done.values()).items()})


@dg.job(description="Registers the tables of the lake in AWS Glue, for Athena, Spark on EMR and Trino.")
def register_tables_job() -> None:
    """A single step."""
    register_tables()


register_tables_schedule = dg.ScheduleDefinition(
    name="register_tables_schedule",
    job=register_tables_job,
    cron_schedule=_EVERY_NIGHT,
    default_status=_STATUS,
    execution_timezone=settings().timezone,
    description="Every night.",
)

# Without a database there is nothing to do, and nothing to see.
catalog_jobs = [register_tables_job] if settings().glue_database else []
catalog_schedules = [register_tables_schedule] if settings().glue_database else []
