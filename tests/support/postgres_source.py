"""A shop in Postgres, and what its source reads of a date."""

from dataclasses import dataclass
from datetime import date
from importlib import resources

import polars as pl
from adbc_driver_postgresql import dbapi

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.sources.base import Window
from orders_lakehouse.sources.postgres.versions import read_versions
from tests.support.rows import on

SCHEMA = resources.files("orders_lakehouse.sample_shop").joinpath("schema.sql").read_text()
SECRET = "s3cr3t"
UTC_FROM_2017 = Calendar(on("2017-01-01"), "UTC")
DAY = on("2020-03-02")


@dataclass(frozen=True)
class Shop:
    """A shop's database."""

    url: str

    def run(self, script: str) -> None:
        with dbapi.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()

    def order(self, order_id: str, updated_at: str, **more: str) -> None:
        names = ["order_id", "updated_at", *more]
        values = [f"'{order_id}'", updated_at, *more.values()]
        self.run(f"INSERT INTO shop.orders ({', '.join(names)}) VALUES ({', '.join(values)})")


def read(table: Table, first: date, last: date | None = None, calendar: Calendar = UTC_FROM_2017) -> pl.DataFrame:
    found = list(read_versions(table, Window(first, last or first, calendar)))
    frame = pl.concat([batch.rows for batch in found])
    assert {batch.in_window for batch in found} == {frame.height}
    return frame


def ids(first: date, last: date | None = None, calendar: Calendar = UTC_FROM_2017) -> list[str]:
    return sorted(read(RAW_ORDERS, first, last, calendar)["order_id"])
