"""Contracts as plain data."""

import json

from orders_lakehouse.contracts.document import demands, document, documents
from orders_lakehouse.contracts.tables import ORDER_ITEMS, ORDERS, QUARANTINE_OF, TABLES


def test_every_table_is_described_with_all_its_columns() -> None:
    described = documents()
    assert list(described) == [table.path for table in TABLES]
    for table in TABLES:
        assert list(described[table.path]["columns"]) == table.columns
    assert json.loads(json.dumps(described)) == described


def test_a_contract_says_its_types_units_and_rules() -> None:
    lines = document(ORDER_ITEMS)
    assert lines["columns"]["total_price"] == {
        "type": "Decimal(precision=18, scale=2)",
        "nullable": True,
        "description": "round(quantity * unit_price - discount, 2), half away from zero",
        "unit": "currency of the order",
        "personal": False,
    }
    assert lines["rules"]["quantity_not_positive"] == "quantity is greater than 0"
    assert lines["rules"]["order_unknown"] == "The order has been captured."


def test_columns_beside_the_contract_are_described_too() -> None:
    rejected = document(QUARANTINE_OF["orders"])
    assert rejected["description"] == "Versions of orders that break a rule, as they came."
    assert rejected["columns"]["reasons"]["nullable"]
    columns = [column for described in documents().values() for column in described["columns"].values()]
    assert [column for column in columns if not column["description"]] == []


def test_what_is_demanded_is_told_by_column() -> None:
    orders = demands(ORDERS)
    assert orders["status"] == {
        "status_missing": "present",
        "status_not_in_list": "one of placed, paid, shipped, delivered, cancelled, returned",
    }
    # Two rules of one reason: the wider one says it.
    assert orders["order_id"] == {"order_id_missing": "present and not blank"}
    assert orders[None]["ordered_at_in_future"] == "ordered_at is at most one day after updated_at."
