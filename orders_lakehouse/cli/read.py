"""`lakehouse read`: rows of one table, now or as they were."""

from datetime import UTC, date, datetime

import click
import polars as pl

from orders_lakehouse.cli.parameters import DATE
from orders_lakehouse.cli.query import Form, dotted, opened, output_options, print_rows, what_there_is
from orders_lakehouse.cli.readonly_sql import QueryError
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.tables import TABLES


@click.command("read")
@click.argument("table")
@click.option("--version", type=click.IntRange(0, 2**53), metavar="N", help="Version; the latest by default.")
@click.option("--as-of", metavar="T", help="The version at an instant: 2017-03-01T12:00:00Z; in UTC by default.")
@click.option("--date", "day", type=DATE, metavar="DATE", help="One partition.")
@output_options
def command(
    table: str, version: int | None, as_of: str | None, day: datetime | None, limit: int | None, form: Form
) -> None:
    """Show rows of TABLE, as they are or as they were.

    TABLE is a name such as cleansed.orders; `lakehouse status` lists tables and versions. Personal data is shown:
    whoever can run this can read the lake.
    """
    read(table, version, _instant(as_of) if as_of else None, day.date() if day else None, limit, form)


def read(
    name: str, version: int | None, as_of: datetime | None, day: date | None, limit: int | None, form: Form
) -> None:
    """Print the rows of a table, at its latest version or at an earlier one.

    Raises:
        QueryError: There is no such table, or it has no dates.
        LakeError: There is no such version.
    """
    if version is not None and as_of is not None:
        raise QueryError("found --version and --as-of; expected one of them")
    table = _table(name)
    handle = opened(configured_lake(), table, version, as_of)
    rows = object_store.scan(handle)
    if day is not None:
        if table.partitioned_by is None:
            raise QueryError(f"{table.path} has no dates; read it without --date")
        rows = rows.filter(pl.col(table.partitioned_by) == day)
    if form == "table":
        click.echo(f"{table.path}, version {handle.version()}")
    print_rows(rows, limit, form)


def _instant(text: str) -> datetime:
    """An instant of ISO 8601, in UTC where it names no zone; a date is its midnight.

    Raises:
        QueryError: It is none.
    """
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except ValueError:
        raise QueryError(f"{text!r} is no instant; expected ISO 8601, such as 2017-03-01T12:00:00Z") from None
    except OverflowError:
        raise QueryError(f"{text!r} is no instant in UTC; expected one of the years 1 to 9999 there") from None


def _table(name: str) -> Table:
    found = [table for table in TABLES if name in (table.path, dotted(table), table.name)]
    if len(found) > 1:
        raise QueryError(f"{name!r} may be any of {', '.join(map(dotted, found))}; expected one of them")
    if not found:
        raise QueryError(f"there is no table {name!r}.\n{what_there_is([])}")
    return found[0]
