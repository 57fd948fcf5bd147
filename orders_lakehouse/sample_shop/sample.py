"""The sample shop as a whole: its tables as frames, and loaded into Postgres.

What in them is real and what is made up stands in `complete_journey.py`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib import resources
from typing import TYPE_CHECKING

import polars as pl

from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.sample_shop.as_of import RECORDED, moved, snapshot_of
from orders_lakehouse.sample_shop.complete_journey import (
    CompleteJourney,
    baskets,
    order_items,
    products,
    read_complete_journey,
    sale_lines,
)
from orders_lakehouse.sample_shop.households import customers
from orders_lakehouse.sample_shop.order_events import order_events, orders, payments
from orders_lakehouse.sample_shop.shipments import parcels, shipment_items, shipments, warehouses

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

_logger = logging.getLogger(__name__)

_TAKE_LOADER_LOCK = "SELECT pg_advisory_xact_lock(hashtext('orders_lakehouse.sample_shop.sample'));\n"
TABLES = ("customers", "products", "warehouses", "orders", "order_items", "payments", "shipments", "shipment_items")
_COUNT_ROWS = "SELECT " + ", ".join(f"(SELECT count(*) FROM shop.{table}) AS {table}" for table in TABLES)
_ANALYZE = "ANALYZE " + ", ".join(f"shop.{table}" for table in TABLES)

# What tells one copy of the shop from another.
_KEYS = {
    "customers": {"customer_id"},
    "orders": {"order_id", "customer_id"},
    "order_items": {"order_id"},
    "payments": {"payment_id", "order_id"},
    "shipments": {"shipment_id", "order_id"},
    "shipment_items": {"shipment_id", "order_id"},
}


def build_shop(
    journey: CompleteJourney | None = None, *, as_of: date = RECORDED, timezone: str = "UTC"
) -> dict[str, pl.DataFrame]:
    """Build the shop's tables, the same at every call.

    Args:
        journey: what to build them from; the whole data set if not given.
        as_of: date before which the shop ends, a whole number of weeks after it was recorded.
        timezone: zone in which that date begins.

    Returns:
        The frames of `TABLES`, with the columns of `schema.sql`.

    Raises:
        ModuleNotFoundError: the extra `local` is not installed.
    """
    journey = journey or read_complete_journey()
    until = snapshot_of(as_of, timezone)
    # Households and prices come from all lines, so that they do not depend on the date.
    all_lines = sale_lines(journey.transactions)
    lines = all_lines.filter(pl.col("ordered_at") <= until)
    people = customers(baskets(all_lines), journey.demographics).filter(pl.col("registered_at") <= until)
    events = order_events(baskets(lines), until)
    sent = parcels(events, until)
    shop = {
        "customers": people,
        "products": products(journey.products, all_lines),
        "orders": orders(events),
        "order_items": order_items(lines),
        "payments": payments(events),
        "warehouses": warehouses(),
        "shipments": shipments(sent),
        "shipment_items": shipment_items(sent, lines),
    }
    return {table: moved(frame, as_of) for table, frame in shop.items()}


def load_sample_shop(
    url: str,
    *,
    copies: int = 1,
    shop: Mapping[str, pl.DataFrame] | None = None,
    as_of: date = RECORDED,
    timezone: str = "UTC",
    report: Callable[[str], None] = _logger.info,
) -> dict[str, int]:
    """Load the sample shop into a Postgres database, in one transaction, unless it has orders already.

    The tables are created where they are missing. A second loader waits for the first and then finds its orders.

    Args:
        url: of the database.
        copies: how many times the customers stand in it, with their orders, lines and payments. The keys of the second
            copy end in `-2`, and so on; products and warehouses are the same for all.
        shop: what `build_shop` made of a part of the data set; the whole of it if not given.
        as_of: date before which the whole data set ends, as for `build_shop`.
        timezone: zone in which that date begins.
        report: called with a line about the result.

    Returns:
        The rows of each table.

    Raises:
        ModuleNotFoundError: the extra `local` is not installed.
        ValueError: the shop has no orders but rows in another table, so it is not ours to fill.
    """
    schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
        # One script, because `executescript` commits everything before it, and releases a lock that was taken there.
        cursor.executescript(_TAKE_LOADER_LOCK + schema)
        rows = _count_rows(cursor)
        if rows["orders"]:
            connection.commit()
            report(f"The shop has {rows['orders']:,} orders already and was left alone.")
            return rows
        if any(rows.values()):
            found = ", ".join(f"shop.{table} ({count:,})" for table, count in rows.items() if count)
            raise ValueError(
                f"Found rows in {found}, but none in shop.orders: expected an empty shop to load the sample into. "
                "Give another database, or empty the tables of the schema `shop` first."
            )
        for table, frame in (shop or build_shop(as_of=as_of, timezone=timezone)).items():
            cursor.adbc_ingest(table, frame, mode="append", db_schema_name="shop")
            if copies > 1 and table in _KEYS:
                cursor.execute(_copy(table, frame.columns, copies))
        rows = _count_rows(cursor)
        cursor.execute(_ANALYZE)
        connection.commit()
    report("Loaded the sample shop: " + ", ".join(f"{count:,} {table}" for table, count in rows.items()) + ".")
    return rows


def _copy(table: str, columns: Sequence[str], copies: int) -> str:
    """Return a statement that appends the second and all further copies of a table, in the order of change clocks."""
    values = ", ".join(f"{name} || '-' || copy" if name in _KEYS[table] else name for name in columns)
    return (
        f"INSERT INTO shop.{table} ({', '.join(columns)}) SELECT {values} "
        f"FROM shop.{table} CROSS JOIN generate_series(2, {copies}) AS copy ORDER BY updated_at"
    )


def _count_rows(cursor: "Cursor") -> dict[str, int]:
    cursor.execute(_COUNT_ROWS)
    counts = cursor.fetch_arrow_table().to_pylist()[0]
    return {str(table): int(count) for table, count in counts.items()}
