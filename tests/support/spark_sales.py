"""Rows of `curated/daily_sales` on a Spark Connect server."""

from datetime import date, timedelta

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.engines.spark_session import session
from tests.support.rows import on, rows

DAYS = [on("2020-03-01") + timedelta(days=number) for number in range(6)]


def sales(*days: date, orders: int = 1) -> pl.DataFrame:
    return rows(DAILY_SALES, *({"order_date": day, "orders": orders} for day in days))


def there(frame: pl.DataFrame) -> Frame:
    """Return rows as a frame of the cluster."""
    return nw.from_native(session().createDataFrame(frame.to_arrow()))
