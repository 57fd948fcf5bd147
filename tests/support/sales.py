"""Rows of `curated/daily_sales` and `raw/orders`, written and read."""

from datetime import date, timedelta
from typing import Any

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM, QUANTITY_SUM
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from tests.support.rows import on, rows

FIRST = on("2020-03-01")
DAYS = [FIRST + timedelta(days=more) for more in range(12)]
IDENTITY = ("order_id", "updated_at")


def lazy(frame: pl.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(frame.lazy())


def sales(*days: date, orders: int = 1, currency: str = "EUR") -> pl.DataFrame:
    return rows(DAILY_SALES, *({"order_date": day, "orders": orders, "currency": currency} for day in days))


def rows_in(lake: Lake, table: Table) -> pl.DataFrame:
    frame: pl.DataFrame = lake.scan(table).to_native().collect()
    return frame.sort(*table.key)


def orders_by_date(lake: Lake) -> dict[date, int]:
    return dict(rows_in(lake, DAILY_SALES).select("order_date", "orders").iter_rows())


def replace_sales(lake: Lake, first: date, last: date, frame: pl.DataFrame) -> None:
    lake.replace_dates([DAILY_SALES], first, last, lambda _: [lazy(frame)])


def an_order(**change: Any) -> pl.DataFrame:
    return rows(RAW_ORDERS, change)


def one_row_for_each_order(lake: Lake, day: date) -> nw.LazyFrame[Any]:
    one, nothing = nw.lit(1).cast(nw.Int64), nw.lit(0).cast(nw.Decimal(*MONEY_SUM))
    return lake.scan(RAW_ORDERS, dates=[day]).select(
        nw.col("captured_on").alias("order_date"),
        nw.col("order_id").alias("currency"),
        orders=one,
        lines=one,
        units=one.cast(nw.Decimal(*QUANTITY_SUM)),
        gross=nothing,
        net=nothing,
    )
