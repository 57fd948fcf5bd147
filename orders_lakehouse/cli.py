"""The `lakehouse` command. Heavy modules are imported by the command that needs them."""

import os
import sys
from datetime import datetime
from pathlib import Path

import click

from orders_lakehouse.settings import PROJECT, SettingsError, settings

_DATE = click.DateTime(formats=["%Y-%m-%d"])


@click.group()
def cli() -> None:
    """The orders lakehouse: from a shop's Postgres to a tested star schema."""


@cli.command()
@click.argument("what", type=click.Choice(["shop", "warehouse", "lake"]))
def url(what: str) -> None:
    """Print the URL in force; starts the embedded server when that is what is in force."""
    from orders_lakehouse.postgres import database_url

    click.echo(settings().lake_url if what == "lake" else database_url("shop" if what == "shop" else "warehouse"))


@cli.group()
def shop() -> None:
    """The embedded shop."""


@shop.command("load")
def load_shop() -> None:
    """Fill the embedded shop with the sample: a year of real orders. A shop that has orders stays as it is."""
    from orders_lakehouse.demo import load_shop_if_embedded

    load_shop_if_embedded()


@cli.command()
@click.argument("first", type=_DATE, metavar="FIRST")
@click.argument("last", type=_DATE, metavar="LAST")
@click.option("--job", default="refresh_all_job", show_default=True, help="Job to run.")
def backfill(first: datetime, last: datetime, job: str) -> None:
    """Run everything for the dates from FIRST to LAST, as one run in this process."""
    from orders_lakehouse.demo import backfill_and_report

    backfill_and_report(job, first.date(), last.date())


@cli.command()
def demo() -> None:
    """Load the sample shop, build the lakehouse for its whole year, and show what came of it."""
    from orders_lakehouse.demo import run_demo

    run_demo()


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
def dev(port: int) -> None:
    """Start Dagster's UI and daemon for this lakehouse."""
    from orders_lakehouse.instance import prepare_instance

    prepare_instance()
    executable = Path(sys.executable).with_name("dg")
    if not executable.exists():
        raise click.ClickException("`dg` is not installed; install it with: pip install dagster-dg-cli")
    os.chdir(PROJECT)
    os.environ["VIRTUAL_ENV"] = sys.prefix
    os.environ["PATH"] = f"{executable.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execv(executable, [str(executable), "dev", "--port", str(port)])  # noqa: S606 (our own environment's program)


@cli.command()
def stop() -> None:
    """Stop the embedded Postgres server."""
    from orders_lakehouse.postgres import stop_embedded_server

    stopped = stop_embedded_server(settings().home)
    click.echo("The embedded Postgres is stopped." if stopped else "The embedded Postgres was not running.")


def main() -> None:
    """Entry point; expected failures end with their message and status 1."""
    from orders_lakehouse.errors import ExpectedError

    try:
        cli(standalone_mode=True)
    except (ExpectedError, SettingsError) as error:
        click.secho(f"Error: {error}", fg="red", err=True)
        raise SystemExit(1) from None
