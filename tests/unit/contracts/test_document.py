"""Contracts as plain data."""

import json

from orders_lakehouse.contracts.document import demands, document, documents
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.tables import QUARANTINE_OF, TABLES


def test_every_table_is_described_with_all_its_columns() -> None:
    described = documents(TABLES)
    assert list(described) == [table.path for table in TABLES]
    for table in TABLES:
        assert list(described[table.path]["columns"]) == table.columns
    assert json.loads(json.dumps(described)) == described


def test_contract_says_its_types_units_and_rules() -> None:
    lines = document(ORDER_ITEMS)
    assert lines["columns"]["total_price"] == {
        "type": "Decimal(precision=18, scale=4)",
        "nullable": True,
        "description": "quantity * unit_price - discount, rounded half away from zero to the currency's minor unit",
        "unit": "currency of the order",
        "personal": False,
    }
    assert lines["rules"]["quantity_not_positive"] == "quantity is greater than 0"
    assert lines["rules"]["order_unknown"] == "The order has been captured."


def test_columns_beside_the_contract_are_described_too() -> None:
    rejected = document(QUARANTINE_OF["orders"])
    assert rejected["description"] == "Versions of orders that break a rule, in their original form."
    assert rejected["columns"]["reasons"]["nullable"]
    columns = [column for described in documents(TABLES).values() for column in described["columns"].values()]
    assert [column for column in columns if not column["description"]] == []


def test_demands_are_listed_by_column() -> None:
    orders = demands(ORDERS)
    assert orders["status"] == {
        "status_missing": "present",
        "status_not_in_list": "one of placed, paid, shipped, delivered, cancelled, returned",
    }
    # Two rules of one reason: the wider one says it.
    assert orders["order_id"] == {"order_id_missing": "present and not blank"}
    assert orders[None]["ordered_at_in_future"] == "ordered_at is at most one day after updated_at."


def test_contract_page_says_what_happens_to_broken_rows() -> None:
    rules = document(ORDERS)["rules"]
    assert rules["status_not_in_list"].endswith("cancelled, returned")
    assert rules["shipped_at_out_of_range"].endswith("infinity is not. (else shipped_at null, and a warning)")
    assert rules["shipped_before_ordered"] == "shipped_at is not before ordered_at. (else a warning)"


def test_contract_page_lists_accepted_codes_and_their_source() -> None:
    codes = document(ORDERS)["codes"]["currency"]
    assert codes["JPY"] == "0 decimals"
    assert codes["HRK"] == "2 decimals from 1994-05-30 to 2023-01-14"
    assert codes["RMB"] == "as CNY"
    assert "ZZZ" not in codes
