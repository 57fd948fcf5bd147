"""`lakehouse migrate`: bring the tables of a lake up to the present contracts, and to an earlier first partition."""

import click

from orders_lakehouse.cli.backfill_request import FROM_RAW, Request, command_line
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.log import first_and_last_date
from orders_lakehouse.pipeline.start_date import Moved, move_start
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.tables import CLEANSED, QUARANTINE, RAW, TABLES


@click.command("migrate")
def command() -> None:
    """Bring the tables of a lake that an older version made up to the present contracts, once.

    Run it with nothing else at work. It writes tables anew whose columns have other types, each in one commit, and says
    which dates to derive afterwards. There is nothing to do where it says so.
    """
    migrate()


def migrate() -> None:
    """Migrate every table that is there, and say what to run afterwards.

    No row of raw changes but in its types; where the lake is to begin earlier, the rows of its first partition are
    captured on the dates of their clocks. What is derived from it keeps its rows, in other types, until its dates are
    derived again: they may come out otherwise by the present contracts.

    Raises:
        LakeError: A table was made by a newer program, with another time zone, with a first partition that is earlier
            than that of the settings, or with types that cannot be followed.
        StorageUnavailableError: Something else wrote to a table meanwhile.
    """
    lake = configured_lake()
    moved = move_start(lake)
    if moved is not None:
        _tell(moved)
    done = [migrated for table in TABLES if (migrated := lake.migrate(table)) is not None]
    if not done and moved is None:
        click.echo(f"Every table in {lake.url} is as the present contracts want it.")
        return
    for migrated in done:
        version = f"version {migrated.contract} of its contract"
        changes = [*migrated.retyped, *(f"{name} added" for name in migrated.added)]
        click.echo(f"{migrated.table.path}, made under {version}: {', '.join(changes) or 'other rules'}")
    # A lake of before has no calendar of its own.
    calendar_of(lake)
    dates = first_and_last_date(lake, (*RAW, *CLEANSED, *QUARANTINE))
    if dates is not None:
        first = min(dates[0], moved.start) if moved is not None else dates[0]
        reason = "by the present contracts" if moved is None else f"in a lakehouse that begins on {moved.start}"
        click.echo(f"\nEvery date may come out otherwise {reason}. Derive all of them, in this order:")
        for job in FROM_RAW:
            click.echo(f"  {command_line(Request(first, dates[1], job=job))}")


def _tell(moved: Moved) -> None:
    click.echo(f"The lake begins on {moved.start}; until now it was {moved.before}.")
    for path, rows in moved.rows.items():
        counted = "1 row is" if rows == 1 else f"{rows:,} rows are"
        click.echo(f"{path}: {counted} captured on an earlier date now, by the change clock")
