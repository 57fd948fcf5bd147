"""`lakehouse demo`: load the sample shop, build its whole year, show the result, and say what to try next."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import click

from orders_lakehouse.cli.backfill import backfill
from orders_lakehouse.cli.backfill_request import Request
from orders_lakehouse.cli.chart import show_revenue
from orders_lakehouse.cli.formatting import program
from orders_lakehouse.cli.shop import AS_OF, ShopError, load_shop_if_embedded
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.machine.private_files import make_home
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.postgres.connections import connect, database_url, value_of, without_password
from orders_lakehouse.postgres.server_folders import data_elsewhere
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import RAW, VOLUMES


@click.command("demo")
@AS_OF
def command(as_of: datetime | None) -> None:
    """Load the sample shop, build everything, and show the result.

    The sample's dates are moved by whole weeks, so that it ends yesterday, and the lake begins on its first day.
    """
    demo(as_of)


def demo(as_of: datetime | None = None) -> None:
    """Load the sample shop (a configured shop is used unchanged), build everything, and show the result.

    Args:
        as_of: Date before which the sample ends; today if not given.
    """
    with _one_at_a_time():
        load_shop_if_embedded(as_of=as_of)
        first, last = settings().start_date, last_change()
        backfill(Request(first, last))
        show_revenue(rows_of(configured_lake().scan(VOLUMES[0][0].table)))
        click.echo(_next_steps(first, last))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait until another demo has finished."""
    make_home(settings().home)
    with (settings().home / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo(f"Another demo is at work in {settings().home}; waiting for it to finish ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def last_change() -> date:
    """Return the date of the shop's latest change, by the lake's calendar; at most the shop's own today.

    Raises:
        ShopError: The shop has no orders.
    """
    clocks = " UNION ALL ".join(f"SELECT max(updated_at) AS clock FROM shop.{table.name}" for table in RAW)
    # The condition is needed because least() ignores nulls, and would return now() for an empty shop.
    latest = f"""
        SELECT CASE WHEN EXISTS (SELECT FROM shop.orders)
        THEN least(max(clock), now()) END FROM ({clocks}) AS t
    """
    with connect("shop") as connection, connection.cursor() as cursor:
        last: datetime | None = value_of(cursor, latest)
    if last is None:
        raise ShopError(f"the shop has no orders; `{program()} shop load` fills the embedded one")
    return calendar_of(configured_lake()).date_of(last)


def last_whole_month(first: date, last: date) -> tuple[date, date]:
    """Return the last month that ends by `last`, not before `first`; all dates if no month does."""
    end = (last + timedelta(days=1)).replace(day=1) - timedelta(days=1)
    return (max(first, end.replace(day=1)), end) if end >= first else (first, last)


def _next_steps(first: date, last: date) -> str:
    start, end = last_whole_month(first, last)
    lakehouse = program()
    outside = data_elsewhere(settings().home)
    postgres = f"\nPostgres   {outside}" if outside else ""
    return f"""
Dates      {first} to {last}
Lake       {settings().lake_url}
Warehouse  {without_password(database_url("warehouse"))}{postgres}

Things to try next:
  make dev
      the same in Dagster's UI, at http://localhost:3000
  {lakehouse} status
      what there is, how fresh it is, and whether its checks hold
  {lakehouse} sql "select category, sum(total_price) as revenue \\
      from curated.order_lines group by category order by revenue desc limit 7"
      what sells best, from the Delta tables
  {lakehouse} psql warehouse -- -c \\
    'select date_id, sum(total_price) from marts.fct_order_lines
     group by 1 order by 1 desc limit 7'
      a week of revenue, from the star schema in Postgres
  make backfill FROM={start} TO={end}
      a month again: nothing changes"""
