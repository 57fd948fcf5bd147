"""`lakehouse backfill`: ranges, progress, summary, and the next step after a failure."""

import json
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import TextIO

import click
import polars as pl

from orders_lakehouse.cli.backfill_request import CAPTURE_JOB, DEFAULT_JOB, Request, command_line
from orders_lakehouse.cli.formatting import console, grid, program
from orders_lakehouse.cli.parameters import DATE
from orders_lakehouse.cli.runs import BackfillError, require_runnable, run_range
from orders_lakehouse.cli.status import look, show_tables
from orders_lakehouse.contracts.checks import GETS_THROUGH, LOSSES_ARE_FEW
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.log import first_and_last_date
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.instance.outcome import Outcome, blamed_dates, causes
from orders_lakehouse.pipeline.check_results import failing, of_checks
from orders_lakehouse.pipeline.losses import ordered_before_start
from orders_lakehouse.pipeline.next_steps import next_steps
from orders_lakehouse.pipeline.source_lag import changed_later, first_and_last_change
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, NOT_BLOCKING, OF_DIMENSIONS, QUARANTINE, RAW

# Number of dates from which empty dates at both ends of a range are left out.
_MANY_DATES = 1000
# First and last date.
Span = tuple[date, date]
_ACCOUNTS = ("captured", "current", "superseded", "deleted", "quarantined", "missing")


@click.command("backfill")
@click.argument("first", type=DATE, metavar="FIRST")
@click.argument("last", type=DATE, metavar="[LAST]", required=False)
@click.option("--without", type=DATE, multiple=True, metavar="DATE", help="Date to leave out; may be given again.")
@click.option("--job", default="refresh_all_job", show_default=True, help="Job to run.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, and the progress to stderr.")
def command(first: datetime, last: datetime | None, without: tuple[datetime, ...], job: str, as_json: bool) -> None:
    """Run everything for the dates from FIRST to LAST.

    A date is written 2026-11-30, today or yesterday; without LAST, it is one date. There is one run, in this process.
    With --without, there is one run for each span of the remaining dates, up to the first that fails.
    """
    left_out = frozenset(day.date() for day in without)
    backfill(Request(first.date(), (last or first).date(), left_out, job), as_json=as_json)


def backfill(request: Request, *, as_json: bool = False) -> None:
    """Run a job over a range of dates with a line for each finished step, then show the state of all tables.

    Args:
        request: The job and its dates.
        as_json: Print the summary as a JSON object; the progress goes to stderr.

    Raises:
        BackfillError: The request cannot be run, a run failed, or a table has lost many rows on the way; the message
            names the steps, checks, dates and values.
    """
    require_runnable(request.job, request.first, request.last)
    outcomes = []
    out = sys.__stderr__ if as_json else sys.__stdout__
    date_spans = _with_data(ranges(request), out)
    click.echo(_changed_later(request), file=out, nl=False)
    for first, last in date_spans:
        outcomes.append(run_span(request.job, first, last, out))
        if not outcomes[-1].success:
            break
    if as_json:
        click.echo(json.dumps(_as_json(request, outcomes), default=str, indent=2))
    elif outcomes[-1].success or any(outcome.checks for outcome in outcomes):
        # After a failed connection, for example, the tables are as they were, and the error alone matters.
        _summary(outcomes)
    if not outcomes[-1].success:
        raise BackfillError(explain_failure(request, outcomes[-1]))
    lost = failing(of_checks(configured_lake(), LOSSES_ARE_FEW))
    if lost.height:
        raise BackfillError(explain_losses(lost))


