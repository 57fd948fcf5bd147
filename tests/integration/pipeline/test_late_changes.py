"""What changes after it was first captured: moved, added, corrected, deleted, undeleted, or late to arrive."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from orders_lakehouse.pipeline.row_accounting import accounts
from orders_lakehouse.tables import CLEANSED
from tests.integration.conftest import Lakehouse, failures

pytestmark = pytest.mark.slow

FIRST, LAST = "2017-01-01", "2017-01-10"
RAW = "group:raw"
IN_THE_LAKE = "group:raw or group:cleansed or group:curated"
ALL_BUT_FACTS = "not (key:marts/fct_orders or key:marts/fct_order_lines)"
AFTER_RAW = "group:cleansed or group:curated"

SHOP = """
INSERT INTO shop.customers (customer_id, full_name, address, city, country_code, updated_at) VALUES
  ('ca', 'Ada', 'Old Street 1', 'London', 'GB', '2016-12-15'),
  ('cb', 'Bea', 'Via 2', 'Rome', 'IT', '2017-01-02 09:00+00');
INSERT INTO shop.products VALUES
  ('px', 'Tea', 'Food', 'Maker', 3.00, 'EUR', '2016-12-15', null),
  ('py', 'Cup', 'Ware', 'Maker', 8.00, 'EUR', '2017-01-03 08:00+00', null);
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
  ('moves', 'ca', '2017-01-02 10:00+00', 'paid', 'EUR', '2017-01-02 10:00+00'),
  ('gets an item', 'cu', '2017-01-02 11:00+00', 'placed', 'EUR', '2017-01-02 11:00+00'),
  ('payer', 'cb', '2017-01-02 12:00+00', 'paid', 'EUR', '2017-01-02 12:00+00'),
  ('corrected', 'cb', '2017-01-03 10:00+00', 'placed', 'EUR', '2017-01-03 10:00+00'),
  ('deleted', 'ca', '2017-01-03 11:00+00', 'paid', 'EUR', '2017-01-03 11:00+00'),
  ('corrected quietly', 'ca', '2017-01-03 12:00+00', 'placed', 'EUR', '2017-01-03 12:00+00'),
  ('alone on its day', 'ca', '2017-01-04 09:00+00', 'paid', 'EUR', '2017-01-04 09:00+00'),
  ('before the move', 'ca', '2017-01-05 08:00+00', 'paid', 'EUR', '2017-01-05 08:00+00'),
  ('after the move', 'ca', '2017-01-05 18:00+00', 'paid', 'EUR', '2017-01-05 18:00+00'),
  ('loses its line', 'cb', '2017-01-05 10:00+00', 'paid', 'EUR', '2017-01-05 10:00+00'),
  ('paid after all', 'cb', '2017-01-05 12:00+00', 'placed', 'EUR', '2017-01-05 12:00+00'),
  ('spoilt', 'ca', '2017-01-06 10:00+00', 'placed', 'EUR', '2017-01-06 10:00+00'),
  ('dated later', 'cb', null, 'placed', 'EUR', '2017-01-04 10:00+00'),
  ('loses its date', 'cb', '2017-01-06 11:00+00', 'placed', 'EUR', '2017-01-06 11:00+00');
