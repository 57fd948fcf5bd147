"""`lakehouse reconcile`: whether the shop holds what raw has captured of it, row by row; and what is done about it."""

import click
import polars as pl

from orders_lakehouse.cli.backfill_request import DERIVE_JOB, Request, command_line
from orders_lakehouse.cli.formatting import program
from orders_lakehouse.cli.runs import BackfillError, run_job
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.pipeline.affected_dates import affected_dates, versions_now
from orders_lakehouse.pipeline.check_results import evaluations
from orders_lakehouse.pipeline.date_queue import GAP, ranges
from orders_lakehouse.pipeline.stored_calendar import calendar_of


class ReconcileError(ExpectedError):
    """There is nothing to compare the shop with."""


@click.command("reconcile")
@click.option("--apply", "write", is_flag=True, help="Capture what was missed, and end the rows that are gone.")
@click.option("--allow", is_flag=True, help="With --apply: however many rows are gone at once.")
def command(write: bool, allow: bool) -> None:
    """Compare every row of the shop with raw, and say which differ.

    What was deleted instead of marked, was committed too late to be seen, or has changed without a new updated_at; what
    changed since the last capture is left to the next one. With --apply, it is put right, and the dates that this
    touches are named. Ends with status 1 when something differs, or still does, for scripts.
    """
    if not reconcile(apply=write, allow=allow):
        raise SystemExit(1)


def reconcile(*, apply: bool, allow: bool) -> bool:
    """Compare every row of the shop with raw, and print where they differ; returns whether they agree.

    Args:
        apply: Capture what was missed, end what is gone, and print which dates are touched.
        allow: End also more rows at once than the settings allow.

    Raises:
        BackfillError: A table of the shop or of raw cannot be read; the others are compared all the same.
        ReconcileError: Nothing has been captured yet, or more is allowed than is applied.
    """
    from orders_lakehouse.defs.reconciliation import ALLOW, APPLY, COMPARE, RECONCILE_TAG, TOTALS

    if allow and not apply:
        raise ReconcileError("--allow says that rows may go, and nothing is applied; expected --apply --allow")
    lake = configured_lake()
    if evaluations(lake).filter(pl.col("check_name") == "raw_matches_source").is_empty():
        raise ReconcileError(f"nothing has been captured in {lake.url} yet: there is nothing to compare with")
    before = versions_now(lake)
    how = (ALLOW if allow else APPLY) if apply else COMPARE
    outcome = run_job("reconcile_job", lambda *_: None, {RECONCILE_TAG: how})
    rows = evaluations(lake).filter(pl.col("run_id") == outcome.run_id, pl.col("date").is_not_null())
    touched = affected_dates(lake, before, calendar_of(lake)) if apply else []
    # Totals are compared before the dates are derived that were just put right.
    rows = rows.filter(~pl.col("check_name").is_in(list(TOTALS)) | ~pl.col("date").is_in(touched))
    for row in rows.filter(pl.col("detail").is_not_null()).sort("asset", "date").iter_rows(named=True):
        click.echo(f"{row['asset']} on {row['date']}: {row['detail']}{' - put right' if row['passed'] else ''}")
    if touched:
        click.echo(
            "\nWhile the sensors run, the dates that this touches are derived by themselves. To derive them now:"
        )
        for first, last in ranges(touched, GAP, ()):
            click.echo(f"  {command_line(Request(first, last, job=DERIVE_JOB))}")
    if outcome.errors:
        raise BackfillError("; ".join(dict.fromkeys(outcome.errors.values())))
    differing = rows.filter(~pl.col("passed"))
    if differing.is_empty():
        said = "The shop and raw agree, row by row, but for the last hour before the newest capture."
        click.echo(f"\n{said}" if rows["detail"].drop_nulls().len() else said)
        return True
    if not apply:
        click.echo(
            f"\nTo capture what was missed, and to end the rows that the shop has no more, run: {program()} reconcile "
            "--apply"
        )
    return False
