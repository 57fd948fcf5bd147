"""`lakehouse recapture`: a capture date of a raw table, taken again from the shop because a file of it is damaged."""

from collections.abc import Iterable
from datetime import date, datetime

import click
import polars as pl

from orders_lakehouse.cli.backfill_request import CAPTURE_JOB, DERIVE_JOB, Request, command_line
from orders_lakehouse.cli.parameters import DATE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.log import find
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.pipeline.date_queue import GAP, ranges
from orders_lakehouse.pipeline.recapture import Recaptured, affected_by
from orders_lakehouse.pipeline.recapture import recapture as take_again
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.sources.base import Window
from orders_lakehouse.sources.registry import sources_of
from orders_lakehouse.tables import RAW_OF, entity_of

# As which run the rows are captured that the shop still has.
_RUN = "recapture"
# Keys in a line.
_IN_LINE = 8


class RecaptureError(ExpectedError):
    """What is asked for cannot be taken again."""


@click.command("recapture")
@click.argument("table")
@click.argument("day", type=DATE, metavar="DATE")
def command(table: str, day: datetime) -> None:
    """Take a capture date of a raw table again from the shop, when a file of it is damaged.

    TABLE is a name such as orders. What can still be read of the date stays, and the shop's rows are added; what
    neither has any more is named by its key. Ends with the commands that derive what is touched. See docs/repair.md.
    """
    recapture(table, day.date())


def recapture(name: str, day: date) -> None:
    """Take a capture date of a raw table again; print what was kept, taken and lost, and what to run then.

    Args:
        name: Of the table, with or without its layer.
        day: The capture date.

    Raises:
        RecaptureError: There is no such table, nothing was captured, or the date is before the first one.
        DatabaseError: The shop does not have the shape that raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
        LakeError: The table's log is damaged, or its storage cannot be used.
    """
    table, lake = _table(name), configured_lake()
    calendar = calendar_of(lake)
    if find(lake, table) is None:
        raise RecaptureError(
            f"{table.path} has not been captured in {lake.url} yet; expected a table with a damaged file. To capture "
            f"the date, run: {command_line(Request(day, day, job=CAPTURE_JOB))}"
        )
    if day < calendar.start:
        raise RecaptureError(
            f"{day} is before the first capture date, {calendar.start}, which holds all that changed before it"
        )
    window = Window(day, day, calendar)
    batches = [batch for source in sources_of(entity_of(table)) for batch in source.read_versions(table, window)]
    rows = pl.concat([batch.rows for batch in batches]).with_columns(run_id=pl.lit(_RUN))
    extras = pl.concat([batch.extras for batch in batches])
    done = take_again(lake, table, day, rows, extras, calendar)
    _say(table, day, done)
    if done.wrong or done.taken.height:
        touched = affected_by(lake, table, day, done, calendar)
        commands = [command_line(Request(day, day, job=CAPTURE_JOB))]
        commands += [command_line(Request(first, last, job=DERIVE_JOB)) for first, last in ranges(touched, GAP, ())]
        click.echo("\nTo judge this date again, and to derive what it touches:")
        _lines(commands)


def _table(name: str) -> Table:
    table = RAW_OF.get(name.removeprefix("raw.").removeprefix("raw/"))
    if table is None:
        raise RecaptureError(
            f"found {name!r}; expected a table that is captured from the shop: {', '.join(RAW_OF)}. "
            "Of raw/key_dates, what is missing is written again by: lakehouse rebuild-key-dates"
        )
    return table


def _say(table: Table, day: date, done: Recaptured) -> None:
    if not done.wrong:
        click.echo(f"{table.path} on {day}: every file is whole. {done.taken.height:,} rows of the shop were added.")
        return
    click.echo(f"{table.path} on {day}: what was damaged is replaced.")
    _lines(done.wrong)
    click.echo(
        f"Its files held {done.before:,} rows: {done.kept.height:,} could be read and stay, {done.taken.height:,} were "
        f"taken from the shop."
    )
    missing = done.before - done.kept.height - done.taken.height
    if done.lost:
        click.echo(f"\nLost are versions of {len(done.lost):,} keys, which neither the shop nor a file has any more:")
        _lines(", ".join(done.lost[begin : begin + _IN_LINE]) for begin in range(0, len(done.lost), _IN_LINE))
    elif missing > 0:
        click.echo(f"\nLost are {missing:,} older versions of rows that are there; no key is lost.")
    else:
        click.echo("\nNo key is lost.")
    for error in done.known.unread:
        click.echo(f"More may be lost than is known, because a table could not be asked: {error}")


def _lines(texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(f"  {text}")