INSERT INTO shop.order_items VALUES
  ('moves', 1, 'px', 1, 3.0000, 0, '2017-01-02 10:00+00', null),
  ('gets an item', 1, 'px', 2, 3.0000, 0, '2017-01-02 11:00+00', null),
  ('payer', 1, 'py', 1, 8.0000, 0.5, '2017-01-02 12:00+00', null),
  ('corrected', 1, 'py', 1, 8.0000, 0, '2017-01-03 10:00+00', null),
  ('corrected', 2, 'py', 0, 8.0000, 0, '2017-01-03 10:00+00', null),
  ('deleted', 1, 'px', 4, 3.0000, 0, '2017-01-03 11:00+00', null),
  ('corrected quietly', 1, 'px', 5, 3.0000, 0, '2017-01-03 12:00+00', null),
  ('alone on its day', 1, 'px', 6, 3.0000, 0, '2017-01-04 09:00+00', null),
  ('before the move', 1, 'px', 7, 3.0000, 0, '2017-01-05 08:00+00', null),
  ('after the move', 1, 'px', 8, 3.0000, 0, '2017-01-05 18:00+00', null),
  ('loses its line', 1, 'px', 9, 3.0000, 0, '2017-01-05 10:00+00', null),
  ('spoilt', 1, 'px', 10, 3.0000, 0, '2017-01-06 10:00+00', null),
  ('dated later', 1, 'px', 12, 3.0000, 0, '2017-01-04 10:00+00', null),
  ('loses its date', 1, 'px', 13, 3.0000, 0, '2017-01-06 11:00+00', null),
  ('comes later', 1, 'py', 11, 8.0000, 0, '2017-01-03 07:00+00', null);
INSERT INTO shop.payments VALUES
  ('y moves', 'moves', 'card', 3, 'EUR', 'captured', '2017-01-02 10:00+00', '2017-01-02 10:00+00', null),
  ('y wanders', 'payer', 'cash', 7.5, 'EUR', 'captured', '2017-01-02 12:00+00', '2017-01-02 12:00+00', null),
  ('y deleted', 'deleted', 'card', 12, 'EUR', 'captured', '2017-01-03 11:00+00', '2017-01-03 11:00+00', null),
  ('y is lost', 'corrected', 'card', 8, 'EUR', 'captured', null, '2017-01-03 10:00+00', null),
  ('y comes later', 'comes later', 'paypal', 88, 'EUR', 'captured', null, '2017-01-06 07:00+00', null);
"""

# Clocks move as a shop moves them; where one does not, the row was committed late or corrected without a trace.
CHANGES = """
UPDATE shop.orders SET ordered_at = '2017-01-05 07:00+00', updated_at = '2017-01-08 10:00+00' WHERE order_id = 'moves';
UPDATE shop.orders SET ordered_at = '2017-01-06 09:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'alone on its day';
INSERT INTO shop.order_items VALUES ('gets an item', 2, 'py', 1, 8.0000, 1, '2017-01-08 10:00+00', null);
UPDATE shop.order_items SET quantity = 3, updated_at = '2017-01-08 10:00+00' WHERE order_id = 'corrected';
UPDATE shop.orders SET deleted_at = '2017-01-08 10:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'deleted';
UPDATE shop.order_items SET deleted_at = '2017-01-08 10:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'loses its line';
UPDATE shop.payments SET order_id = 'paid after all', updated_at = '2017-01-08 10:00+00' WHERE payment_id = 'y wanders';
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
  ('comes later', 'cb', '2017-01-01 20:00+00', 'paid', 'EUR', '2017-01-08 10:00+00');
UPDATE shop.orders SET currency = 'EURO', updated_at = '2017-01-08 10:00+00' WHERE order_id = 'spoilt';
UPDATE shop.orders SET ordered_at = '2017-01-02 13:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'dated later';
UPDATE shop.orders SET ordered_at = null, updated_at = '2017-01-08 10:00+00' WHERE order_id = 'loses its date';
UPDATE shop.payments SET order_id = null, updated_at = '2017-01-08 10:00+00' WHERE payment_id = 'y is lost';
UPDATE shop.customers SET address = 'New Street 1', updated_at = '2017-01-05 12:00+00' WHERE customer_id = 'ca';
INSERT INTO shop.customers (customer_id, full_name, registered_at, updated_at) VALUES
  ('cu', 'Cleo', '2017-01-01 08:00+00', '2017-01-09 10:00+00');
