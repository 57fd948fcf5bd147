"""Rows of the lake's tables, valid unless a test says otherwise."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from orders_lakehouse.contracts.table import Table


def at(text: str) -> datetime:
    """Return an instant, in UTC unless the text has an offset."""
    instant = datetime.fromisoformat(text)
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def on(text: str) -> date:
    """A date."""
    return date.fromisoformat(text)


_CAPTURED = {"captured_on": on("2020-03-02"), "captured_at": at("2020-03-02 13:00")}
_FOUND = {"change": "clock", "sequence": 0, "namespace": "shop"}
_RAW = {
    "updated_at": at("2020-03-02 12:00"),
    "deleted_at": None,
    **_CAPTURED,
    "run_id": "run",
    "source": "shop",
    **_FOUND,
}
_JUDGED = {"is_deleted": False, "versions": 1, "candidates": 1, "warnings": None}
_CLEANSED = {**_JUDGED, "updated_at": at("2020-03-02 12:00"), **_CAPTURED}
_OF_ORDER = {**_CLEANSED, "order_date": on("2020-03-02"), "order_state": "valid", "order_currency": "EUR"}

VALID: Mapping[str, Mapping[str, Any]] = {
    "raw/customers": {
        **_RAW,
        "customer_id": "c1",
        "full_name": "Ada Lovelace",
        "email": "ada@example.org",
        "date_of_birth": on("1990-12-10"),
        "registered_at": at("2019-05-01 08:00"),
        "address": "Main Street 1",
        "city": "London",
        "state": None,
        "postal_code": "N1",
        "country_code": "GB",
    },
    "raw/products": {
        **_RAW,
        "product_id": "p1",
        "product_name": "Tea",
        "category": "Food",
        "manufacturer": "Maker",
        "unit_price": "3.50",
        "currency": "EUR",
    },
    "raw/orders": {
        **_RAW,
        "order_id": "o1",
        "customer_id": "c1",
        "ordered_at": at("2020-03-02 10:00"),
        "status": "paid",
        "currency": "EUR",
        "shipped_at": None,
        "delivered_at": None,
    },
    "raw/order_items": {
        **_RAW,
        "order_id": "o1",
        "line_number": 1,
        "product_id": "p1",
        "quantity": "2",
        "unit_price": "3.5000",
        "discount": "0.50",
    },
    "raw/payments": {
        **_RAW,
        "payment_id": "y1",
        "order_id": "o1",
        "method": "card",
        "amount": "6.50",
        "currency": "EUR",
        "status": "captured",
        "paid_at": at("2020-03-02 10:05"),
    },
    "raw/warehouses": {**_RAW, "code": "W1", "name": "North", "city": "Kiel", "country_code": "DE"},
    "raw/shipments": {
        **_RAW,
        "shipment_id": "s1",
        "order_id": "o1",
        "warehouse_code": "W1",
        "carrier": "Northline",
        "service": "standard",
        "tracking_number": "T1",
        "shipped_at": at("2020-03-02 11:00"),
        "delivered_at": None,
        "cost": "4.90",
        "currency": "EUR",
        "status": "shipped",
    },
    "raw/shipment_items": {**_RAW, "shipment_id": "s1", "order_id": "o1", "line_number": 1, "quantity": "2"},
    "raw/key_dates": {
        "table_name": "orders",
        "key": "o1",
        "order_id": "o1",
        "captured_on": on("2020-03-02"),
        "order_date": on("2020-03-02"),
    },
    "raw/calendar": {
        "date": on("2020-03-02"),
        "begins_at": at("2020-03-02 00:00"),
        "zone_data": "2020a",
        "is_holiday": False,
        "holiday_name": None,
        "holidays_country": "US",
        "holidays_data": "0.109",
    },
    "cleansed/customers": {
        **_CLEANSED,
        "customer_id": "c1",
        "full_name": "Ada Lovelace",
        "email": "ada@example.org",
        "date_of_birth": on("1990-12-10"),
        "registered_at": at("2019-05-01 08:00"),
        "registration_date": on("2019-05-01"),
        "address": "Main Street 1",
        "city": "London",
        "state": None,
        "postal_code": "N1",
        "country_code": "GB",
    },
    "cleansed/products": {
        **_CLEANSED,
        "product_id": "p1",
        "product_name": "Tea",
        "category": "Food",
        "manufacturer": "Maker",
        "unit_price": Decimal("3.50"),
        "currency": "EUR",
    },
    "cleansed/orders": {
        **_CLEANSED,
        "order_id": "o1",
        "order_date": on("2020-03-02"),
        "customer_id": "c1",
        "ordered_at": at("2020-03-02 10:00"),
        "business_date": on("2020-03-02"),
        "status": "paid",
        "currency": "EUR",
        "shipped_at": None,
        "delivered_at": None,
    },
    "cleansed/order_items": {
        **_OF_ORDER,
        "order_id": "o1",
        "line_number": 1,
        "product_id": "p1",
        "quantity": Decimal(2),
        "unit_price": Decimal("3.5000"),
        "discount": Decimal("0.50"),
        "total_price": Decimal("6.50"),
    },
    "cleansed/payments": {
        **_OF_ORDER,
        "payment_id": "y1",
        "order_id": "o1",
        "method": "card",
        "amount": Decimal("6.50"),
        "currency": "EUR",
        "status": "captured",
        "paid_at": at("2020-03-02 10:05"),
    },
    "cleansed/warehouses": {**_CLEANSED, "code": "W1", "name": "North", "city": "Kiel", "country_code": "DE"},
    "cleansed/shipments": {
        **_OF_ORDER,
        "shipment_id": "s1",
        "order_id": "o1",
        "warehouse_code": "W1",
        "carrier": "Northline",
        "service": "standard",
        "tracking_number": "T1",
        "shipped_at": at("2020-03-02 11:00"),
        "delivered_at": None,
        "cost": Decimal("4.90"),
        "currency": "EUR",
        "status": "shipped",
    },
    "cleansed/shipment_items": {
        **_OF_ORDER,
        "shipment_id": "s1",
        "order_id": "o1",
        "line_number": 1,
        "quantity": Decimal(2),
    },
    "curated/order_lines": {
        "order_id": "o1",
        "line_number": 1,
        "order_date": on("2020-03-02"),
        "ordered_at": at("2020-03-02 10:00"),
        "order_status": "paid",
        "customer_id": "c1",
        "customer_name": "Ada Lovelace",
        "customer_city": "London",
        "customer_country_code": "GB",
        "product_id": "p1",
        "product_name": "Tea",
        "category": "Food",
        "manufacturer": "Maker",
        "quantity": Decimal(2),
        "unit_price": Decimal("3.5000"),
        "discount": Decimal("0.50"),
        "total_price": Decimal("6.50"),
        "currency": "EUR",
    },
    "curated/daily_sales": {
        "order_date": on("2020-03-02"),
        "currency": "EUR",
        "orders": 1,
        "lines": 1,
        "units": Decimal(2),
        "gross": Decimal("6.50"),
        "net": Decimal("6.50"),
    },
    "curated/customer_profile": {
        "customer_id": "c1",
        "currency": "EUR",
        "orders": 1,
        "units": Decimal(2),
        "spend": Decimal("6.50"),
        "first_order_on": on("2020-03-02"),
        "last_order_on": on("2020-03-02"),
        "recency_days": 0,
        "segment": "recent",
    },
}


def rows(table: Table, *given: Mapping[str, Any]) -> pl.DataFrame:
    """Return a row for each given mapping, with valid values in the other columns."""
    unknown = {name for row in given for name in row} - set(table.columns)
    assert not unknown, f"{table.path} has no column {unknown}"
    return pl.DataFrame([{**VALID[table.path], **row} for row in given], schema=table.schema, orient="row")
