"""For each rule of a contract, a change of a valid row that breaks it."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from orders_lakehouse.contracts.base import Rule
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.encoding import BAD_BYTE
from tests.support.rows import at, on

# These numbers fit no stored column. They stand for texts that a derivation cannot read (`columns.number`).
_BEYOND = {
    "quantity": Decimal(10**12),
    "unit_price": Decimal(10**16),
    "discount": Decimal(10**14),
    "amount": Decimal(10**14),
    "cost": Decimal(10**14),
}
_FINER = {"quantity": Decimal("0.0000001"), "unit_price": Decimal("0.000000001")}
_MINUS = {"unit_price": Decimal("-0.01"), "discount": Decimal("-0.01"), "total_price": Decimal("-0.01")}
_LATE = at("2020-03-02 13:00") + timedelta(hours=25)
_OF_ORDER = {
    "order_state_not_in_list": {"order_state": "lost"},
    "order_unknown": {"order_state": "unknown"},
    "order_quarantined": {"order_state": "quarantined"},
    "order_before_start": {"order_state": "before_start"},
}
# Values that break each rule; missing values need no example.
BREAKS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "cleansed/customers": {
        "text_not_utf8": {"city": BAD_BYTE + "eb"},
        "customer_id_missing": {"customer_id": " "},
        "email_malformed": {"email": "ada@example"},
        "country_code_not_iso_3166": {"country_code": "UK"},
        "registered_at_out_of_range": {"registered_at": _LATE},
        "date_of_birth_out_of_range": {"date_of_birth": on("2019-05-02")},
        "customer_id_has_unseen_characters": {"customer_id": "c\u200b1"},
    },
    "cleansed/products": {
        "text_not_utf8": {"category": (BAD_BYTE + "eb").upper()},
        "product_id_missing": {"product_id": "\t"},
        "unit_price_negative": {"unit_price": _MINUS["unit_price"]},
        "currency_not_iso_4217": {"currency": "EURO"},
        "unit_price_without_currency": {"currency": None},
        "unit_price_out_of_range": {"unit_price": _BEYOND["unit_price"]},
        "unit_price_too_precise": {"unit_price": _FINER["unit_price"]},
        "product_id_has_unseen_characters": {"product_id": "p1 "},
    },
    "cleansed/orders": {
        "text_not_utf8": {"customer_id": BAD_BYTE + "eb"},
        "order_id_missing": {"order_id": ""},
        "status_not_in_list": {"status": "Paid"},
        "currency_not_iso_4217": {"currency": "eur"},
        "ordered_at_in_future": {"ordered_at": _LATE},
        "ordered_before_start": {"business_date": on("2020-03-01")},
        "ordered_at_out_of_range": {"business_date": on("2020-03-03")},
        "shipped_at_out_of_range": {"shipped_at": _LATE},
        "delivered_at_out_of_range": {"delivered_at": _LATE},
        "shipped_before_ordered": {"shipped_at": at("2020-03-02 09:59")},
        "delivered_before_shipped": {"shipped_at": at("2020-03-02 12:00"), "delivered_at": at("2020-03-02 11:59")},
        "order_id_has_unseen_characters": {"order_id": "o\u00a01"},
    },
    "cleansed/order_items": {
        "text_not_utf8": {"product_id": BAD_BYTE + "eb"},
        "quantity_not_positive": {"quantity": 0},
        "unit_price_negative": {"unit_price": _MINUS["unit_price"]},
        "discount_negative": {"discount": _MINUS["discount"]},
        "total_price_negative": {"total_price": _MINUS["total_price"]},
        "total_price_out_of_range": {"total_price": None},
        "quantity_out_of_range": {"quantity": _BEYOND["quantity"]},
        "quantity_too_precise": {"quantity": _FINER["quantity"]},
        "unit_price_out_of_range": {"unit_price": _BEYOND["unit_price"]},
        "unit_price_too_precise": {"unit_price": _FINER["unit_price"]},
        "discount_out_of_range": {"discount": _BEYOND["discount"]},
        # Half a yen, which the column holds.
        "discount_too_precise": {"order_currency": "JPY"},
        **_OF_ORDER,
    },
    "cleansed/payments": {
        "text_not_utf8": {"order_id": BAD_BYTE + "eb"},
        "payment_id_missing": {"payment_id": " "},
        "method_not_in_list": {"method": "cheque"},
        "amount_negative": {"amount": Decimal("-0.01")},
        "currency_not_iso_4217": {"currency": ""},
        "status_not_in_list": {"status": "pending"},
        "amount_out_of_range": {"amount": _BEYOND["amount"]},
        "amount_too_precise": {"amount": Decimal("6.505")},
        "currency_not_of_order": {"currency": "USD"},
        "paid_at_out_of_range": {"paid_at": _LATE},
        "payment_id_has_unseen_characters": {"payment_id": "y\u00ad1"},
        **_OF_ORDER,
    },
    "cleansed/warehouses": {
        "text_not_utf8": {"name": BAD_BYTE + "eb"},
        "code_missing": {"code": " "},
        "country_code_not_iso_3166": {"country_code": "UK"},
        "code_has_unseen_characters": {"code": "W1 "},
    },
    "cleansed/shipments": {
        "text_not_utf8": {"carrier": BAD_BYTE + "eb"},
        "shipment_id_missing": {"shipment_id": " "},
        "status_not_in_list": {"status": "on its way"},
        "cost_negative": {"cost": Decimal("-0.01")},
        "cost_out_of_range": {"cost": _BEYOND["cost"]},
        "cost_too_precise": {"cost": Decimal("4.905")},
        "cost_without_currency": {"currency": None},
        "currency_not_iso_4217": {"currency": "EURO"},
        "shipped_at_out_of_range": {"shipped_at": _LATE},
        "delivered_at_out_of_range": {"delivered_at": _LATE},
        "delivered_before_shipped": {"delivered_at": at("2020-03-02 10:59")},
        "shipment_id_has_unseen_characters": {"shipment_id": "s\u200b1"},
        **_OF_ORDER,
    },
    "cleansed/shipment_items": {
        "text_not_utf8": {"shipment_id": BAD_BYTE + "eb"},
        "shipment_id_missing": {"shipment_id": " "},
        "quantity_not_positive": {"quantity": 0},
        "quantity_out_of_range": {"quantity": _BEYOND["quantity"]},
        "quantity_too_precise": {"quantity": _FINER["quantity"]},
        "shipment_id_has_unseen_characters": {"shipment_id": "s1 "},
        **_OF_ORDER,
    },
    "curated/order_lines": {
        "order_status_not_in_list": {"order_status": "lost"},
        "quantity_not_above_0": {"quantity": 0},
        "unit_price_below_0": {"unit_price": _MINUS["unit_price"]},
        "discount_below_0": {"discount": _MINUS["discount"]},
        "total_price_below_0": {"total_price": _MINUS["total_price"]},
        "currency_not_in_list": {"currency": "EURO"},
    },
    "curated/daily_sales": {
        "currency_not_in_list": {"currency": "EURO"},
        "orders_below_1": {"orders": 0},
        "lines_below_1": {"lines": 0},
        "units_not_above_0": {"units": 0},
        "gross_below_0": {"gross": Decimal("-0.01")},
        "net_below_0": {"net": Decimal("-0.01")},
        "net_above_gross": {"net": Decimal("6.51")},
    },
    "curated/customer_profile": {
        "currency_not_in_list": {"currency": "EURO"},
        "orders_below_1": {"orders": 0},
        "units_not_above_0": {"units": 0},
        "spend_below_0": {"spend": Decimal("-0.01")},
        "recency_days_below_0": {"recency_days": -1},
        "segment_not_in_list": {"segment": "gone"},
        "first_order_after_last": {"first_order_on": on("2020-03-03")},
    },
}
_EVERYWHERE: Mapping[str, Mapping[str, Any]] = {
    "versions_below_1": {"versions": 0},
    "updated_at_in_future": {"updated_at": _LATE},
    "key_not_unique": {"candidates": 2},
}


def breaking(table: Table, rule: Rule) -> Mapping[str, Any]:
    """Return the changes of a valid row that break a rule."""
    if rule.description.endswith("is present"):
        return {rule.reason.removesuffix("_missing"): None}
    examples = {**_EVERYWHERE, **BREAKS[table.path]}
    assert rule.reason in examples, f"{table.path}: {rule.reason} has no row that breaks it; add one to BREAKS"
    return examples[rule.reason]
