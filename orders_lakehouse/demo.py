"""What the terminal shows: the demo, a backfill's progress, and the summary at its end."""

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import click
from rich import box
from rich.console import Console
from rich.table import Table as Grid

from orders_lakehouse.calendar import configured_calendar
from orders_lakehouse.contracts.tables import CLEANSED, CURATED, QUARANTINE_OF, RAW, Table
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.instance import BackfillError, Outcome, run_range
from orders_lakehouse.lake.accounts import accounts, row_count
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.postgres import connect, database_url, value_of, without_password
from orders_lakehouse.settings import settings

_MARTS = ("dim_customers", "dim_products", "dim_date", "dim_payment_methods", "fct_orders", "fct_order_lines")
_WIDTH = 80


class ShopError(ExpectedError):
    """The sample cannot be loaded into the shop."""


def run_demo() -> None:
    """Load the sample shop (a shop that is given is used as it is), build everything, and summarize."""
    with _one_at_a_time():
        load_shop_if_embedded()
        first, last = configured_calendar().start, _last_change()
        backfill_and_report("refresh_all_job", first, last)
        _next_steps(last)


def load_shop_if_embedded() -> None:
    """Fill the embedded shop with the sample, unless it has orders already."""
    if settings().shop_database_url is not None:
        click.echo(f"The shop is {without_password(settings().shop_database_url or '')}; no sample is loaded.")
        return
    click.echo("Starting the embedded Postgres and loading the sample shop ...")
    started = time.monotonic()
    try:
        from orders_lakehouse.shop.sample import load_sample_shop

        load_sample_shop(database_url("shop"), report=lambda line: click.echo(f"  {line}"))
    except (ModuleNotFoundError, ValueError) as error:
        raise ShopError(str(error)) from error
    click.echo(f"  {time.monotonic() - started:.1f} s")


def backfill_and_report(job: str, first: date, last: date) -> None:
    """Run a job over a range of dates with a line for each finished step, then the summary.

    Raises:
        BackfillError: The run failed; the message names the steps and checks.
    """
    days = (last - first).days + 1
    click.echo(f"Running {job} for {first} to {last}, {days:,} dates in one run ...")
    started = time.monotonic()
    outcome = run_range(job, first, last, _progress)
    click.echo(f"  {time.monotonic() - started:.1f} s, {sum(outcome.seconds.values()):.1f} s of them in steps")
    _summary(outcome)
    if not outcome.success:
        by_cause: dict[str, list[str]] = {}
        for step, message in outcome.errors.items():
            by_cause.setdefault(message, []).append(step.replace("__", "/"))
        failed = [f"{', '.join(steps)}: {message}" for message, steps in by_cause.items()]
        failed += [f"check {name} on {asset} failed" for (asset, name), passed in outcome.checks.items() if not passed]
        raise BackfillError(
            "the run failed.\n  " + "\n  ".join(failed) + f"\n`make dev` and run {outcome.run_id} show the details; "
            "once the cause is fixed, the same backfill again repairs the tables."
        )


def _progress(step: str, event: str, seconds: float) -> None:
    """A line for each asset that is done, and for whatever did not go well; checks have their own line at the end."""
    if event == "started" or (event == "done" and _is_check(step)):
        return
    # What steps print goes to a log, so the line is written to the terminal itself.
    took = f"{seconds:.1f} s" if event == "done" else event
    click.echo(f"  {step.replace('__', '/'):<40} {took:>10}", file=sys.__stdout__)


def _is_check(step: str) -> bool:
    return step.endswith(("_contract", "no_row_lost", "total_price_matches"))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A second demo waits until the first has finished."""
    settings().home.mkdir(parents=True, exist_ok=True)
    with (settings().home / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo(f"Another demo is at work in {settings().home}; waiting for it to finish ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _last_change() -> date:
    """Date of the shop's latest change, in the lake's time zone."""
    zone = settings().timezone
    with connect("shop") as connection, connection.cursor() as cursor:
        last: date | None = value_of(
            cursor, f"SELECT (least(max(updated_at), now()) AT TIME ZONE '{zone}')::date FROM shop.orders"
        )
    if last is None:
        raise ShopError("the shop has no orders; `lakehouse shop load` fills the embedded one")
    return last


def _summary(outcome: Outcome) -> None:
    lake = Lake(settings().lake_url, settings().timezone)
    console = Console(width=_WIDTH)
    grid = _grid("Tables")
    for heading in ("table", "rows", "quarantined", "dates", "seconds"):
        grid.add_column(heading, justify="left" if heading == "table" else "right")
    for layer in (RAW, CLEANSED, CURATED):
        for table in layer:
            grid.add_row(*_lake_row(lake, table, outcome))
        grid.add_section()
    for name, rows in _mart_rows().items():
        grid.add_row(f"marts/{name}", f"{rows:,}", "", "", "")
    console.print(grid)
    books = _grid("Accounts: captured versions, and where they are")
    for heading in ("table", "captured", "current", "superseded", "deleted", "quarantined", "missing"):
        books.add_column(heading, justify="left" if heading == "table" else "right")
    for table in CLEANSED:
        a = accounts(lake, table)
        numbers = (a.captured, a.current, a.superseded, a.deleted, a.quarantined, a.missing)
        books.add_row(table.name, *(f"{number:,}" for number in numbers))
    console.print(books)
    passed = sum(outcome.checks.values())
    console.print(f"Checks: {passed} passed, {len(outcome.checks) - passed} failed.")


def _grid(title: str) -> Grid:
    return Grid(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True
    )


def _lake_row(lake: Lake, table: Table, outcome: Outcome) -> tuple[str, ...]:
    quarantine = QUARANTINE_OF.get(table.name) if table.layer == "cleansed" else None
    seconds = outcome.seconds.get(f"{table.layer}__{table.name}")
    return (
        table.path,
        f"{row_count(lake, table):,}",
        f"{row_count(lake, quarantine):,}" if quarantine else "",
        f"{lake.count_dates(table):,}" if table.partitioned_by else "",
        f"{seconds:.1f}" if seconds is not None else "",
    )


def _mart_rows() -> dict[str, int]:
    with connect("warehouse") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'")
        there = {name for (name,) in cursor.fetchall()}
        rows = {}
        for name in _MARTS:
            if name in there:
                rows[name] = value_of(cursor, f"SELECT count(*) FROM marts.{name}")
    return rows


def _next_steps(last: date) -> None:
    click.echo(
        f"""
Lake       {settings().lake_url}
Warehouse  {without_password(database_url("warehouse"))}

Three things to try next:
  make dev
      the same in Dagster's UI, at http://localhost:3000
  psql "$(.venv/bin/lakehouse url warehouse)" -c \\
    'select date_id, sum(total_price) from marts.fct_order_lines group by 1 order by 1 desc limit 7'
      a week of revenue from the star schema
  make backfill FROM={last.replace(day=1)} TO={last}
      some dates again: nothing changes"""
    )
