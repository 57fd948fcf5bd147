"""`lakehouse stop`: stop the embedded Postgres server."""

import click

from orders_lakehouse.postgres.embedded import stop_embedded_server
from orders_lakehouse.settings import settings


@click.command("stop")
def command() -> None:
    """Stop the embedded Postgres server."""
    stopped = stop_embedded_server(settings().home)
    click.echo("The embedded Postgres is stopped." if stopped else "The embedded Postgres was not running.")
