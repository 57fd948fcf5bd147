"""What the fact of order lines holds, by date. Its dates are integers, yyyymmdd, and become dates here.

Every function raises DatabaseUnavailableError when the warehouse cannot be reached.
"""

from collections.abc import Collection
from datetime import date

import polars as pl

from orders_lakehouse.contracts.tables import CLEANSED, ORDER_LINES, QUARANTINE, Table
from orders_lakehouse.contracts.types import MONEY, MONEY_SUM
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake, files_of
from orders_lakehouse.postgres.connections import connect, value_of
from orders_lakehouse.settings import settings

_TOTAL = pl.Decimal(*MONEY_SUM)


def _fact() -> str:
    return f"{settings().marts_schema}.fct_order_lines"


def unbuilt_dates(lake: Lake) -> set[date]:
    """Dates at which the fact has another number of lines than curated; all that the lake has, before it is built."""
    built = _of_fact(
        f"SELECT date_id, count(*) AS lines FROM {_fact()} GROUP BY date_id", pl.Schema({"lines": pl.Int64()})
    )
    if built is None:
        return {day for table in (*CLEANSED, *QUARANTINE) for day in _rows_by_date(lake, table)}
    found: dict[date, int] = dict(built.iter_rows())
    lines = _rows_by_date(lake, ORDER_LINES)
    return {day for day in {*found, *lines} if found.get(day, 0) != lines.get(day, 0)}


def fact_totals(first: date, last: date) -> pl.DataFrame:
    """Lines of the fact by date, from a first to a last one.

    Returns:
        order_date, lines, total (of total_price); no row before the fact is built.
    """
    query = (
        f"SELECT date_id, count(*) AS lines, sum(total_price)::text AS total FROM {_fact()} "
        f"WHERE date_id BETWEEN {first:%Y%m%d} AND {last:%Y%m%d} GROUP BY date_id"
    )
    schema = pl.Schema({"lines": pl.Int64(), "total": _TOTAL})
    return _or_empty(_of_fact(query, schema), schema)


def fact_totals_by_status() -> pl.DataFrame:
    """Lines of the fact by date and state of their order.

    Returns:
        order_date, order_status, lines, total (of total_price); no row before the fact is built.
    """
    query = (
        "SELECT date_id, order_status, count(*) AS lines, sum(total_price)::text AS total "
        f"FROM {_fact()} GROUP BY date_id, order_status"
    )
    schema = pl.Schema({"order_status": pl.String(), "lines": pl.Int64(), "total": _TOTAL})
    return _or_empty(_of_fact(query, schema), schema)


def fact_lines(dates: Collection[date]) -> pl.DataFrame:
    """Lines of some dates of the fact.

    Returns:
        order_date, order_status, order_id, line_number, total_price; no row before the fact is built.
    """
    listed = ", ".join(f"{day:%Y%m%d}" for day in dates) or "0"
    query = (
        "SELECT date_id, order_status, order_id, line_number, total_price::text AS total_price "
        f"FROM {_fact()} WHERE date_id IN ({listed})"
    )
    money = pl.Decimal(*MONEY)
    schema = pl.Schema(
        {"order_status": pl.String(), "order_id": pl.String(), "line_number": pl.Int32(), "total_price": money}
    )
    return _or_empty(_of_fact(query, schema), schema)


def _of_fact(query: str, schema: pl.Schema) -> pl.DataFrame | None:
    """Rows of a query whose first column is date_id: order_date, and what the schema says; None without the fact."""
    with connect("warehouse") as connection, connection.cursor() as cursor:
        if value_of(cursor, f"SELECT to_regclass('{_fact()}')::text") is None:
            return None
        cursor.execute(query)
        rows = pl.DataFrame(cursor.fetch_arrow_table())
    order_date = pl.col("date_id").cast(pl.String).str.to_date("%Y%m%d").alias("order_date")
    return rows.select(order_date, *(pl.col(name).cast(dtype) for name, dtype in schema.items()))


def _or_empty(rows: pl.DataFrame | None, schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame(schema={"order_date": pl.Date(), **schema}) if rows is None else rows


def _rows_by_date(lake: Lake, table: Table) -> dict[date, int]:
    handle = find(lake, table)
    if handle is None:
        return {}
    return dict(files_of(handle, table).group_by("date").agg(pl.col("rows").sum()).iter_rows())
