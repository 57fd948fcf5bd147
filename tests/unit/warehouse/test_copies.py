"""What a copy demands of its rows."""

from collections.abc import Callable
from typing import Any

import pytest

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.tables import RAW_OF
from orders_lakehouse.warehouse.copies import COPIES
from tests.support.calendars import calendar_in
from tests.support.frames import collected, on_polars
from tests.support.judging import cleanse_customers, cleanse_products
from tests.support.rows import at, rows

COPY = {copy.name: copy for copy in COPIES}


@pytest.mark.parametrize(
    ("table", "cleanse"),
    [(CUSTOMERS, lambda versions: cleanse_customers(versions, calendar_in("UTC"))), (PRODUCTS, cleanse_products)],
    ids=["customers", "products"],
)
def test_copy_takes_deleted_rows_whatever_they_lack(table: Table, cleanse: Callable[..., Any]) -> None:
    """Raw says what may be missing; a deleted row of it is cleansed without being judged."""
    raw = RAW_OF[table.name]
    nullable = [name for name, column in raw.model.to_schema().columns.items() if column.nullable]
    tombstone = rows(raw, {**dict.fromkeys(nullable), "deleted_at": at("2020-03-02 12:00")})
    good, bad = map(collected, cleanse(on_polars(tombstone)))
    assert (good.height, bad.height) == (1, 0)
    missing = {name for name in good.columns if good[name].null_count()}
    assert {table.key[0], "updated_at"} < missing
    demanded = {name for name, kind in COPY[table.name].columns.items() if kind.endswith("NOT NULL")}
    assert demanded & missing == set()
    assert demanded == set(COPY[table.name].types) - missing


def test_copy_without_deleted_rows_demands_like_its_contract() -> None:
    demanded = {name for name, kind in COPY["order_lines"].columns.items() if kind.endswith("NOT NULL")}
    required = {name for name, column in ORDER_LINES.model.to_schema().columns.items() if not column.nullable}
    assert demanded == required & set(COPY["order_lines"].types)
    assert COPY["payments"].columns["order_id"] == "text NOT NULL"
