"""A lake with a table of two dates, and a process that imports little."""

from datetime import date, timedelta
from pathlib import Path

import narwhals as nw
import polars as pl

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from tests.support.rows import on, rows

FIRST = on("2020-03-01")
LATER = FIRST + timedelta(days=1)
IDENTITY = ("order_id", "updated_at")


def sales(*days: date, orders: int = 1) -> pl.DataFrame:
    return rows(DAILY_SALES, *({"order_date": day, "orders": orders} for day in days))


def replace(lake: Lake, orders: int) -> None:
    lake.replace_dates(
        [DAILY_SALES], FIRST, LATER, lambda _: [nw.from_native(sales(FIRST, LATER, orders=orders).lazy())]
    )


def insert(lake: Lake) -> int:
    return lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS, {}, {"order_id": "o2"}), IDENTITY)


def stored(lake: Lake) -> list[int]:
    return rows_of(lake.scan(DAILY_SALES))["orders"].to_list()


def files_in(lake: Lake) -> set[str]:
    return {str(path) for path in Path(lake.url).rglob("*") if path.is_file()}
