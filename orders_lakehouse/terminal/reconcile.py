"""`lakehouse reconcile`: whether the shop holds what raw has captured of it, row by row."""

import click
import polars as pl

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.instance import BackfillError, run_job
from orders_lakehouse.lake.configured import configured_lake
from orders_lakehouse.lake.results import evaluations


class ReconcileError(ExpectedError):
    """There is nothing to compare the shop with."""


def reconcile() -> bool:
    """Compare every row of the shop with raw, and print where they differ; returns whether they agree.

    Raises:
        BackfillError: A table of the shop or of raw cannot be read; the others are compared all the same.
        ReconcileError: Nothing has been captured yet.
    """
    lake = configured_lake()
    if evaluations(lake).filter(pl.col("check_name") == "raw_matches_source").is_empty():
        raise ReconcileError(f"nothing has been captured in {lake.url} yet: there is nothing to compare with")
    outcome = run_job("reconcile_job", lambda *_: None)
    rows = evaluations(lake).filter(pl.col("run_id") == outcome.run_id)
    differing = rows.filter(~pl.col("passed"), pl.col("date").is_not_null())
    if differing.is_empty() and not outcome.errors:
        click.echo("The shop and raw agree, row by row, but for the last hour before the newest capture.")
        return True
    for row in differing.sort("asset", "date").iter_rows(named=True):
        click.echo(f"{row['asset']} on {row['date']}: {row['detail']}")
    if outcome.errors:
        raise BackfillError("; ".join(dict.fromkeys(outcome.errors.values())))
    click.echo(
        "\nTo run these dates again captures what was missed. A row that is gone from the shop stays in the lakehouse: "
        "mark it there with deleted_at instead."
    )
    return False
