"""Load the shop that both sides read: two weeks of some real households, and every edge case of the contracts."""

from datetime import date, datetime

import polars as pl

from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.sample_shop.complete_journey import CompleteJourney, read_complete_journey
from orders_lakehouse.sample_shop.edge_cases import edge_cases
from orders_lakehouse.sample_shop.sample import build_shop, load_sample_shop

# First and last capture date: orders are placed for two weeks, and delivered within four more.
FIRST, LAST = date(2017, 1, 1), date(2017, 2, 14)
_UNTIL = datetime(2017, 1, 15)  # noqa: DTZ001 (as in the data set)
_HOUSEHOLDS = 400


def load(url: str) -> None:
    """Fill an empty database with the shop."""
    journey = read_complete_journey()
    sold = journey.transactions.filter(pl.col("household_id") <= _HOUSEHOLDS, pl.col("transaction_timestamp") < _UNTIL)
    products = journey.products.join(sold, on="product_id", how="semi")
    load_sample_shop(url, shop=build_shop(CompleteJourney(sold, products, journey.demographics)))
    with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(edge_cases())
        # The capture date of a clock in the future depends on the day of the run.
        for table in ("customers", "products", "orders", "order_items", "payments"):
            cursor.execute(f"DELETE FROM shop.{table} WHERE updated_at > now()")
        connection.commit()
