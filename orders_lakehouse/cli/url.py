"""`lakehouse url`: print the current URL of a database or of the lake."""

import click

from orders_lakehouse.postgres.connections import shown_url
from orders_lakehouse.settings import settings


@click.command("url")
@click.argument("what", type=click.Choice(["shop", "warehouse", "lake"]))
def command(what: str) -> None:
    """Print the current URL; an embedded server is started."""
    click.echo(settings().lake_url if what == "lake" else shown_url("shop" if what == "shop" else "warehouse"))
