"""`lakehouse sql`: a query over the Delta tables. `readonly_sql` decides which queries are allowed."""

import re

import click
import polars as pl
from polars.exceptions import PolarsError

from orders_lakehouse.cli.query import Form, available_tables, dotted, opened, output_options, print_rows
from orders_lakehouse.cli.readonly_sql import QueryError, check
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.tables import TABLES


@click.command("sql")
@click.argument("query")
@output_options
def command(query: str, limit: int | None, form: Form) -> None:
    """Query the Delta tables by their names, with the SQL of Polars.

    \b
    lakehouse sql "select * from cleansed.orders where order_date = '2026-11-30'"
    lakehouse sql "select currency, sum(net) as net from curated.daily_sales
                   group by currency"

    JSON and CSV have complete texts; a table cuts long texts and leaves out columns that do not fit. Personal data is
    shown, because everyone who can run this command can read the lake.
    """  # noqa: D301 (the escape tells click to keep the lines)
    sql(query, limit, form)


def sql(query: str, limit: int | None, form: Form) -> None:
    """Print the rows of a query over the Delta tables; only the tables in the query are opened.

    Raises:
        QueryError: The query is invalid, or names unknown tables or columns; the message lists the known ones.
    """
    check(query)
    lake = configured_lake()
    named = [table for table in TABLES if _names(query, table)]
    frames = {table: object_store.scan(opened(lake, table)) for table in named}
    names = {name: frame for table, frame in frames.items() for name in (table.path, dotted(table))}
    try:
        print_rows(pl.SQLContext(names).execute(query), limit, form)
    except PolarsError as error:
        raise QueryError(f"{_first_words(error)}\n{available_tables(named)}") from error


def _names(query: str, table: Table) -> bool:
    return re.search(rf'\b{table.layer}"?\s*[./]\s*"?{table.name}\b', query) is not None


def _first_words(error: PolarsError) -> str:
    return str(error).split("\n", maxsplit=1)[0].partition("; valid columns")[0]
