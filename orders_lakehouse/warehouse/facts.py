"""Read facts by date. Facts store dates as integers (yyyymmdd), and these functions return them as dates.

Every function raises DatabaseUnavailableError if the warehouse cannot be reached.
"""

from collections.abc import Collection
from datetime import date

import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM
from orders_lakehouse.curated.base import Fact
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.postgres.connections import connect, value_of
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, FACTS, QUARANTINE

_TOTAL = pl.Decimal(*MONEY_SUM)


def unbuilt_dates(lake: Lake) -> set[date]:
    """Return dates on which a fact has another number of rows than its table; all dates before a fact is built."""
    return {day for curated, fact in FACTS for day in _unbuilt_dates(lake, curated.table, fact)}


def _unbuilt_dates(lake: Lake, table: Table, fact: Fact) -> set[date]:
    query = f"SELECT date_id, count(*) AS lines FROM {_name(fact)} GROUP BY date_id"
    built = _of_fact(fact, query, pl.Schema({"lines": pl.Int64()}))
    if built is None:
        return {day for place in (*CLEANSED, *QUARANTINE) for day in _rows_by_date(lake, place)}
    in_fact: dict[date, int] = dict(built.iter_rows())
    in_lake = _rows_by_date(lake, table)
    return {day for day in {*in_fact, *in_lake} if in_fact.get(day, 0) != in_lake.get(day, 0)}


def fact_totals(fact: Fact, first: date, last: date) -> pl.DataFrame:
    """Count the rows and sum the measure of a fact by date, from a first to a last date.

    Returns:
        order_date, lines, total (of the measure); no row before the fact is built.
    """
    query = (
        f"SELECT date_id, count(*) AS lines, sum({fact.measure})::text AS total FROM {_name(fact)} "
        f"WHERE date_id BETWEEN {first:%Y%m%d} AND {last:%Y%m%d} GROUP BY date_id"
    )
    schema = pl.Schema({"lines": pl.Int64(), "total": _TOTAL})
    return _or_empty(_of_fact(fact, query, schema), schema)


def fact_totals_by_state(fact: Fact) -> pl.DataFrame:
    """Count the rows and sum the measure of a fact by date and state.

    Returns:
        order_date, the state, lines, total (of the measure); no row before the fact is built.
    """
    query = (
        f"SELECT date_id, {fact.state}, count(*) AS lines, sum({fact.measure})::text AS total "
        f"FROM {_name(fact)} GROUP BY date_id, {fact.state}"
    )
    schema = pl.Schema({fact.state: pl.String(), "lines": pl.Int64(), "total": _TOTAL})
    return _or_empty(_of_fact(fact, query, schema), schema)


def fact_rows(table: Table, fact: Fact, dates: Collection[date]) -> pl.DataFrame:
    """Return the rows of a fact on some dates.

    Returns:
        order_date, the state, the key of its table, its measure; no row before the fact is built.
    """
    listed = ", ".join(f"{day:%Y%m%d}" for day in dates) or "0"
    columns = [fact.state, *table.key, fact.measure]
    query = (
        f"SELECT date_id, {', '.join(columns[:-1])}, {fact.measure}::text AS {fact.measure} "
        f"FROM {_name(fact)} WHERE date_id IN ({listed})"
    )
    schema = pl.Schema({name: table.schema[name] for name in columns})
    return _or_empty(_of_fact(fact, query, schema), schema)


def _name(fact: Fact) -> str:
    return f"{settings().marts_schema}.{fact.name}"


def _of_fact(fact: Fact, query: str, schema: pl.Schema) -> pl.DataFrame | None:
    """Run a query whose first column is date_id; return order_date and the schema's columns; None without the fact."""
    with connect("warehouse") as connection, connection.cursor() as cursor:
        if value_of(cursor, f"SELECT to_regclass('{_name(fact)}')::text") is None:
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
