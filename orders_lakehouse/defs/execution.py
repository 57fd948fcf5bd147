"""Derive the dates of a table, by the engine of the settings or by a job on EMR Serverless."""

import json
from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.check_reporting import started
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import dates_changed_by
from orders_lakehouse.delta.replaced import SAMPLED, Replaced
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.pipeline.derive import derive, derived_with
from orders_lakehouse.pipeline.row_accounting import rows_by_date
from orders_lakehouse.settings import settings


class JobError(ExpectedError):
    """A job could not be submitted, or failed."""


def derive_in_step(
    context: dg.AssetExecutionContext, lake: Lake, table: Table, dates: tuple[date, date] | None
) -> list[Replaced]:
    """Derive dates of a table with `orders_lakehouse.pipeline.derive.derive`, in this process or in an EMR job.

    An EMR job gets dates only for tables that have dates; it derives other tables from everything.

    Raises:
        JobError: The job failed, or cannot be submitted.
    """
    if settings().emr_job is None:
        return derive(lake, table, dates, context.run_id, partial(_warn, context))
    dates = dates if table.partitioned_by else None
    _submit(context, table, dates)
    return [_result_of_job(context, lake, target, dates) for target in derived_with(table)]


def _warn(context: dg.AssetExecutionContext, message: str) -> None:
    """Show a message in the log, on the asset's page, and on the terminal that follows the run."""
    context.log.warning(message)
    context.log_event(dg.AssetObservation(context.asset_key, description=message))


def _submit(context: dg.AssetExecutionContext, table: Table, dates: tuple[date, date] | None) -> None:
    """Submit a job that derives the dates, and wait for it."""
    from botocore.exceptions import ClientError, ParamValidationError
    from dagster_aws.pipes import PipesCloudWatchMessageReader, PipesEMRServerlessClient

    client = PipesEMRServerlessClient(
        client=object_store.client("emr-serverless"),
        message_reader=PipesCloudWatchMessageReader(client=object_store.client("logs")),
    )
    waivers = settings().waivers
    extras = {"waivers": waivers.read_text(encoding="utf-8") if waivers.exists() else ""}
    parameters = job_parameters(table, dates, context.run_id)
    try:
        client.run(context=context, start_job_run_params=parameters, extras=extras)
    except (ClientError, ParamValidationError) as error:
        raise JobError(f"EMR Serverless does not take the job of {settings().emr_job}: {error}") from error
    except RuntimeError as error:
        # The client raises a plain RuntimeError for a job that failed.
        raise JobError(
            f"the job on EMR Serverless that derives {table.path} failed ({error}); its state and its logs are in this "
            "step's log, and in the console of EMR Studio. Dates that it had committed are complete; run the same "
            "dates again."
        ) from error


def job_parameters(table: Table, dates: tuple[date, date] | None, run_id: str) -> Any:
    """Return the parameters of a job: those of the file in the settings, with the table and the dates.

    Raises:
        JobError: The file cannot be read, or names no entry point.
    """
    path = settings().emr_job
    try:
        parameters = json.loads(path.read_text(encoding="utf-8")) if path else {}
        submit = parameters["jobDriver"]["sparkSubmit"]
        submit["entryPoint"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise JobError(
            f"LAKEHOUSE_EMR_JOB is {path}, which cannot be used ({type(error).__name__}: {error}); expected JSON with "
            "the parameters of StartJobRun, with jobDriver.sparkSubmit.entryPoint: see docs/scale.md"
        ) from error
    variables = "".join(
        f" --conf spark.emr-serverless.driverEnv.{name}={value}" for name, value in _variables().items()
    )
    submit["entryPointArguments"] = [table.path, run_id, *map(str, dates or ())]
    submit["sparkSubmitParameters"] = f"{submit.get('sparkSubmitParameters', '')}{variables}".strip()
    return {"name": f"{table.path} {run_id}", **parameters}


def _variables() -> Mapping[str, str]:
    """Return the settings of this process that the job needs, as environment variables."""
    own = settings()
    return {
        "LAKE_URL": own.lake_url,
        "LAKEHOUSE_START_DATE": str(own.start_date),
        "LAKEHOUSE_TIMEZONE": own.timezone,
    }


def _result_of_job(
    context: dg.AssetExecutionContext, lake: Lake, table: Table, dates: tuple[date, date] | None
) -> Replaced:
    """Read the result of a job for a table from the table's log."""
    changed = sorted(dates_changed_by(lake, table, context.run_id, started(context)))
    rows = lake.scan(table, between=dates)
    return Replaced(
        rows_by_date(lake, table, dates), rows_of(rows.head(SAMPLED)), pl.Series("date", changed, dtype=pl.Date)
    )
