"""`lakehouse rebuild-key-dates`: the index by which a date finds its rows, made whole from raw."""

import click

from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.pipeline.key_index import rebuild_key_dates
from orders_lakehouse.pipeline.stored_calendar import calendar_of


@click.command("rebuild-key-dates")
def command() -> None:
    """Write the entries that raw/key_dates lacks, from raw.

    By this index a date finds its rows. Of use when it was damaged or lost; derive the dates anew afterwards.
    """
    lake = configured_lake()
    added = rebuild_key_dates(lake, calendar_of(lake))
    click.echo(f"{added:,} entries were missing, and are there now." if added else "No entry was missing.")
