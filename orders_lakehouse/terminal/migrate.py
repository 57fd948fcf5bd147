"""`lakehouse migrate`: bring the tables of a lake that an older version made up to the present contracts."""

from datetime import date

import click
import polars as pl

from orders_lakehouse.contracts.tables import CLEANSED, QUARANTINE, RAW, TABLES
from orders_lakehouse.lake.calendar import calendar_of
from orders_lakehouse.lake.configured import configured_lake
from orders_lakehouse.lake.delta import Lake, files_of
from orders_lakehouse.lake.log import find
from orders_lakehouse.terminal.request import Request, command

# From raw alone, layer by layer: the shop need not be there.
_JOBS = ("refresh_cleansed_job", "refresh_curated_job", "refresh_marts_job")


def migrate() -> None:
    """Migrate every table that is there, and say what to run afterwards.

    No row of raw changes but in its types. What is derived from it keeps its rows, in other types, until its dates are
    derived again: they may come out otherwise by the present contracts.

    Raises:
        LakeError: A table was made by a newer program, with another time zone, or with types that cannot be followed.
        StorageUnavailableError: Something else wrote to a table meanwhile.
    """
    lake = configured_lake()
    done = [migrated for table in TABLES if (migrated := lake.migrate(table)) is not None]
    if not done:
        click.echo(f"Every table in {lake.url} is as the present contracts want it.")
        return
    for migrated in done:
        version = f"version {migrated.contract} of its contract"
        changes = [*migrated.retyped, *(f"{name} added" for name in migrated.added)]
        click.echo(f"{migrated.table.path}, made under {version}: {', '.join(changes) or 'other rules'}")
    # A lake of before has no calendar of its own.
    calendar_of(lake)
    dates = _dates(lake)
    if dates is not None:
        click.echo("\nEvery date may come out otherwise by the present contracts. Derive all of them, in this order:")
        for job in _JOBS:
            click.echo(f"  {command(Request(*dates, job=job))}")


def _dates(lake: Lake) -> tuple[date, date] | None:
    """First and last date of what was captured and of what is derived from it."""
    handles = [(find(lake, table), table) for table in (*RAW, *CLEANSED, *QUARANTINE)]
    dates = pl.concat([files_of(handle, table)["date"] for handle, table in handles if handle is not None])
    first, last = dates.min(), dates.max()
    return (first, last) if isinstance(first, date) and isinstance(last, date) else None
