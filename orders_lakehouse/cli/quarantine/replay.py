"""`lakehouse quarantine replay`: derive the dates of rows in quarantine again, after a contract or a waiver changed."""

import sys
from collections.abc import Sequence
from datetime import date, datetime

import click
import polars as pl

from orders_lakehouse.cli.backfill import run_span
from orders_lakehouse.cli.backfill_request import CAPTURE_JOB, DERIVE_JOB, Request
from orders_lakehouse.cli.formatting import show_rows
from orders_lakehouse.cli.quarantine.list import count
from orders_lakehouse.cli.quarantine.selection import CAPTURED, choose, selection_options
from orders_lakehouse.cli.runs import BackfillError
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import days, in_words, spans
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.instance.outcome import Outcome, blamed_dates, causes
from orders_lakehouse.pipeline.affected_dates import affected_dates, versions_now
from orders_lakehouse.pipeline.check_results import bad_dates, evaluations, in_force
from orders_lakehouse.pipeline.date_queue import GAP, ranges
from orders_lakehouse.pipeline.quarantine import Chosen, by_reason, quarantined
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.pipeline.waivers import configured_waivers, dates_to_judge_again
from orders_lakehouse.tables import CLEANSED

_NOT_CAPTURED = tuple(table for table in CLEANSED if table not in CAPTURED)
# Request of a run, and its outcome.
Ran = tuple[Request, Outcome]


@click.command("replay")
@selection_options
def command(table: str | None, reason: str | None, day: datetime | None) -> None:
    """Derive the dates of rows in quarantine again, after a contract or a waiver has changed.

    Dates of rows with a withdrawn waiver are derived, too. Customers and products run by their capture date, followed
    by the dates of orders that name them. Prints the number of rows before and after.
    """
    replay(choose(table, reason, day.date() if day else None))


def replay(chosen: Chosen) -> None:
    """Derive the dates of rows in quarantine again, and dates that waivers change; print counts before and after.

    Args:
        chosen: The rows. Without a reason, dates of rows with a withdrawn waiver are included.

    Raises:
        WaiversError: The waivers cannot be used.
        BackfillError: Runs failed; the message names the jobs, steps, checks and dates. All others were run.
    """
    lake = configured_lake()
    captured, derived = _dates(lake, chosen, CAPTURED), _dates(lake, chosen, _NOT_CAPTURED)
    if not captured and not derived:
        click.echo("No such row is in quarantine, and no waiver changes a date: nothing to derive.")
        return
    before, marks = count(lake, Chosen()), versions_now(lake)
    bad = set(bad_dates(in_force(evaluations(lake))))
    ran = run_all(CAPTURE_JOB, captured, bad)
    if captured:
        # Versions of customers and products that became valid or invalid change the dates of their orders.
        derived |= set(affected_dates(lake, marks, calendar_of(lake)))
    ran += run_all(DERIVE_JOB, derived, bad)
    _show_difference(before, count(lake, Chosen()), chosen)
    if not all(outcome.success for _, outcome in ran):
        raise BackfillError(explain(ran))


def _dates(lake: Lake, chosen: Chosen, tables: Sequence[Table]) -> set[date]:
    """Return the dates of the chosen rows of some tables, and dates that the present waivers change."""
    dates: set[date] = set()
    waivers = configured_waivers(lake)
    for table in set(tables).intersection(chosen.tables):
        dates.update(by_reason(quarantined(lake, table, chosen), table)["date"])
        if chosen.reason is None:
            to_judge = dates_to_judge_again(lake, table, waivers)
            dates.update(day for day in to_judge if chosen.day in (None, day))
    return dates


def run_all(job: str, dates: set[date], bad: set[date]) -> list[Ran]:
    """Run a job over dates in few ranges, because a run costs far more than the dates in between.

    Dates that fail a check run last, in separate ranges. If a check stops a range, the range runs again without the
    dates that the check names. Other failures do not hold up other ranges.

    Args:
        job: Name of the job.
        dates: Dates to run.
        bad: Dates that fail a check; no range contains one.

    Returns:
        The requests and their outcomes.
    """
    ran: list[Ran] = []
    queue = [*ranges(dates - bad, GAP, bad), *spans(dates & bad)]
    while queue:
        first, last = queue.pop(0)
        outcome = run_span(job, first, last, sys.__stdout__)
        ran.append((Request(first, last, job=job), outcome))
        new_bad = blamed_dates(outcome).intersection(days(first, last))
        if new_bad:
            remaining = dates.intersection(days(first, last)) - new_bad
            queue = [*ranges(remaining, GAP, bad | new_bad), *queue]
    return ran


def explain(ran: Sequence[Ran]) -> str:
    """Describe the failed runs with their jobs and dates, and the next step."""
    failed = [(request, outcome) for request, outcome in ran if not outcome.success]
    lines = [f"{len(failed)} of {len(ran)} runs failed."]
    for request, outcome in failed:
        dates = blamed_dates(outcome) or days(request.first, request.last)
        lines.append(f"  {request.job} for {in_words(dates)}, run {outcome.run_id}")
        lines += [f"    {cause}" for cause in causes(outcome)]
    return "\n".join([*lines, "`make dev` shows the details of a run; once the cause is fixed, replay again."])


def _show_difference(before: pl.DataFrame, after: pl.DataFrame, chosen: Chosen) -> None:
    on = ["table", "reason"]
    both = before.select(*on, before="rows").join(after.select(*on, after="rows"), on=on, how="full", coalesce=True)
    both = both.with_columns(pl.col("before", "after").fill_null(0))
    names = [table.name for table in chosen.tables]
    meant = pl.col("table").is_in(names)
    if chosen.reason is not None:
        meant &= pl.col("reason") == chosen.reason
    shown = both.filter(meant | (pl.col("before") != pl.col("after"))).sort(on)
    click.echo("\nRows in quarantine")
    show_rows(shown)
