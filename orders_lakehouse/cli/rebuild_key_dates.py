"""`lakehouse rebuild-key-dates`: complete the key index from raw."""

import click

from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.pipeline.key_index import rebuild_key_dates
from orders_lakehouse.pipeline.stored_calendar import calendar_of


@click.command("rebuild-key-dates")
def command() -> None:
    """Write the entries that raw/key_dates lacks, from raw.

    This index tells which rows belong to a date. If it was damaged or lost, run this command, then derive the dates
    again.
    """
    lake = configured_lake()
    added = rebuild_key_dates(lake, calendar_of(lake))
    click.echo(f"{added:,} missing entries were added." if added else "No entry was missing.")