UPDATE shop.products SET currency = 'XXL', updated_at = '2017-01-09 10:00+00' WHERE product_id = 'px';
UPDATE shop.products SET unit_price = 9.00, updated_at = '2017-01-03 11:30+00' WHERE product_id = 'py';
UPDATE shop.customers SET city = 'Milan' WHERE customer_id = 'cb';
UPDATE shop.orders SET status = 'shipped' WHERE order_id = 'corrected quietly';
UPDATE shop.order_items SET quantity = 50 WHERE order_id = 'corrected quietly';
"""

CHANGES_BACK = """
UPDATE shop.orders SET deleted_at = null, updated_at = '2017-01-10 10:00+00' WHERE order_id = 'deleted';
UPDATE shop.orders SET currency = 'EUR', updated_at = '2017-01-10 10:00+00' WHERE order_id = 'spoilt';
UPDATE shop.order_items SET deleted_at = null, quantity = 1, updated_at = '2017-01-10 10:00+00'
  WHERE order_id = 'loses its line';
"""


def changed(lakehouse: Lakehouse, script: str) -> None:
    lakehouse.shop(script)
    lakehouse.oracle.look()


def ran(lakehouse: Lakehouse, first: str, last: str | None = None, select: str | None = None) -> None:
    result = lakehouse.run(first, last, select=select)
    assert result.success, (first, last, select, failures(result))


def not_accounted_for(lakehouse: Lakehouse) -> dict[str, int]:
    missing = {table.name: accounts(lakehouse.lake, table).missing for table in CLEANSED}
    return {name: count for name, count in missing.items() if count}


def customers_of(lakehouse: Lakehouse, *order_ids: str) -> list[tuple[str, ...]]:
    named = ", ".join(f"'{order_id}'" for order_id in order_ids)
    return lakehouse.warehouse_rows(
        "SELECT f.order_id, f.customer_key, c.customer_name, c.address FROM marts.fct_orders AS f "
        f"JOIN marts.dim_customers AS c USING (customer_key) WHERE f.order_id IN ({named}) ORDER BY f.ordered_at"
    )


def rows_at(lakehouse: Lakehouse, date_id: int) -> list[int]:
    return [
        lakehouse.warehouse_rows(f"SELECT count(*) FROM marts.{fact} WHERE date_id = {date_id}")[0][0]
        for fact in ("fct_orders", "fct_order_lines")
    ]


def test_late_changes_reach_the_marts_and_equal_a_full_refresh(
    lakehouse: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[[str], str]
) -> None:
    changed(lakehouse, SHOP)
    ran(lakehouse, "2017-01-01", "2017-01-06")
    assert lakehouse.wrong_marts() == {}
    assert rows_at(lakehouse, 20170104) == [1, 1]
    inferred = customers_of(lakehouse, "gets an item")
    assert [name for _, _, name, _ in inferred] == [None]

    changed(lakehouse, CHANGES)
    ran(lakehouse, "2017-01-07", "2017-01-09", select=ALL_BUT_FACTS)
    # The customer has registered, and the fact needed no repair.
    assert [(*row[:2], "Cleo", None) for row in inferred] == customers_of(lakehouse, "gets an item")

    ran(lakehouse, "2017-01-01", "2017-01-06", select=IN_THE_LAKE)
    assert lakehouse.wrong_curated() == {}
    assert not_accounted_for(lakehouse) == {}

    changed(lakehouse, CHANGES_BACK)
    ran(lakehouse, "2017-01-10", select=RAW)
    ran(lakehouse, "2017-01-01", "2017-01-06")
    assert lakehouse.wrong_marts() == {}
    assert lakehouse.wrong_curated() == {}
    assert not_accounted_for(lakehouse) == {}
    assert rows_at(lakehouse, 20170104) == [0, 0]
    (old, new) = customers_of(lakehouse, "before the move", "after the move")
    assert (old[2:], new[2:]) == (("Ada", "Old Street 1"), ("Ada", "New Street 1"))
    assert old[1] != new[1]

    with lakehouse.copy_of_raw(tmp_path / "again", postgres_url_factory("warehouse")) as again:
        ran(again, FIRST, LAST, select="not group:raw")
        assert again.wrong_marts() == {}
        assert lakehouse.mart_checksums() == again.mart_checksums()
        assert_same_lake(lakehouse, again)


def assert_same_lake(left: Lakehouse, right: Lakehouse) -> None:
    expected = right.lake_tables()
    for path, rows in left.lake_tables().items():
        assert_frame_equal(rows, expected[path], check_exact=True)


@pytest.fixture
def changed_lakehouse(lakehouse: Lakehouse) -> Lakehouse:
    """A lakehouse that has captured late changes, with the touched dates still to be derived."""
    changed(lakehouse, SHOP)
    ran(lakehouse, "2017-01-01", "2017-01-06", select=IN_THE_LAKE)
    assert lakehouse.wrong_curated() == {}
    changed(lakehouse, CHANGES)
    ran(lakehouse, "2017-01-01", "2017-01-09", select=RAW)
    # A version of a dimension concerns all later dates of its orders: it comes first.
    ran(lakehouse, "2017-01-01", "2017-01-09", select="key:cleansed/customers or key:cleansed/products")
    assert set(lakehouse.wrong_curated()) == {"order_lines", "daily_sales", "customer_profile"}
    return lakehouse


@pytest.mark.thorough
@pytest.mark.parametrize("lakehouse", ["s3"], indirect=True)
def test_late_changes_reach_the_curated_tables_on_s3(changed_lakehouse: Lakehouse) -> None:
    """On disk the next test says so first."""
    ran(changed_lakehouse, FIRST, LAST, select=AFTER_RAW)
    assert changed_lakehouse.wrong_curated() == {}
    assert not_accounted_for(changed_lakehouse) == {}


@pytest.mark.thorough
def test_the_order_in_which_dates_are_derived_does_not_matter(changed_lakehouse: Lakehouse, tmp_path: Path) -> None:
    days = [f"2017-01-0{number}" for number in range(1, 10)]
    shuffled = random.Random(7021994).sample(days, len(days))  # noqa: S311 (an order, not a secret)
    again = changed_lakehouse.copy_of_lake(tmp_path / "full", "raw")
    ran(again, FIRST, LAST, select=AFTER_RAW)
    assert again.wrong_curated() == {}

    for name, ranges in {
        "one_by_one_shuffled": [(one, one) for one in shuffled],
        "some_together_backwards": [(days[5], days[8]), (days[1], days[4]), (days[0], days[0])],
    }.items():
        lakehouse = changed_lakehouse.copy_of_lake(tmp_path / name)
        for first, last in ranges:
            ran(lakehouse, first, last, select=AFTER_RAW)
        assert lakehouse.wrong_curated() == {}, name
        assert not_accounted_for(lakehouse) == {}, name
        assert_same_lake(lakehouse, again)


@pytest.mark.thorough
def test_an_order_that_moved_does_not_stop_the_run_of_its_new_date(lakehouse: Lakehouse) -> None:
    changed(lakehouse, SHOP)
    ran(lakehouse, "2017-01-01", "2017-01-06", select=IN_THE_LAKE)
    changed(
        lakehouse,
        "UPDATE shop.orders SET ordered_at = '2017-01-08 09:00+00', updated_at = '2017-01-08 10:00+00' "
        "WHERE order_id = 'moves'",
    )
    result = lakehouse.run("2017-01-08")
    assert result.success, failures(result)
    assert rows_at(lakehouse, 20170108) == [1, 1]


@pytest.mark.thorough
def test_a_row_that_returns_to_what_it_was_at_an_equal_clock_is_what_the_shop_says(lakehouse: Lakehouse) -> None:
    changed(lakehouse, SHOP)
    for quantity in (5, 50, 5):
        changed(lakehouse, f"UPDATE shop.order_items SET quantity = {quantity} WHERE order_id = 'corrected quietly'")
        ran(lakehouse, "2017-01-01", "2017-01-06", select=IN_THE_LAKE)
    assert lakehouse.wrong_curated() == {}