def _with_data(date_spans: list[Span], out: TextIO | None) -> list[Span]:
    """Return spans without the empty dates at both ends, if there are many dates, and print how many are left out.

    Every date costs time, even without rows, because Dagster records each asset for it.
    """
    first, last = date_spans[0][0], date_spans[-1][1]
    if (last - first).days < _MANY_DATES:
        return date_spans
    lake = configured_lake()
    # The run reports a shop that cannot be read.
    with suppress(ExpectedError):
        calendar = calendar_of(lake)
        ends = [first_and_last_change(calendar), first_and_last_date(lake, (*RAW, *CLEANSED, *QUARANTINE))]
        known = [day for pair in ends if pair is not None for day in pair]
        # Tomorrow is a partition, too, because a clock may run ahead by a day.
        begin, end = (min(known), max(known) + timedelta(days=1)) if known else (last, last)
        cut = [(max(span_first, begin), min(span_last, end)) for span_first, span_last in date_spans]
        remaining = [span for span in cut if span[0] <= span[1]] or [(last, last)]
        dropped = _count_dates(date_spans) - _count_dates(remaining)
        if dropped:
            click.echo(
                f"{dropped:,} of these dates come before or after all dates of the shop and the lake: they are left "
                "out.",
                file=out,
            )
        return remaining
    return date_spans


def _count_dates(date_spans: list[Span]) -> int:
    return sum((last - first).days + 1 for first, last in date_spans)


def _changed_later(request: Request) -> str:
    """Describe the orders of these dates that a capture leaves out, and where they are captured; empty if none."""
    if request.job not in (DEFAULT_JOB, CAPTURE_JOB):
        return ""
    lake = configured_lake()
    # The run reports a shop that cannot be read.
    with suppress(ExpectedError):
        later = changed_later(lake, calendar_of(lake), request.first, request.last)
        if later is not None:
            is_single = later.orders == 1
            return (
                f"{later.orders:,} order{'' if is_single else 's'} of these dates changed later, and will be captured "
                f"with the {'date of its change' if is_single else 'dates of their changes'}:\n"
                "lines and payments wait until then. To have them now:\n"
                f"  {command_line(replace(request, last=later.until))}\n"
            )
    return ""


def ranges(request: Request) -> list[Span]:
    """Return the dates of a request as spans: first and last date of each, in order.

    Raises:
        BackfillError: A date to leave out is not in the range, or no date is left.
    """
    if request.first > request.last:
        raise BackfillError(
            f"the range is empty: found {request.first} to {request.last}; expected the first date first"
        )
    outside = sorted(day for day in request.without if not request.first <= day <= request.last)
    if outside:
        raise BackfillError(f"{outside[0]} cannot be left out: it is not in {request.first} to {request.last}")
    day = timedelta(days=1)
    edges = [request.first - day, *sorted(request.without), request.last + day]
    between = [(before + day, after - day) for before, after in pairwise(edges)]
    left = [(first, last) for first, last in between if first <= last]
    if not left:
        raise BackfillError(f"no date is left: every one from {request.first} to {request.last} is left out")
    return left


def run_span(job: str, first: date, last: date, out: TextIO | None) -> Outcome:
    """Run a job over a span of dates with a line for each finished step, and return the outcome."""
    days = (last - first).days + 1
    dates = f"{first}" if first == last else f"{first} to {last}, {days:,} dates in one run"
    click.echo(f"Running {job} for {dates} ...", file=out)
    started = time.monotonic()
    # The output of steps goes to a log, so progress is written to the terminal directly.
    outcome = run_range(job, first, last, partial(_progress, out, _check_steps()))
    taken, of_steps = time.monotonic() - started, sum(outcome.seconds.values())
    click.echo(f"  {taken:.1f} s; the steps add up to {of_steps:.1f} s, because two can run at once", file=out)
    return outcome


def _progress(out: TextIO | None, checks: set[str], step: str, event: str, seconds: float) -> None:
    """Print a line for each finished asset and for each problem; the summary has a line for checks."""
    if event == "started" or (event == "done" and step in checks):
        return
    took = f"{seconds:.1f} s" if event == "done" else event
    click.echo(f"  {step.replace('__', '/'):<40} {took:>10}", file=out)


def _check_steps() -> set[str]:
    from orders_lakehouse.definitions import defs

    return {name for check in defs.asset_checks or () if (name := getattr(getattr(check, "op", None), "name", None))}


