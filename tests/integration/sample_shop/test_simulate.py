"""A shop that lives: the same shop lives on in the same way, and all that can happen happens."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime

import psycopg2
import pytest

from orders_lakehouse.sample_shop import simulate as simulation
from orders_lakehouse.sample_shop.simulate import simulate
from tests.support.lakehouse import SHOP_SCHEMA, rows_of
from tests.support.simulated_shop import WEEK
from tests.support.terminal import Command

pytestmark = pytest.mark.slow

TABLES = ("customers", "products", "orders", "order_items", "payments")


@pytest.fixture
def shop(postgres_url_factory: Callable[[str], str]) -> Callable[[], str]:
    """Makes a shop after its first week; returns its URL."""

    def make() -> str:
        url = postgres_url_factory("shop")
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute(SHOP_SCHEMA + WEEK)
        return url

    return make


def played(url: str, *days: int, seed: int = 1) -> tuple[list[date], Counter[str], list[str]]:
    """Play so many days, call by call: the days reported, the rows that changed, what stands in the shop then."""
    told: list[date] = []
    changed: Counter[str] = Counter()

    def report(day: date, of_day: Counter[str]) -> None:
        told.append(day)
        changed.update(of_day)

    for count in days:
        simulate(url, count, seed=seed, report=report)
    stands = [row for table in TABLES for (row,) in rows_of(url, f"SELECT t::text FROM shop.{table} AS t ORDER BY 1")]
    return told, changed, stands


def now(url: str) -> datetime:
    instant: datetime = rows_of(url, "SELECT now() AT TIME ZONE 'UTC'")[0][0]
    return instant


def test_same_shop_is_simulated_in_the_same_way(shop: Callable[[], str]) -> None:
    told, _, at_once = played(shop(), 6)
    assert told == [date(2017, 1, day) for day in range(8, 14)]
    assert played(shop(), 2, 4)[2] == at_once
    assert played(shop(), 6, seed=2)[2] != at_once


def test_every_kind_of_event_happens(shop: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    # With a week of orders, what is rare among thousands would not be met.
    often = [(kind, re.sub(r"< 0\.000\d+;", "< 0.01;", statement)) for kind, statement in simulation._statements()]
    monkeypatch.setattr(simulation, "_statements", lambda: often)
    url = shop()
    played(url, 14)

    def count(query: str) -> int:
        return int(rows_of(url, f"SELECT count(*) FROM {query}")[0][0])

    assert 1100 < count("shop.orders WHERE order_id LIKE 'S1-%'") <= 1400
    statuses = dict(rows_of(url, "SELECT status, count(*) FROM shop.orders GROUP BY 1"))
    assert set(statuses) == {"placed", "paid", "shipped", "delivered", "cancelled", "returned"}
    assert {status for (status,) in rows_of(url, "SELECT status FROM shop.payments")} == {"captured", "refunded"}
    without_lines = "NOT EXISTS (SELECT FROM shop.order_items WHERE order_id = orders.order_id)"
    assert count(f"shop.orders WHERE {without_lines}") > 0
    assert count("shop.order_items AS i WHERE NOT EXISTS (SELECT FROM shop.orders WHERE order_id = i.order_id)") > 0
    assert count("shop.orders WHERE customer_id IS NULL") > 0
    assert count("shop.customers WHERE customer_id LIKE 'S1-%'") > 0
    assert count("shop.customers WHERE updated_at > '2017-01-08' AND customer_id LIKE 'c%'") > 0
    assert count("shop.products WHERE updated_at > '2017-01-08'") > 0
    assert count("shop.orders WHERE deleted_at IS NOT NULL") > 0
    # The clock moves with every change, and never into what has not happened yet.
    assert count("shop.orders WHERE updated_at >= '2017-01-22 00:01'") == 0


def test_shop_without_orders_or_without_time_is_refused(
    shop: Callable[[], str], postgres_url_factory: Callable[[str], str]
) -> None:
    url = shop()
    with pytest.raises(ValueError, match=r"100000 days after that have not begun yet: expected at most \d+"):
        played(url, 100_000)
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE shop.orders")
    for without_orders in (url, postgres_url_factory("without_tables")):
        with pytest.raises(ValueError, match="found no orders"):
            simulate(without_orders, 1, report=lambda *_: None)


def test_day_that_is_not_over_is_simulated_until_now(shop: Callable[[], str]) -> None:
    url = shop()
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        # The last order was placed twelve hours ago; somebody has just edited a row.
        cursor.execute("""
            CREATE TEMP TABLE moved AS
                SELECT date_trunc('second', now() - interval '12 hours' - max(ordered_at)) AS by FROM shop.orders;
            UPDATE shop.orders SET ordered_at = ordered_at + by, updated_at = updated_at + by FROM moved;
            UPDATE shop.order_items SET updated_at = updated_at + by FROM moved;
            UPDATE shop.customers SET updated_at = now() WHERE customer_id = 'c1'
        """)
    reported, _, _ = played(url, 1)
    assert reported == [now(url).date()]
    # An order every fourteen minutes, like seven hours of a week ago.
    new = "FROM shop.orders WHERE order_id LIKE 'S1-%'"
    assert 26 <= rows_of(url, f"SELECT count(*) {new}")[0][0] <= 32
    assert rows_of(url, f"SELECT count(*) {new} AND updated_at > now()") == [(0,)]
    with pytest.raises(ValueError, match="2 days after that have not begun yet: expected at most 1"):
        played(url, 2)


def test_foreign_shop_is_left_alone(command: Command, shop: Callable[[], str]) -> None:
    url = shop()
    before = rows_of(url, "SELECT count(*) FROM shop.orders")
    status, _, errors = command("shop", "simulate", "--days", "1", SHOP_DATABASE_URL=url)
    assert status == 1
    assert "expected the embedded shop" in errors
    assert rows_of(url, "SELECT count(*) FROM shop.orders") == before
