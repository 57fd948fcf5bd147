"""Compare the cost of the same rows in a lakehouse of their dates, and in one that begins long before them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from importlib import resources
from typing import Any

from adbc_driver_postgresql import dbapi

from bench.changes import execute
from bench.run import Bench

# Number of dates with orders, and number of empty dates before them.
_DATES, _EMPTY = 700, 9_300
_FIRST = date(2025, 1, 1)
# Number of orders for a hundred thousand rows: an order has two or three lines and a payment.
_ORDERS = 20_000
_SHOP = (
    "INSERT INTO shop.products SELECT 'p' || n, 'Tea ' || n, 'Food', 'Maker', 3, 'EUR', '{first} 09:00+00', null "
    "FROM generate_series(1, 200) AS n",
    "INSERT INTO shop.customers (customer_id, full_name, country_code, updated_at) "
    "SELECT 'c' || n, 'N ' || n, 'US', '{first} 09:00+00' FROM generate_series(1, 2000) AS n",
    "INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) "
    "SELECT 'o' || n, 'c' || (n % 2000 + 1), at, 'paid', 'EUR', at FROM generate_series(0, {orders} - 1) AS n, LATERAL "
    "(SELECT timestamptz '{first} 10:00+00' + (n % {dates}) * interval '1 day' + n / {dates} * interval '1 minute'"
    " AS at)",
    "INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at) "
    "SELECT order_id, line, 'p' || (hashtext(order_id) & 127) + line, 1, 3, 0, updated_at "
    "FROM shop.orders, generate_series(1, 3) AS line WHERE line < 3 OR hashtext(order_id) % 2 = 0",
    "INSERT INTO shop.payments (payment_id, order_id, method, amount, currency, status, updated_at) "
    "SELECT 'y' || order_id, order_id, 'card', 6, 'EUR', 'captured', updated_at FROM shop.orders",
)


def empty_dates(bench: Bench, runs: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Build the same shop with and without earlier dates, in turns.

    Args:
        bench: A lakehouse on the server; the builds use separate lakes and warehouses.
        runs: Number of builds of each.
        say: Called with a line after each run.

    Returns:
        For `own dates` and `empty dates before`: from, to (dates), partitions, `runs`, a list of
        `bench.measure.numbers`.
    """
    last = _FIRST + timedelta(days=_DATES - 1)
    url = _shop(bench)
    lakehouses = {
        name: replace(bench, shop_url=url, start=_FIRST - timedelta(days=empty), beside=beside)
        for name, empty, beside in (("own dates", 0, "_own_dates"), ("empty dates before", _EMPTY, "_empty_dates"))
    }
    works: dict[str, dict[str, Any]] = {
        name: {
            "from": str(lakehouse.start),
            "to": str(last),
            "partitions": (last - (lakehouse.start or last)).days + 1,
            "runs": [],
        }
        for name, lakehouse in lakehouses.items()
    }
    for number in range(1, runs + 1):
        for name, lakehouse in lakehouses.items():
            lakehouse.empty()
            run = lakehouse.backfill(lakehouse.start or last, last)
            works[name]["runs"].append(run)
            say(f"  run {number} of {runs}, {works[name]['partitions']:,} partitions: {run['seconds']:.1f} s")
    return works


def _shop(bench: Bench) -> str:
    execute(bench.url("postgres"), "CREATE DATABASE shop_of_few_dates")
    url = bench.url("shop_of_few_dates")
    schema = resources.files("orders_lakehouse.sample_shop").joinpath("schema.sql").read_text()
    filled = (statement.format(first=_FIRST, dates=_DATES, orders=_ORDERS) for statement in _SHOP)
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executescript(schema)
    execute(url, *filled, "VACUUM ANALYZE")
    return url
