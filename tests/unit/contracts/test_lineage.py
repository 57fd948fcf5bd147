"""Every column says where it comes from, and what it names is there."""

import pytest

from orders_lakehouse.contracts.lineage import origins
from orders_lakehouse.contracts.table import Origin, Table
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.tables import CLEANSED, CURATED, KEY_DATES, QUARANTINE, TABLES

DERIVED = (KEY_DATES, *CLEANSED, *QUARANTINE, *CURATED)


def test_every_derived_table_names_what_it_is_derived_from() -> None:
    assert [table for table in TABLES if table.upstream] == [table for table in TABLES if table in DERIVED]
    assert [table for table in TABLES if table.computed and table not in DERIVED] == []


@pytest.mark.parametrize("table", DERIVED, ids=lambda table: table.path)
def test_every_column_has_its_origin_or_is_made_here(table: Table) -> None:
    assert list(origins(table)) == table.columns


@pytest.mark.parametrize("table", DERIVED, ids=lambda table: table.path)
def test_every_origin_is_a_column_of_a_table_upstream(table: Table) -> None:
    named = [origin for of_column in origins(table).values() for origin in of_column]
    assert {origin.table for origin in named} == set(table.upstream)
    assert [origin for origin in named if origin.column not in origin.table.columns] == []


@pytest.mark.parametrize("table", DERIVED, ids=lambda table: table.path)
def test_computed_names_are_columns(table: Table) -> None:
    assert [column for column in table.computed if column not in table.columns] == []


def test_column_comes_from_the_first_table_that_has_its_name() -> None:
    lines = origins(ORDER_LINES)
    assert lines["unit_price"] == (Origin(ORDER_ITEMS, "unit_price"),)
    assert lines["currency"] == (Origin(ORDERS, "currency"),)
    assert lines["category"] == (Origin(PRODUCTS, "category"),)


def test_column_that_takes_another_name_keeps_its_origin() -> None:
    assert origins(ORDER_LINES)["order_status"] == (Origin(ORDERS, "status"),)
