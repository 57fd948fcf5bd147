"""`lakehouse calendar`: the midnights and holidays of the lake, and what newer data would change."""

from datetime import timedelta

import click
import polars as pl
import polars.selectors as cs

from orders_lakehouse.calendar import FIRST, LAST, installed_zone_data
from orders_lakehouse.cli.formatting import program
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.pipeline.date_queue import ranges
from orders_lakehouse.pipeline.stored_calendar import (
    apply_installed,
    compare,
    country_of,
    dates_to_run,
    installed_holidays_data,
    proposed,
    stored,
)
from orders_lakehouse.pipeline.waivers import configured_waivers
from orders_lakehouse.settings import settings

# Largest gap between dates that run in one range.
_GAP = timedelta(days=7)
# Most dates of each kind that are shown.
_SHOWN = 10


@click.command("calendar")
@click.option("--apply", "write", is_flag=True, help="Write the calendar from the data installed here.")
def command(write: bool) -> None:
    """Show the calendar of the lake: midnights and holidays, and what newer data would change.

    The lake keeps those with which it was made, whatever a machine has installed. With --apply, it takes those of this
    machine, and the dates to run again are printed.
    """
    calendar(write=write)


def calendar(*, write: bool) -> None:
    """Print the stored calendar and what would change; or write the calendar, and print what has changed.

    Args:
        write: Whether the data of this machine is applied.

    Raises:
        HolidaysError: The holidays of the country in the settings are not known.
        LakeError: The stored calendar is incomplete, or was made for another time zone.
    """
    lake = configured_lake()
    rows, new = stored(lake), proposed(lake)
    years = rows.filter(pl.col("is_holiday").is_not_null())["date"].dt.year()
    reach = "{} to {}".format(*years.gather([0, -1])) if years.len() else "no year yet"
    click.echo(f"Zone      {lake.timezone}, from {FIRST} to {LAST}")
    click.echo(f"          data: {_versions(rows, 'zone_data')}; installed: {installed_zone_data(lake.timezone)}")
    click.echo(f"Holidays  {country_of(lake)}, {reach}; LAKEHOUSE_HOLIDAYS_COUNTRY is {settings().holidays_country}")
    click.echo(f"          data: {_versions(rows, 'holidays_data')}; installed: {installed_holidays_data()}")
    changes = apply_installed(lake) if write else compare(rows, new)
    differs = changes.midnights.height or changes.holidays.height
    if not differs:
        click.echo("Every date begins at the same instant in both, and has the same holiday.")
    _show("begin at another instant", changes.midnights, "begins_at")
    _show("have another holiday", changes.holidays, "holiday_name")
    ends = {waiver.expires + timedelta(days=1) for waiver in configured_waivers(lake)}
    if ends.intersection(changes.midnights["date"]):
        click.echo(
            f"Waivers expire at another instant, too: `{program()} quarantine replay` derives what that changes."
        )
    if differs and not write:
        click.echo(f"`{program()} calendar --apply` writes that, and names the dates to run again.")
    dates = dates_to_run(lake)
    if dates:
        click.echo("Orders or customers have other dates by the calendar of the lake. Run these again:")
        for first, last in ranges(dates, _GAP, ()):
            click.echo(f"  {program()} backfill {first} {last}")
    elif differs and write:
        click.echo("No order and no customer has another date; dim_date follows with the next run of any date.")


def _versions(rows: pl.DataFrame, column: str) -> str:
    return ", ".join(rows[column].drop_nulls().unique(maintain_order=True)) or "none yet"


def _show(what: str, rows: pl.DataFrame, before: str) -> None:
    """Print the first differing dates with the lake's value and the value of this machine's data."""
    if rows.is_empty():
        return
    click.echo(f"{rows.height:,} dates {what}:")
    formatted = rows.head(_SHOWN).with_columns(cs.datetime().dt.strftime("%Y-%m-%d %H:%M:%S UTC"))
    shown = formatted.with_columns(pl.col(before, "becomes").fill_null("none"))
    for day, was, becomes in shown.select("date", before, "becomes").iter_rows():
        click.echo(f"  {day}: {was} → {becomes}")
    if rows.height > _SHOWN:
        click.echo(f"  and {rows.height - _SHOWN:,} more, up to {rows['date'][-1]}")
