"""`lakehouse reconcile`: compare the shop with raw, row by row, and correct raw on request."""

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
@click.option(
    "--apply", "write", is_flag=True, help="Capture missed rows, and write tombstones for rows that are gone."
)
@click.option("--allow", is_flag=True, help="With --apply: also if more rows are gone at once than the limit.")
def command(write: bool, allow: bool) -> None:
    """Compare every row of the shop with raw, and show the differences.

    Finds rows that were deleted instead of marked, were committed too late, or have changed without a new updated_at.
    Changes since the last capture are left to the next one. With --apply, raw is corrected, and the affected dates are
    printed. For scripts, it ends with status 1 if a row differs, or still differs.
    """
    if not reconcile(apply=write, allow=allow):
        raise SystemExit(1)


def reconcile(*, apply: bool, allow: bool) -> bool:
    """Compare every row of the shop with raw, print the differences, and return whether they agree.

    Args:
        apply: Capture missed rows, write tombstones for rows that are gone, and print the affected dates.
        allow: Write tombstones also for more rows at once than the settings allow.

    Raises:
        BackfillError: A table of the shop or of raw cannot be read; the others are compared nevertheless.
        ReconcileError: Nothing has been captured yet, or `allow` comes without `apply`.
    """
    from orders_lakehouse.defs.reconciliation import ALLOW, APPLY, COMPARE, RECONCILE_TAG, TOTALS

    if allow and not apply:
        raise ReconcileError("found --allow without --apply; expected --apply --allow")
    lake = configured_lake()
    if evaluations(lake).filter(pl.col("check_name") == "raw_matches_source").is_empty():
        raise ReconcileError(f"nothing has been captured in {lake.url} yet: there is nothing to compare with")
    before = versions_now(lake)
    how = (ALLOW if allow else APPLY) if apply else COMPARE
    outcome = run_job("reconcile_job", lambda *_: None, {RECONCILE_TAG: how})
    rows = evaluations(lake).filter(pl.col("run_id") == outcome.run_id, pl.col("date").is_not_null())
    affected = affected_dates(lake, before, calendar_of(lake)) if apply else []
    # Totals of corrected dates are left out, because these dates are not derived again yet.
    rows = rows.filter(~pl.col("check_name").is_in(list(TOTALS)) | ~pl.col("date").is_in(affected))
    for row in rows.filter(pl.col("detail").is_not_null()).sort("asset", "date").iter_rows(named=True):
        click.echo(f"{row['asset']} on {row['date']}: {row['detail']}{' - corrected' if row['passed'] else ''}")
    if affected:
        click.echo("\nIf the sensors run, they derive the affected dates. To derive them now:")
        for first, last in ranges(affected, GAP, ()):
            click.echo(f"  {command_line(Request(first, last, job=DERIVE_JOB))}")
    if outcome.errors:
        raise BackfillError("; ".join(dict.fromkeys(outcome.errors.values())))
    differing = rows.filter(~pl.col("passed"))
    if differing.is_empty():
        summary = "The shop and raw agree, row by row, except for the last hour before the newest capture."
        click.echo(f"\n{summary}" if rows["detail"].drop_nulls().len() else summary)
        return True
    if not apply:
        click.echo(
            "\nTo capture missed rows, and to write tombstones for rows that the shop no longer has, run: "
            f"{program()} reconcile --apply"
        )
    return False
