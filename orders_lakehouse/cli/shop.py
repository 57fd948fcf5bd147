"""`lakehouse shop`: fill the embedded shop with the sample, and simulate days. `sample_shop` has the sample itself."""

import time
from collections import Counter
from datetime import date, datetime
from zoneinfo import ZoneInfo

import click

from orders_lakehouse.cli.parameters import DATE, today
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import connect, database_url, value_of, without_password
from orders_lakehouse.settings import settings

AS_OF = click.option(
    "--as-of",
    type=DATE,
    metavar="DATE",
    help="The sample ends the day before DATE, at most today, which is the default. As recorded: 2018-01-01.",
)


class ShopError(ExpectedError):
    """The sample cannot be loaded into the shop."""


@click.group("shop")
def command() -> None:
    """The embedded shop."""


@command.command("load")
@click.option(
    "--copies",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Factor for the size of the shop.",
)
@AS_OF
def _load(copies: int, as_of: datetime | None) -> None:
    """Fill the embedded shop with the sample: a year of real orders. A shop that has orders stays as it is.

    Dates of the sample are moved by whole weeks, so weekdays stay. A new lake begins on the shop's first day.
    """
    load_shop_if_embedded(copies, as_of)


@command.command("simulate")
@click.option("--days", type=click.IntRange(1, 36_500), required=True, metavar="N", help="Number of days to simulate.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, max=1_000_000),
    default=10,
    show_default=True,
    metavar="X",
    help="Days a minute; 0 for no pause.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Seed of the random numbers.")
def _simulate(days: int, speed: float, seed: int) -> None:
    """Simulate days in the embedded shop, from its latest change on.

    Orders are placed, paid, shipped, cancelled and corrected; they arrive before or after their lines, move to another
    date, are deleted and restored. Customers move, register late and leave. Prices change. While `make dev` runs, the
    sensors follow.
    """
    simulate(days, speed, seed)


def load_shop_if_embedded(copies: int = 1, as_of: datetime | None = None) -> None:
    """Fill the embedded shop with copies of the sample, unless it has orders already; let a new lake begin with it.

    Args:
        copies: Factor for the size of the shop.
        as_of: Date before which the sample ends; today in the shop's zone if not given.

    Raises:
        ShopError: The sample is not installed, or cannot be loaded.
    """
    if settings().shop_database_url is not None:
        click.echo(f"The shop is {without_password(settings().shop_database_url or '')}; no sample is loaded.")
        return
    if as_of is not None and as_of > today():
        raise ShopError(f"the shop would end on the day before {as_of:%Y-%m-%d}; expected today or an earlier date")
    click.echo("Starting the embedded Postgres and loading the sample shop ...")
    started = time.monotonic()
    try:
        from orders_lakehouse.delta.configured import propose_start
        from orders_lakehouse.sample_shop.sample import load_sample_shop

        zone = settings().timezone
        load_sample_shop(
            database_url("shop"),
            copies=copies,
            as_of=(as_of or today()).date(),
            timezone=zone,
            report=lambda line: click.echo(f"  {line}"),
        )
    except (ModuleNotFoundError, ValueError) as error:
        raise ShopError(str(error)) from error
    propose_start(_first_day())
    click.echo(f"  {time.monotonic() - started:.1f} s")


def _first_day() -> date:
    """Return the date of the shop's first order. A calendar would be written into the lake, which has no start yet."""
    with connect("shop") as connection, connection.cursor() as cursor:
        first: datetime = value_of(cursor, "SELECT min(ordered_at) FROM shop.orders")
    return first.astimezone(ZoneInfo(settings().timezone)).date()


def simulate(days: int, per_minute: float, seed: int) -> None:
    """Simulate days in the embedded shop, and print a line for each.

    Raises:
        ShopError: The shop is not embedded, is empty, or the days are not over yet.
    """
    if settings().shop_database_url is not None:
        raise ShopError(
            f"the shop is {without_password(settings().shop_database_url or '')}, and simulated days do not belong "
            "there; expected the embedded shop. Unset SHOP_DATABASE_URL, or use another LAKEHOUSE_HOME without it."
        )
    from orders_lakehouse.sample_shop import simulate as shop

    started = time.monotonic()
    try:
        shop.simulate(database_url("shop"), days, seed=seed, per_minute=per_minute, report=_show_day)
    except ValueError as error:
        raise ShopError(str(error)) from error
    click.echo(f"  {time.monotonic() - started:.1f} s")


def _show_day(day: date, changed: Counter[str]) -> None:
    click.echo(f"  {day}  " + ", ".join(f"{rows:,} {kind}" for kind, rows in changed.items()))
