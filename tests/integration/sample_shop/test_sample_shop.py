from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.sample_shop import sample
from orders_lakehouse.sample_shop.as_of import move, moved
from orders_lakehouse.sample_shop.complete_journey import CompleteJourney, read_complete_journey
from orders_lakehouse.sample_shop.sample import build_shop, load_sample_shop

pytestmark = pytest.mark.either_engine

UrlFactory = Callable[[str], str]

SCHEMA = resources.files("orders_lakehouse.sample_shop").joinpath("schema.sql").read_text()
ONE_CUSTOMER = "INSERT INTO shop.customers (customer_id, updated_at) VALUES ('theirs', now());"
UNKNOWN_PRODUCT = """
    SELECT count(*)
    FROM shop.order_items
    LEFT JOIN shop.products USING (product_id)
    WHERE products.product_id IS NULL
"""

WRONG_PAYMENTS = """
    WITH lines AS (
        SELECT order_id, quantity, round(quantity * unit_price - discount, 2) AS total_price
        FROM shop.order_items
    ),

    orders AS (
        SELECT order_id, coalesce(sum(total_price) FILTER (WHERE quantity > 0 AND total_price >= 0), 0) AS amount
        FROM lines
        GROUP BY order_id
    )

    SELECT count(*)
    FROM shop.payments
    LEFT JOIN orders USING (order_id)
    WHERE payments.amount IS DISTINCT FROM orders.amount
"""


def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def one(url: str, query: str) -> Any:
    return rows_of(url, query)[0][0]


@pytest.fixture(scope="module")
def few_households() -> CompleteJourney:
    journey = read_complete_journey()
    return CompleteJourney(
        journey.transactions.filter(pl.col("household_id") <= 20), journey.products.head(1_000), journey.demographics
    )


@pytest.mark.thorough
@pytest.mark.slow
def test_whole_sample_is_loaded_once(postgres_url_factory: UrlFactory) -> None:
    url = postgres_url_factory("sample_shop")
    told: list[str] = []

    loaded = load_sample_shop(url, report=told.append)

    payments = loaded.pop("payments")
    assert loaded == {
        **{"customers": 2_469, "products": 92_331, "orders": 155_848, "order_items": 1_469_307},
        **{"warehouses": 4, "shipments": 8_900, "shipment_items": 72_599},
    }
    assert payments > 155_848
    assert one(url, "SELECT count(*) FROM shop.order_items WHERE quantity = 0") == 8_869
    assert one(url, WRONG_PAYMENTS) == 0
    assert one(url, UNKNOWN_PRODUCT) == 4_836
    for table in (*loaded, "payments"):
        latest = one(url, f"SELECT max(updated_at) FROM shop.{table}")
        assert latest <= datetime(2018, 1, 2, tzinfo=UTC), table
    analyzed = (
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r' AND reltuples > 0"
    )
    assert one(url, analyzed) == 5

    assert load_sample_shop(url, report=told.append) == {**loaded, "payments": payments}
    assert "1,469,307 order_items" in told[0]
    assert "left alone" in told[1]


def test_moved_shop_knows_nothing_of_the_date_and_later(few_households: CompleteJourney) -> None:
    recorded = build_shop(few_households)
    as_of = date(2026, 12, 1)
    shop = build_shop(few_households, as_of=as_of)
    midnight = datetime(2026, 12, 1, tzinfo=UTC)
    for table, frame in shop.items():
        assert frame.schema == recorded[table].schema
        latest = frame.select(pl.max_horizontal(cs.datetime().max())).item()
        assert latest < midnight, table
    # What had happened by then is the same, and what had not is missing.
    by = midnight - move(as_of)
    before = recorded["orders"].filter(pl.col("updated_at") < by)
    assert before.height > 1_000
    assert moved(before, as_of).rows() == shop["orders"].filter(pl.col("order_id").is_in(before["order_id"])).rows()
    assert shop["orders"].height == recorded["orders"].filter(pl.col("ordered_at") < by).height
    assert shop["products"].drop("updated_at").equals(recorded["products"].drop("updated_at"))


def test_frames_have_the_columns_of_the_tables(
    few_households: CompleteJourney, postgres_url_factory: UrlFactory
) -> None:
    url = postgres_url_factory("sample_columns")
    shop = build_shop(few_households)
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(SCHEMA)
        connection.commit()
    for table, frame in shop.items():
        columns = rows_of(
            url,
            "SELECT column_name FROM information_schema.columns "
            f"WHERE table_schema = 'shop' AND table_name = '{table}' ORDER BY ordinal_position",
        )
        assert frame.columns == [name for (name,) in columns], table


def test_copies_of_the_shop_have_own_customers_and_same_products(
    few_households: CompleteJourney, postgres_url_factory: UrlFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = build_shop(few_households)
    monkeypatch.setattr(sample, "build_shop", lambda **_: shop)
    url = postgres_url_factory("sample_copies")

    loaded = load_sample_shop(url, copies=3)

    assert loaded == {
        table: frame.height * (1 if table in ("products", "warehouses") else 3) for table, frame in shop.items()
    }
    assert one(url, WRONG_PAYMENTS) == 0
    by_copy = """
        SELECT split_part(order_id, '-', 2), split_part(customer_id, '-', 2),
            count(*), count(customers.full_name), sum(quantity * unit_price - discount)
        FROM shop.orders
        LEFT JOIN shop.customers USING (customer_id)
        LEFT JOIN shop.order_items USING (order_id)
        GROUP BY 1, 2 ORDER BY 1
    """
    first, second, third = rows_of(url, by_copy)
    assert [found[:2] for found in (first, second, third)] == [("", ""), ("2", "2"), ("3", "3")]
    assert first[2:] == second[2:] == third[2:]
    assert first[2] == first[3] == shop["order_items"].height
    assert one(url, UNKNOWN_PRODUCT) == 3 * one(url, f"{UNKNOWN_PRODUCT} AND order_id NOT LIKE '%-%'")


def test_two_loaders_at_once_load_it_once(
    few_households: CompleteJourney, postgres_url_factory: UrlFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_url_factory("sample_race")
    shop = build_shop(few_households)
    monkeypatch.setattr(sample, "build_shop", lambda **_: shop)
    told: list[str] = []

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: load_sample_shop(url, report=told.append), range(4)))

    assert counts == [{table: frame.height for table, frame in shop.items()}] * 4
    assert sum("left alone" in line for line in told) == 3


def test_load_that_fails_leaves_nothing_behind(
    few_households: CompleteJourney, postgres_url_factory: UrlFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_url_factory("sample_fails")
    shop = build_shop(few_households)
    twice = pl.concat([shop["payments"], shop["payments"]])
    monkeypatch.setattr(sample, "build_shop", lambda **_: {**shop, "payments": twice})

    with pytest.raises(dbapi.Error, match="payments_pkey"):
        load_sample_shop(url)

    assert one(url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'shop'") == 0


def test_shop_with_rows_but_no_orders_is_refused(postgres_url_factory: UrlFactory) -> None:
    url = postgres_url_factory("sample_refused")
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(SCHEMA + ONE_CUSTOMER)
        connection.commit()

    with pytest.raises(ValueError, match=r"Found rows in shop\.customers \(1\)"):
        load_sample_shop(url)

    assert one(url, "SELECT count(*) FROM shop.customers") == 1
    assert one(url, "SELECT count(*) FROM shop.products") == 0
