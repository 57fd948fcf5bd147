"""`lakehouse read`: rows of one table, at its latest or an earlier version."""

from datetime import UTC, date, datetime

import click
import polars as pl

from orders_lakehouse.cli.parameters import DATE
from orders_lakehouse.cli.query import Form, available_tables, dotted, opened, output_options, print_rows
from orders_lakehouse.cli.readonly_sql import QueryError
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.tables import TABLES


@click.command("read")
@click.argument("table")
@click.option("--version", type=click.IntRange(0, 2**53), metavar="N", help="Version; the latest by default.")
@click.option("--as-of", metavar="T", help="The version at an instant: 2026-11-30T12:00:00Z; in UTC by default.")
@click.option("--date", "day", type=DATE, metavar="DATE", help="One partition.")
@output_options
def command(
    table: str, version: int | None, as_of: str | None, day: datetime | None, limit: int | None, form: Form
) -> None:
    """Show rows of TABLE, at its latest or an earlier version.

    TABLE is a name such as cleansed.orders; `lakehouse status` lists tables and versions. Personal data is shown,
    because everyone who can run this command can read the lake.
    """
    read(table, version, _instant(as_of) if as_of else None, day.date() if day else None, limit, form)


def read(
    name: str, version: int | None, as_of: datetime | None, day: date | None, limit: int | None, form: Form
) -> None:
    """Print the rows of a table, at its latest version or at an earlier one.

    Raises:
        QueryError: The table does not exist, or has no dates.
        LakeError: The version does not exist.
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
    """Read an instant in ISO 8601, in UTC if it names no zone; a date means its midnight.

    Raises:
        QueryError: The text is no instant.
    """
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except ValueError:
        raise QueryError(f"{text!r} is no instant; expected ISO 8601, such as 2026-11-30T12:00:00Z") from None
    except OverflowError:
        raise QueryError(f"{text!r} is no instant in UTC; expected one of the years 1 to 9999 there") from None


def _table(name: str) -> Table:
    matches = [table for table in TABLES if name in (table.path, dotted(table), table.name)]
    if len(matches) > 1:
        raise QueryError(f"{name!r} may be any of {', '.join(map(dotted, matches))}; expected one of them")
    if not matches:
        raise QueryError(f"there is no table {name!r}.\n{available_tables([])}")
    return matches[0]