def explain_failure(request: Request, outcome: Outcome) -> str:
    """Describe what failed, on which dates, and the next step."""
    message = "the run failed.\n  " + "\n  ".join(causes(outcome))
    bad = blamed_dates(outcome)
    remaining = Request(request.first, request.last, request.without | bad, request.job)
    if bad and _any_left(remaining):
        message += f"\nThe other dates run without {'it' if len(bad) == 1 else 'them'}:\n  {command_line(remaining)}"
    return message + (
        f"\n`make dev` and run {outcome.run_id} show the details; "
        "once the cause is fixed, the same backfill again repairs the tables."
    )


def explain_losses(lost: pl.DataFrame) -> str:
    """Describe the losses of a run that succeeded, the values concerned, and the next step.

    Args:
        lost: Failed results of `losses_are_few`: asset, found, detail, and the columns that `next_steps` needs.
    """
    losses = [f"{asset}: {found}" for asset, found in lost.select("asset", "found").iter_rows()]
    values = lost["detail"].drop_nulls().to_list()
    return "\n".join(
        [
            "the run succeeded, but a table has lost many rows on the way.",
            *(f"  {line}" for line in (*losses, *values)),
            *next_steps(lost, program()),
        ]
    )


def _any_left(request: Request) -> bool:
    return len(request.without) <= (request.last - request.first).days


def _summary(outcomes: list[Outcome]) -> None:
    terminal = console()
    terminal.print()
    show_tables(look(configured_lake()))
    books = _accounts(outcomes)
    if books:
        table = grid()
        table.add_column("table")
        for heading in _ACCOUNTS:
            table.add_column(heading, justify="right")
        for name, numbers in books.items():
            table.add_row(name, *(f"{numbers[account]:,}" for account in _ACCOUNTS))
        terminal.print(
            "\n[bold]Row accounting of these dates: captured versions, and where they are[/]", table, sep="\n"
        )
    checks = [check for outcome in outcomes for check in outcome.checks.values()]
    passed, failed = sum(check.passed for check in checks), sum(check.failed for check in checks)
    warned = len(checks) - passed - failed
    terminal.print(f"\nChecks: {passed} passed, {warned} warned, {failed} failed.")
    before = ordered_before_start(configured_lake())
    if before:
        terminal.print(
            f"{before:,} {'order was' if before == 1 else 'orders were'} placed before {settings().start_date}, where "
            "this lakehouse begins, and stay out, with their lines and payments.\nTo include them, set "
            f"LAKEHOUSE_START_DATE to an earlier date and run `{program()} migrate`."
        )
    broken = _broken_dimensions(outcomes)
    if broken:
        terminal.print(
            f"A dimension is broken, and facts have known or inferred members: {', '.join(broken)}. "
            f"`{program()} checks --failed --warnings` shows the details."
        )
    if failed and not any(check.failed and check.blocking for check in checks):
        terminal.print(
            f"The failed checks stopped nothing: `{program()} checks --failed` shows what is unusual, and on which "
            "dates."
        )


def _broken_dimensions(outcomes: list[Outcome]) -> list[str]:
    """Return the failed checks of dimensions that would have stopped the run for another table."""
    return sorted(
        {
            f"{name} on {asset}"
            for outcome in outcomes
            for (asset, name), check in outcome.checks.items()
            if not check.passed and asset in OF_DIMENSIONS and (name not in NOT_BLOCKING or name == GETS_THROUGH)
        }
    )


def _accounts(outcomes: list[Outcome]) -> dict[str, Counter[str]]:
    """Return the versions of each table by account, from the runs' checks; runs of a request share no date."""
    books: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        for (asset, _), check in outcome.checks.items():
            if check.accounts:
                books.setdefault(asset, Counter()).update(check.accounts)
    return {table.name: books[table.path] for table in CLEANSED if table.path in books}


def _as_json(request: Request, outcomes: list[Outcome]) -> dict[str, object]:
    return {
        "job": request.job,
        "first": request.first,
        "last": request.last,
        "without": sorted(request.without),
        "success": outcomes[-1].success,
        "runs": [outcome.as_data() for outcome in outcomes],
    }
