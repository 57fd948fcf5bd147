"""A shop that offers a key twice at a time: both rows are captured, the key is told, and neither row counts."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from orders_lakehouse.entities.order_items import ORDER_ITEMS, RAW_ORDER_ITEMS
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.lakehouse import Lakehouse

DAY, NEXT, LATER = "2017-01-02", "2017-01-03", "2017-01-04"
SHOP = f"""
    INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at) VALUES
        ('o1', 1, 'p1', 2, 3, 0, '{DAY}'), ('o2', 1, 'p1', 1, 3, 0, '{NEXT}');
    ALTER TABLE shop.order_items RENAME TO order_items_once;
    CREATE TABLE shop.more (order_id text, quantity integer);
    CREATE VIEW shop.order_items AS SELECT * FROM shop.order_items_once UNION ALL
        SELECT order_id, line_number, product_id, more.quantity, unit_price, discount, updated_at, deleted_at
        FROM shop.order_items_once INNER JOIN shop.more USING (order_id);
"""
SELECTED = 'key:"raw/order_items"'


def said(lakehouse: Lakehouse, date: str) -> Mapping[str, Any]:
    found = latest(lakehouse.lake, asset=RAW_ORDER_ITEMS.path, check_name="key_stands_once")
    return {str(row["date"]): row for row in found.iter_rows(named=True)}[date]


def quantities(lakehouse: Lakehouse) -> list[str]:
    return sorted(lakehouse.lake_rows(RAW_ORDER_ITEMS)["quantity"])


def test_repeated_key_is_captured_once_and_reported_till_fixed(lakehouse: Lakehouse) -> None:
    lakehouse.shop(f"{SHOP}; INSERT INTO shop.more VALUES ('o1', 3)")
    for _ in range(2):
        # It holds nothing back.
        assert lakehouse.run(DAY, NEXT, select=SELECTED).success
        assert quantities(lakehouse) == ["1", "2", "3"]
        found = said(lakehouse, DAY)
        assert (found["passed"], found["severity"], found["detail"]) == (False, "WARN", "o1 / 1 (2 rows)")
        assert found["found"] == "keys that occur more than once: 1"
        assert said(lakehouse, NEXT)["passed"]

    lakehouse.shop("DELETE FROM shop.more")
    assert lakehouse.run(DAY, NEXT, select=SELECTED).success
    assert said(lakehouse, DAY)["passed"]


def test_identical_repeated_row_is_reported(lakehouse: Lakehouse) -> None:
    lakehouse.shop(f"{SHOP}; INSERT INTO shop.more VALUES ('o1', 2)")
    for _ in range(2):
        assert lakehouse.run(DAY, select=SELECTED).success
        assert quantities(lakehouse) == ["2", "2"]
        assert said(lakehouse, DAY)["detail"] == "o1 / 1 (2 rows)"


ORDERS_OF_BOTH = f"""
    INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at) VALUES
        ('o1', '{DAY}', 'paid', 'EUR', '{DAY}'), ('o2', '{DAY}', 'paid', 'EUR', '{DAY}');
"""
DERIVED = 'key:"raw/order_items" or key:"raw/orders" or key:"cleansed/orders" or key:"cleansed/order_items"'


def derived(lakehouse: Lakehouse) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Run all dates: the lines that count with their quantities, and those in quarantine with their reasons."""
    assert lakehouse.run(DAY, LATER, select=DERIVED).success
    counted, rejected = lakehouse.lake_rows(ORDER_ITEMS), lakehouse.lake_rows(QUARANTINE_OF["order_items"])
    return counted.select("order_id", "quantity").rows(), rejected.select("order_id", "reasons").rows()


def test_repeated_key_is_in_quarantine_until_it_comes_once(lakehouse: Lakehouse) -> None:
    lakehouse.shop(f"{SHOP}; {ORDERS_OF_BOTH}; INSERT INTO shop.more VALUES ('o1', 3)")
    twice = ([("o2", Decimal(1))], [("o1", "key_not_unique")])
    assert derived(lakehouse) == twice

    # Both rows stand in raw, and nothing says which of them was meant.
    assert derived(lakehouse) == twice
    lakehouse.shop("DELETE FROM shop.more")
    assert derived(lakehouse) == ([("o1", Decimal(2)), ("o2", Decimal(1))], [])
    lakehouse.shop(f"UPDATE shop.order_items_once SET updated_at = '{LATER}' WHERE order_id = 'o1'")
    assert derived(lakehouse) == ([("o1", Decimal(2)), ("o2", Decimal(1))], [])


def test_key_with_two_equal_rows_counts_once(lakehouse: Lakehouse) -> None:
    lakehouse.shop(f"{SHOP}; {ORDERS_OF_BOTH}; INSERT INTO shop.more VALUES ('o1', 2)")
    assert derived(lakehouse) == ([("o1", Decimal(2)), ("o2", Decimal(1))], [])
