"""`lakehouse shop`: the embedded shop, filled with the sample and living on. The sample itself is in `sample_shop`."""

import time
from collections import Counter
from datetime import date

import click

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import database_url, without_password
from orders_lakehouse.settings import settings


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
    help="A shop so many times as big.",
)
def _load(copies: int) -> None:
    """Fill the embedded shop with the sample: a year of real orders. A shop that has orders stays as it is."""
    load_shop_if_embedded(copies)


@command.command("simulate")
@click.option("--days", type=click.IntRange(1, 36_500), required=True, metavar="N", help="Days that go by in the shop.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, max=1_000_000),
    default=10,
    show_default=True,
    metavar="X",
    help="Days a minute; 0: no pause.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Another one draws other things.")
def _simulate(days: int, speed: float, seed: int) -> None:
    """Let days go by in the embedded shop, from its latest change on.

    Orders are placed, paid, shipped, cancelled and corrected, come before or after their lines, move to another date,
    are deleted and restored; customers move, register late and leave; prices change. While `make dev` runs, the sensors
    follow.
    """
    simulate(days, speed, seed)


def load_shop_if_embedded(copies: int = 1) -> None:
    """Fill the embedded shop with the sample, so many times as big, unless it has orders already.

    Raises:
        ShopError: The sample is not installed, or does not go into the shop.
    """
    if settings().shop_database_url is not None:
        click.echo(f"The shop is {without_password(settings().shop_database_url or '')}; no sample is loaded.")
        return
    click.echo("Starting the embedded Postgres and loading the sample shop ...")
    started = time.monotonic()
    try:
        from orders_lakehouse.sample_shop.sample import load_sample_shop

        load_sample_shop(database_url("shop"), copies=copies, report=lambda line: click.echo(f"  {line}"))
    except (ModuleNotFoundError, ValueError) as error:
        raise ShopError(str(error)) from error
    click.echo(f"  {time.monotonic() - started:.1f} s")


def simulate(days: int, per_minute: float, seed: int) -> None:
    """Let days go by in the embedded shop, with a line for each of them.

    Raises:
        ShopError: The shop is somebody's own, is empty, or the days are not over yet.
    """
    if settings().shop_database_url is not None:
        raise ShopError(
            f"the shop is {without_password(settings().shop_database_url or '')}, and what is made up does not belong "
            "there: expected the embedded one. Unset SHOP_DATABASE_URL, or take another LAKEHOUSE_HOME without it."
        )
    from orders_lakehouse.sample_shop import simulate as shop

    started = time.monotonic()
    try:
        shop.simulate(database_url("shop"), days, seed=seed, per_minute=per_minute, report=_tell_of_day)
    except ValueError as error:
        raise ShopError(str(error)) from error
    click.echo(f"  {time.monotonic() - started:.1f} s")


def _tell_of_day(day: date, changed: Counter[str]) -> None:
    click.echo(f"  {day}  " + ", ".join(f"{rows:,} {kind}" for kind, rows in changed.items()))
