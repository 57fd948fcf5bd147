"""`lakehouse migrate`: migrate the tables of a lake to the present contracts, and to an earlier first partition."""

import click

from orders_lakehouse.cli.backfill_request import FROM_RAW, Request, command_line
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.log import first_and_last_date
from orders_lakehouse.machine.private_files import make_home
from orders_lakehouse.pipeline.start_date import Moved, move_start
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.settings import settings
from orders_lakehouse.start_notes import note_start
from orders_lakehouse.tables import CLEANSED, QUARANTINE, RAW, TABLES


@click.command("migrate")
def command() -> None:
    """Migrate the tables of a lake that an older version made to the present contracts, once.

    Run it while no other program works. It rewrites tables whose columns have other types, each in one commit, and
    prints the dates to derive afterwards.
    """
    migrate()


def migrate() -> None:
    """Migrate every existing table, and print what to run afterwards.

    Rows of raw change only their types. If the lake is extended to an earlier start, rows of its first partition move
    to the dates of their clocks. Derived tables keep their rows, in new types, until their dates are derived again; the
    present contracts may change these rows.

    Raises:
        LakeError: A table was made by a newer program, with another time zone, with a first partition that is earlier
            than that of the settings, or with types that cannot be converted.
        StorageUnavailableError: Another program wrote to a table meanwhile.
    """
    lake = configured_lake()
    moved = move_start(lake)
    if moved is not None:
        note_start(make_home(settings().home), lake.url, moved.start)
        _show_moved(moved)
    migrations = [migrated for table in TABLES if (migrated := lake.migrate(table)) is not None]
    if not migrations and moved is None:
        click.echo(f"Every table in {lake.url} fits the present contracts.")
        return
    for migrated in migrations:
        version = f"version {migrated.contract} of its contract"
        changes = [*migrated.retyped, *(f"{name} added" for name in migrated.added)]
        click.echo(f"{migrated.table.path}, made under {version}: {', '.join(changes) or 'other rules'}")
    # An older lake has no calendar, so it is made here.
    calendar_of(lake)
    dates = first_and_last_date(lake, (*RAW, *CLEANSED, *QUARANTINE))
    if dates is not None:
        first = min(dates[0], moved.start) if moved is not None else dates[0]
        reason = "by the present contracts" if moved is None else f"in a lakehouse that begins on {moved.start}"
        click.echo(f"\nEvery date may change {reason}. Derive all of them, in this order:")
        for job in FROM_RAW:
            click.echo(f"  {command_line(Request(first, dates[1], job=job))}")


def _show_moved(moved: Moved) -> None:
    click.echo(f"The lake begins on {moved.start}; until now it was {moved.before}.")
    for path, rows in moved.rows.items():
        counted = "1 row is" if rows == 1 else f"{rows:,} rows are"
        click.echo(f"{path}: {counted} captured on an earlier date now, by the change clock")
