"""`lakehouse register`: register the tables of the lake in AWS Glue, and show the outcome for each."""

import click

from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.glue import name_of
from orders_lakehouse.delta.glue import register as register_in
from orders_lakehouse.settings import settings


@click.command("register")
def command() -> None:
    """Register the tables of a lake on S3 in AWS Glue, for Athena, Spark on EMR and Trino.

    Tables are registered in the database LAKEHOUSE_GLUE_DATABASE as layer_table, with types, comments and personal
    columns. A table that is up to date stays untouched. A job does the same every night. See docs/catalog.md.
    """
    register()


def register() -> None:
    """Register the tables, and print a line for each existing table.

    Raises:
        CatalogError: The catalog or the lake cannot be used.
        CatalogUnavailableError: The catalog does not answer.
        LakeError: There are no credentials, or a table cannot be opened.
        StorageUnavailableError: The storage does not answer.
    """
    lake = configured_lake()
    outcomes = register_in(lake, settings().glue_database)
    if not outcomes:
        click.echo(f"There is no table yet in {lake.url}.")
        return
    table = grid()
    for heading in ("table", f"in {settings().glue_database}", "registered"):
        table.add_column(heading, no_wrap=True)
    for lake_table, outcome in outcomes.items():
        table.add_row(lake_table.path, name_of(lake_table), outcome)
    console().print(table)
