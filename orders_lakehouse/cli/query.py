"""`lakehouse sql` and `lakehouse read`: rows of the Delta tables, now or as they were."""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Literal

import click
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from polars.exceptions import PolarsError

from orders_lakehouse.cli.formatting import program, show_rows
from orders_lakehouse.cli.plain_text import safe_json, safe_lines
from orders_lakehouse.cli.readonly_sql import QueryError, check
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.log import at
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.tables import TABLES

Form = Literal["table", "json", "csv"]
# Rows of a table on the terminal, unless more are asked for; what goes to a program is whole.
ROWS_SHOWN = 50


def sql(query: str, limit: int | None, form: Form) -> None:
    """Print the rows of a query over the Delta tables; only those that it names are opened.

    Raises:
        QueryError: The query is not understood, or names what is not there; the message says what is.
    """
    check(query)
    lake = configured_lake()
    named = [table for table in TABLES if _names(query, table)]
    frames = {table: object_store.scan(_opened(lake, table)) for table in named}
    names = {name: frame for table, frame in frames.items() for name in (table.path, _dotted(table))}
    try:
        _print(pl.SQLContext(names).execute(query), limit, form)
    except PolarsError as error:
        raise QueryError(f"{_first_words(error)}\n{_what_there_is(named)}") from error


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
    handle = _opened(configured_lake(), table, version, as_of)
    rows = object_store.scan(handle)
    if day is not None:
        if table.partitioned_by is None:
            raise QueryError(f"{table.path} has no dates; read it without --date")
        rows = rows.filter(pl.col(table.partitioned_by) == day)
    if form == "table":
        click.echo(f"{table.path}, version {handle.version()}")
    _print(rows, limit, form)


def instant(text: str) -> datetime:
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


def _print(rows: pl.LazyFrame, limit: int | None, form: Form) -> None:
    if limit is None and form == "table":
        limit = ROWS_SHOWN
    # One more than asked for tells whether there are more.
    plan = rows if limit is None else rows.head(limit + 1)
    with storage_trouble(plan):
        found = plan.collect(engine="streaming")
    shown = found if limit is None else found.head(limit)
    if form == "json":
        _write(safe_json(shown.write_json(), ascii_only=not _writes_unicode()) + "\n")
    elif form == "csv":
        # A program reads the values as they are; a terminal would obey what it finds in them.
        _write(safe_lines(shown.write_csv()) if sys.stdout.isatty() else shown.write_csv())
    else:
        show_rows(shown)
        click.echo(_counted(shown.height, more=found.height > shown.height))


def _writes_unicode() -> bool:
    return not sys.stdout.isatty() or str(sys.stdout.encoding).lower().startswith("utf")


def _write(text: str) -> None:
    """Write a text for a program in UTF-8, whatever the terminal is set to."""
    click.echo(text if sys.stdout.isatty() else text.encode(), nl=False)


def _counted(rows: int, *, more: bool) -> str:
    if more:
        return f"The first {rows:,} rows; --limit shows more."
    return f"{rows:,} row{'' if rows == 1 else 's'}."


def _opened(lake: Lake, table: Table, version: int | None = None, as_of: datetime | None = None) -> DeltaTable:
    try:
        return at(lake, table, version, as_of)
    except TableNotFoundError:
        raise QueryError(f"{table.path} is not made yet; `make demo` or `make backfill` makes it") from None


def _names(query: str, table: Table) -> bool:
    return re.search(rf'\b{table.layer}"?\s*[./]\s*"?{table.name}\b', query) is not None


def _table(name: str) -> Table:
    found = [table for table in TABLES if name in (table.path, _dotted(table), table.name)]
    if len(found) > 1:
        raise QueryError(f"{name!r} may be any of {', '.join(map(_dotted, found))}; expected one of them")
    if not found:
        raise QueryError(f"there is no table {name!r}.\n{_what_there_is([])}")
    return found[0]


def _dotted(table: Table) -> str:
    return f"{table.layer}.{table.name}"


def _first_words(error: PolarsError) -> str:
    return str(error).split("\n", maxsplit=1)[0].partition("; valid columns")[0]


def _what_there_is(named: Sequence[Table]) -> str:
    columns = [f"The columns of {_dotted(table)} are {', '.join(table.columns)}." for table in named]
    layers = {table.layer: [other.name for other in TABLES if other.layer == table.layer] for table in TABLES}
    tables = [f"  {layer}.  {', '.join(names)}" for layer, names in layers.items()]
    marts = f'Marts are in Postgres: psql "$({program()} url warehouse)"'
    return "\n".join([*columns, "The tables are", *tables, marts])
