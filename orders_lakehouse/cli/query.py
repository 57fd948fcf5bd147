"""Functions that `lakehouse sql` and `lakehouse read` share: output options, tables by name, printing rows."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import click
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from orders_lakehouse.cli.formatting import program, show_rows
from orders_lakehouse.cli.plain_text import safe_json, safe_lines
from orders_lakehouse.cli.readonly_sql import QueryError
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.log import at
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.tables import TABLES

Form = Literal["table", "json", "csv"]
# Default number of rows in a table on the terminal; output for programs has all rows.
ROWS_SHOWN = 50


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options `limit` and `form`: how many rows are printed, and in which form."""
    options = [
        click.option("--limit", type=click.IntRange(0, 2**31), metavar="N", help="Most rows to print; 50 in a table."),
        click.option("--table", "form", flag_value="table", default=True, help="Print a table; the default."),
        click.option(
            "--json",
            "form",
            flag_value="json",
            help="Print a JSON list of records; decimals are strings, to stay exact.",
        ),
        click.option("--csv", "form", flag_value="csv", help="Print CSV."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def print_rows(rows: pl.LazyFrame, limit: int | None, form: Form) -> None:
    """Print rows, at most as many as the limit allows."""
    if limit is None and form == "table":
        limit = ROWS_SHOWN
    # One extra row shows whether there are more.
    plan = rows if limit is None else rows.head(limit + 1)
    with explain_storage_errors(plan):
        rows_found = plan.collect(engine="streaming")
    shown = rows_found if limit is None else rows_found.head(limit)
    if form == "json":
        _write(safe_json(shown.write_json(), ascii_only=not _writes_unicode()) + "\n")
    elif form == "csv":
        # Values are escaped only for a terminal, which would act on control characters.
        _write(safe_lines(shown.write_csv()) if sys.stdout.isatty() else shown.write_csv())
    else:
        show_rows(shown)
        click.echo(_counted(shown.height, more=rows_found.height > shown.height))


def _writes_unicode() -> bool:
    return not sys.stdout.isatty() or str(sys.stdout.encoding).lower().startswith("utf")


def _write(text: str) -> None:
    """Write a text for a program in UTF-8, whatever the encoding of the terminal."""
    click.echo(text if sys.stdout.isatty() else text.encode(), nl=False)


def _counted(rows: int, *, more: bool) -> str:
    if more:
        return f"The first {rows:,} rows; --limit shows more."
    return f"{rows:,} row{'' if rows == 1 else 's'}."


def opened(lake: Lake, table: Table, version: int | None = None, as_of: datetime | None = None) -> DeltaTable:
    """Open a table at its latest version, or at an earlier one.

    Raises:
        LakeError: The version does not exist.
        QueryError: The table does not exist yet.
    """
    try:
        return at(lake, table, version, as_of)
    except TableNotFoundError:
        raise QueryError(f"{table.path} does not exist yet; `make demo` or `make backfill` makes it") from None


def dotted(table: Table) -> str:
    """Return the name of a table in a query."""
    return f"{table.layer}.{table.name}"


def available_tables(named: Sequence[Table]) -> str:
    """Describe the columns of some tables, and list the names of all, in lines."""
    columns = [f"The columns of {dotted(table)} are {', '.join(table.columns)}." for table in named]
    layers = {table.layer: [other.name for other in TABLES if other.layer == table.layer] for table in TABLES}
    tables = [f"  {layer}.  {', '.join(names)}" for layer, names in layers.items()]
    marts = f'Marts are in Postgres: psql "$({program()} url warehouse)"'
    return "\n".join([*columns, "The tables are", *tables, marts])
