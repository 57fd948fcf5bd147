"""A backfill: its ranges, its progress, the summary at its end, and what to do when it failed."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from typing import TextIO

import click

from orders_lakehouse.contracts.tables import CLEANSED
from orders_lakehouse.instance import BackfillError, Outcome, run_range
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.settings import settings
from orders_lakehouse.terminal.grids import console, grid, program
from orders_lakehouse.terminal.status import look, show_tables

DEFAULT_JOB = "refresh_all_job"


@dataclass(frozen=True)
class Request:
    """What a backfill is asked for.

    Attributes:
        first: First date.
        last: Last date.
        without: Dates to leave out.
        job: Name of the job.
    """

    first: date
    last: date
    without: frozenset[date] = frozenset()
    job: str = DEFAULT_JOB


def backfill(request: Request, *, as_json: bool = False) -> None:
    """Run a job over a range of dates with a line for each finished step, then show what there is.

    Args:
        request: What to run.
        as_json: Print the summary as a JSON object; the progress goes to stderr.

    Raises:
        BackfillError: The request cannot be run, or a run failed; the message names the steps, checks and dates.
    """
    outcomes = []
    out = sys.__stderr__ if as_json else sys.__stdout__
    for first, last in ranges(request):
        outcomes.append(run_stretch(request.job, first, last, out))
        if not outcomes[-1].success:
            break
    if as_json:
        click.echo(json.dumps(_as_json(request, outcomes), default=str, indent=2))
    else:
        _summary(outcomes)
    if not outcomes[-1].success:
        raise BackfillError(explain_failure(request, outcomes[-1]))


def ranges(request: Request) -> list[tuple[date, date]]:
    """The dates of a request as ranges: first and last date of each, in order.

    Raises:
        BackfillError: A date to leave out is not among those asked for, or none is left.
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


def run_stretch(job: str, first: date, last: date, out: TextIO | None) -> Outcome:
    """Run a job over a stretch of dates with a line for each finished step; returns what it did."""
    days = (last - first).days + 1
    dates = f"{first}" if first == last else f"{first} to {last}, {days:,} dates in one run"
    click.echo(f"Running {job} for {dates} ...", file=out)
    started = time.monotonic()
    # What steps print goes to a log, so the lines are written to the terminal itself.
    outcome = run_range(job, first, last, partial(_progress, out, _check_steps()))
    click.echo(
        f"  {time.monotonic() - started:.1f} s, {sum(outcome.seconds.values()):.1f} s of them in steps", file=out
    )
    return outcome


def _progress(out: TextIO | None, checks: set[str], step: str, event: str, seconds: float) -> None:
    """A line for each asset that is done, and for whatever did not go well; checks have their own line at the end."""
    if event == "started" or (event == "done" and step in checks):
        return
    took = f"{seconds:.1f} s" if event == "done" else event
    click.echo(f"  {step.replace('__', '/'):<40} {took:>10}", file=out)


def _check_steps() -> set[str]:
    from orders_lakehouse.definitions import defs

    return {name for check in defs.asset_checks or () if (name := getattr(getattr(check, "op", None), "name", None))}


def explain_failure(request: Request, outcome: Outcome) -> str:
    """What failed, on which dates, and what to do about it."""
    by_cause: dict[str, list[str]] = {}
    for step, message in outcome.errors.items():
        by_cause.setdefault(message, []).append(step.replace("__", "/"))
    lines = [f"{', '.join(steps)}: {message}" for message, steps in by_cause.items()]
    # What only tells people has stopped nothing, and its dates need not be left out.
    failed = {key: check for key, check in outcome.checks.items() if check.failed and check.blocking}
    lines += [
        f"check {name} on {asset} failed{_on(check.failed_dates)}" for (asset, name), check in sorted(failed.items())
    ]
    bad = frozenset(date.fromisoformat(day) for check in failed.values() for day in check.failed_dates)
    message = "the run failed.\n  " + "\n  ".join(lines)
    left = Request(request.first, request.last, request.without | bad, request.job)
    if bad and not outcome.errors and all(check.failed_dates for check in failed.values()) and _any_left(left):
        message += f"\nThe other dates run without {'it' if len(bad) == 1 else 'them'}:\n  {command(left)}"
    return message + (
        f"\n`make dev` and run {outcome.run_id} show the details; "
        "once the cause is fixed, the same backfill again repairs the tables."
    )


def command(request: Request) -> str:
    """The command line of a request."""
    without = [f"--without {day}" for day in sorted(request.without)]
    job = [] if request.job == DEFAULT_JOB else [f"--job {request.job}"]
    return " ".join([program(), "backfill", str(request.first), str(request.last), *without, *job])


def _any_left(request: Request) -> bool:
    return len(request.without) <= (request.last - request.first).days


def _on(dates: Iterable[str]) -> str:
    days = list(dates)
    return f" for {len(days)} date{'s' if len(days) > 1 else ''}: {', '.join(days)}" if days else ""


def _summary(outcomes: list[Outcome]) -> None:
    lake = Lake(settings().lake_url, settings().timezone)
    terminal = console()
    terminal.print()
    show_tables(look(lake))
    books = _accounts(outcomes)
    if books:
        table = grid()
        table.add_column("table")
        for heading in next(iter(books.values())):
            table.add_column(heading, justify="right")
        for name, numbers in books.items():
            table.add_row(name, *(f"{number:,}" for number in numbers.values()))
        terminal.print("\n[bold]Accounts of these dates: captured versions, and where they are[/]", table, sep="\n")
    checks = [check for outcome in outcomes for check in outcome.checks.values()]
    passed, failed = sum(check.passed for check in checks), sum(check.failed for check in checks)
    warned = len(checks) - passed - failed
    terminal.print(f"\nChecks: {passed} passed, {warned} warned, {failed} failed.")
    if failed and not any(check.failed and check.blocking for check in checks):
        terminal.print(
            f"What failed stopped nothing: `{program()} checks --failed` says what is unusual, and on which dates."
        )


def _accounts(outcomes: list[Outcome]) -> dict[str, Counter[str]]:
    """Table to versions by account, as the runs' checks found them; runs of a request share no date."""
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
        "runs": [
            {
                "run_id": outcome.run_id,
                "success": outcome.success,
                "seconds": outcome.seconds,
                "checks": [
                    {"asset": asset, "check": name, **asdict(check)}
                    for (asset, name), check in sorted(outcome.checks.items())
                ],
                "errors": outcome.errors,
            }
            for outcome in outcomes
        ],
    }
