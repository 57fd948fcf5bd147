"""Contracts as plain data."""

import json

from orders_lakehouse.contracts.document import document, documents
from orders_lakehouse.contracts.tables import ORDER_ITEMS, QUARANTINE_OF, TABLES


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
    assert document(QUARANTINE_OF["orders"])["columns"]["reasons"]["nullable"]
