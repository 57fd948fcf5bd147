"""`lakehouse recapture`: capture a date of a raw table again from the shop, because one of its files is damaged."""

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
from orders_lakehouse.pipeline.recapture import recapture as capture_again
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.sources.base import Window
from orders_lakehouse.sources.registry import sources_of
from orders_lakehouse.tables import RAW_OF, entity_of

# Id of the run in the lineage of rows that are captured again.
_RUN = "recapture"
# Number of keys in a line.
_IN_LINE = 8


class RecaptureError(ExpectedError):
    """The requested date cannot be captured again."""


@click.command("recapture")
@click.argument("table")
@click.argument("day", type=DATE, metavar="DATE")
def command(table: str, day: datetime) -> None:
    """Capture a date of a raw table again from the shop, if one of its files is damaged.

    TABLE is a name such as orders. Rows that can still be read stay, and the shop's rows are added. Lost rows are
    listed by key. The last lines are the commands that derive the affected dates. See docs/repair.md.
    """
    recapture(table, day.date())


def recapture(name: str, day: date) -> None:
    """Capture a date of a raw table again; print which rows were kept, captured and lost, and the next commands.

    Args:
        name: Name of the table, with or without its layer.
        day: The capture date.

    Raises:
        RecaptureError: The table does not exist, nothing was captured, or the date is before the first one.
        DatabaseError: The shop does not have the columns that raw needs.
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
            f"{day} is before the first capture date, {calendar.start}, which holds all earlier changes"
        )
    window = Window(day, day, calendar)
    batches = [batch for source in sources_of(entity_of(table)) for batch in source.read_versions(table, window)]
    rows = pl.concat([batch.rows for batch in batches]).with_columns(run_id=pl.lit(_RUN))
    extras = pl.concat([batch.extras for batch in batches])
    outcome = capture_again(lake, table, day, rows, extras, calendar)
    _show(table, day, outcome)
    if outcome.wrong or outcome.taken.height:
        affected = affected_by(lake, table, day, outcome, calendar)
        commands = [command_line(Request(day, day, job=CAPTURE_JOB))]
        commands += [command_line(Request(first, last, job=DERIVE_JOB)) for first, last in ranges(affected, GAP, ())]
        click.echo("\nTo judge this date again, and to derive the affected dates:")
        _lines(commands)


def _table(name: str) -> Table:
    table = RAW_OF.get(name.removeprefix("raw.").removeprefix("raw/"))
    if table is None:
        raise RecaptureError(
            f"found {name!r}; expected a table that is captured from the shop: {', '.join(RAW_OF)}. "
            "To restore raw/key_dates, run: lakehouse rebuild-key-dates"
        )
    return table


def _show(table: Table, day: date, outcome: Recaptured) -> None:
    if not outcome.wrong:
        click.echo(f"{table.path} on {day}: every file is whole. {outcome.taken.height:,} rows of the shop were added.")
        return
    click.echo(f"{table.path} on {day}: the damaged files are replaced.")
    _lines(outcome.wrong)
    click.echo(
        f"Its files held {outcome.before:,} rows: {outcome.kept.height:,} could be read and stay, "
        f"{outcome.taken.height:,} were captured from the shop."
    )
    missing = outcome.before - outcome.kept.height - outcome.taken.height
    if outcome.lost:
        click.echo(f"\nVersions of {len(outcome.lost):,} keys are lost; neither the shop nor a file has them any more:")
        _lines(", ".join(outcome.lost[begin : begin + _IN_LINE]) for begin in range(0, len(outcome.lost), _IN_LINE))
    elif missing > 0:
        click.echo(f"\n{missing:,} older versions of existing rows are lost; no key is lost.")
    else:
        click.echo("\nNo key is lost.")
    for error in outcome.known.unread:
        click.echo(f"More may be lost than is known, because a table could not be read: {error}")


def _lines(texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(f"  {text}")
