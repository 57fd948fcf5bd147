"""Each rule of a cleansed table, with rows that break it and rows on its edge."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import pytest

from orders_lakehouse.contracts.base import rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.encoding import BAD_BYTE
from orders_lakehouse.tables import CLEANSED, CURATED
from tests.support.any_rows import LATER, as_read, judged
from tests.support.frames import collected
from tests.support.judging import split
from tests.support.rows import VALID, at, on, rows
from tests.support.verdicts import broken_by_pandera, broken_by_rules, verdicts_of

# A byte that was no UTF-8, as it is captured.
BAD = f"{BAD_BYTE}eb"

_CLEANSED: Mapping[str, list[dict[str, Any]]] = {
    "is_deleted_missing": [{"is_deleted": None}],
    "versions_missing": [{"versions": None}],
    "versions_below_1": [{"versions": 0}],
    "candidates_missing": [{"candidates": None}],
    "key_not_unique": [{"candidates": 2}],
    "updated_at_missing": [{"updated_at": None}],
    "captured_on_missing": [{"captured_on": None}],
    "captured_at_missing": [{"captured_at": None}],
    "updated_at_in_future": [{"updated_at": LATER}],
}
_OF_ORDER: Mapping[str, list[dict[str, Any]]] = {
    **_CLEANSED,
    "order_date_missing": [{"order_date": None}],
    "order_state_missing": [{"order_state": None}],
    "order_state_not_in_list": [{"order_state": "lost"}],
    "order_unknown": [{"order_state": "unknown"}],
    "order_quarantined": [{"order_state": "quarantined"}],
    "order_before_start": [{"order_state": "before_start"}],
}
_CURRENCY: Mapping[str, list[dict[str, Any]]] = {
    "currency_missing": [{"currency": None}],
    "currency_not_iso_4217": [{"currency": "ZZZ"}, {"currency": "eur"}, {"currency": "EURO"}],
}
_UNSEEN = (" k1", "k1\n", "k\u200b1", "k\u00a01", "k\u00ad1", "k1\ufeff", "k\x001", "\u2003k1")


def unseen(column: str) -> dict[str, list[dict[str, Any]]]:
    """Keys with characters that nobody sees."""
    return {f"{column}_has_unseen_characters": [{column: key} for key in _UNSEEN]}


def beyond(column: str, scale: int, digits: int, **others: Any) -> dict[str, list[dict[str, Any]]]:
    """Numbers with more decimals or more digits than a column has, as `number` reads them."""
    return {
        f"{column}_too_precise": [{column: Decimal(1).scaleb(-scale - 1), **others}],
        f"{column}_out_of_range": [{column: Decimal(10) ** digits, **others}],
    }


# For each reason, what makes a valid row break that rule and no other; one change for each rule of that name.
BROKEN: Mapping[str, Mapping[str, list[dict[str, Any]]]] = {
    "cleansed/customers": {
        "text_not_utf8": [{"customer_id": BAD}, {"city": f"Z{BAD}".upper()}],
        **_CLEANSED,
        "customer_id_missing": [{"customer_id": None}, {"customer_id": " \t\n"}, {"customer_id": ""}],
        **unseen("customer_id"),
        "email_malformed": [
            {"email": text}
            for text in ("ada", "ada@example", "a b@example.org", "@example.org", "ada@.", "a@b@c.de", "a@b.c\n")
        ],
        "country_code_not_iso_3166": [{"country_code": "UK"}, {"country_code": "gb"}, {"country_code": "GBR"}],
        "registered_at_out_of_range": [{"registered_at": at("2020-03-03 12:00:00.000001")}],
        "date_of_birth_out_of_range": [
            {"date_of_birth": on("1899-12-31")},
            {"date_of_birth": on("2019-05-02")},
            {"date_of_birth": on("1899-12-31"), "registration_date": None},
        ],
    },
    "cleansed/products": {
        "text_not_utf8": [{"product_id": BAD}, {"category": f"Z{BAD}".upper()}],
        **_CLEANSED,
        "currency_not_iso_4217": _CURRENCY["currency_not_iso_4217"],
        "product_id_missing": [{"product_id": None}, {"product_id": "  "}],
        "unit_price_negative": [{"unit_price": Decimal("-0.01")}],
        "unit_price_without_currency": [{"currency": None}],
        **unseen("product_id"),
        **beyond("unit_price", 8, 16),
    },
    "cleansed/orders": {
        "text_not_utf8": [{"order_id": BAD}, {"customer_id": f"Z{BAD}".upper()}],
        **_CLEANSED,
        **_CURRENCY,
        "order_id_missing": [{"order_id": None}, {"order_id": " "}],
        "order_date_missing": [{"order_date": None}],
        "ordered_at_missing": [{"ordered_at": None}, {"ordered_at": None, "business_date": None}],
        "status_missing": [{"status": None}],
        "status_not_in_list": [{"status": "lost"}, {"status": "Paid"}],
        "ordered_at_in_future": [{"ordered_at": at("2020-03-03 12:00:00.000001")}],
        "ordered_before_start": [{"business_date": on("2020-03-01")}],
        "ordered_at_out_of_range": [{"business_date": on("2020-03-03")}],
        **unseen("order_id"),
        "shipped_at_out_of_range": [{"shipped_at": at("2020-03-03 12:00:00.000001")}, {"shipped_at": at("9999-12-31")}],
        "delivered_at_out_of_range": [{"delivered_at": at("9999-12-31")}],
        "shipped_before_ordered": [{"shipped_at": at("2020-03-02 09:59")}, {"shipped_at": at("0001-01-01")}],
        "delivered_before_shipped": [
            {"delivered_at": at("2020-03-02 09:59")},
            {"shipped_at": at("2020-03-02 11:00"), "delivered_at": at("2020-03-02 10:30")},
        ],
    },
    "cleansed/order_items": {
        "text_not_utf8": [{"order_id": BAD}, {"product_id": f"Z{BAD}".upper()}],
        **_OF_ORDER,
        "order_id_missing": [{"order_id": None}],
        "line_number_missing": [{"line_number": None}],
        "product_id_missing": [{"product_id": None}],
        "quantity_missing": [{"quantity": None}, {"quantity": None, "total_price": None}],
        "quantity_not_positive": [{"quantity": 0}, {"quantity": -1}],
        "unit_price_missing": [{"unit_price": None}, {"unit_price": None, "total_price": None}],
        "unit_price_negative": [{"unit_price": Decimal("-0.0001")}],
        "discount_missing": [{"discount": None}, {"discount": None, "total_price": None}],
        "discount_negative": [{"discount": Decimal("-0.01")}],
        "total_price_negative": [{"total_price": Decimal("-0.01")}],
        "total_price_out_of_range": [{"total_price": None}],
        **beyond("quantity", 6, 12),
        **beyond("unit_price", 8, 16),
        "discount_out_of_range": [{"discount": Decimal(10) ** 14}],
        "discount_too_precise": [
            {"discount": Decimal("0.005")},
            {"discount": Decimal("0.50"), "order_currency": "JPY"},
            {"discount": Decimal("0.0005"), "order_currency": "KWD"},
            {"discount": Decimal("0.00001"), "order_currency": "CLF"},
            {"discount": Decimal("0.00001"), "order_currency": None},
        ],
    },
    "cleansed/payments": {
        "text_not_utf8": [{"payment_id": BAD}, {"order_id": f"Z{BAD}".upper()}],
        **_OF_ORDER,
        **_CURRENCY,
        "payment_id_missing": [{"payment_id": None}, {"payment_id": " "}],
        "method_missing": [{"method": None}],
        "method_not_in_list": [{"method": "Card"}],
        "amount_missing": [{"amount": None}],
        "amount_negative": [{"amount": Decimal("-0.01")}],
        "amount_out_of_range": [{"amount": Decimal(10) ** 14}],
        "amount_too_precise": [
            {"amount": Decimal("6.505")},
            {"amount": Decimal("6.5"), "currency": "JPY", "order_currency": "JPY"},
            {"amount": Decimal("6.5005"), "currency": "KWD", "order_currency": "KWD"},
        ],
        "currency_not_of_order": [{"order_currency": "USD"}],
        "paid_at_out_of_range": [{"paid_at": at("2020-03-03 12:00:00.000001")}],
        **unseen("payment_id"),
        "status_missing": [{"status": None}],
        "status_not_in_list": [{"status": "paid"}],
    },
    "cleansed/warehouses": {
        "text_not_utf8": [{"code": BAD}, {"city": f"Z{BAD}".upper()}],
        **_CLEANSED,
        "code_missing": [{"code": None}, {"code": " "}],
        "country_code_not_iso_3166": [{"country_code": "UK"}, {"country_code": "DEU"}],
        **unseen("code"),
    },
    "cleansed/shipments": {
        "text_not_utf8": [{"shipment_id": BAD}, {"carrier": f"Z{BAD}".upper()}],
        **_OF_ORDER,
        "currency_not_iso_4217": _CURRENCY["currency_not_iso_4217"],
        "shipment_id_missing": [{"shipment_id": None}, {"shipment_id": " "}],
        "status_missing": [{"status": None}],
        "status_not_in_list": [{"status": "Shipped"}],
        "cost_negative": [{"cost": Decimal("-0.01")}],
        "cost_out_of_range": [{"cost": Decimal(10) ** 14}],
        "cost_too_precise": [
            {"cost": Decimal("4.905")},
            {"cost": Decimal("4.5"), "currency": "JPY"},
            {"cost": Decimal("4.5005"), "currency": "KWD"},
        ],
        "cost_without_currency": [{"currency": None}],
        "shipped_at_out_of_range": [{"shipped_at": at("2020-03-03 12:00:00.000001")}],
        "delivered_at_out_of_range": [{"delivered_at": at("9999-12-31")}],
        "delivered_before_shipped": [{"delivered_at": at("2020-03-02 10:59")}],
        **unseen("shipment_id"),
    },
    "cleansed/shipment_items": {
        "text_not_utf8": [{"shipment_id": BAD}, {"order_id": f"Z{BAD}".upper()}],
        **_OF_ORDER,
        "shipment_id_missing": [{"shipment_id": None}, {"shipment_id": " "}],
        "order_id_missing": [{"order_id": None}],
        "line_number_missing": [{"line_number": None}],
        "quantity_missing": [{"quantity": None}],
        "quantity_not_positive": [{"quantity": 0}, {"quantity": -1}],
        **beyond("quantity", 6, 12),
        **unseen("shipment_id"),
    },
}

# On the very edge of a rule, and still valid.
EDGES: Mapping[str, list[dict[str, Any]]] = {
    "cleansed/customers": [
        {},
        {"updated_at": LATER - timedelta(microseconds=1)},
        {"registered_at": at("2020-03-03 12:00"), "registration_date": on("2020-03-03")},
        {"date_of_birth": on("1900-01-01")},
        {"date_of_birth": on("2019-05-01")},
        {"date_of_birth": on("2019-05-02"), "registration_date": None, "registered_at": None},
        dict.fromkeys(
            ("full_name", "email", "date_of_birth", "registered_at", "registration_date", "country_code", "city")
        ),
        {"customer_id": "c 1-é_ß"},
        {"country_code": "DD"},
        {"city": "\ufffd", "state": BAD_BYTE, "address": "\\xeb"},
    ],
    "cleansed/products": [
        {},
        {"unit_price": Decimal("0.00")},
        {"unit_price": Decimal("9999999999999999.99999999")},
        {"unit_price": None, "currency": None},
        {"product_name": None, "category": None},
    ],
    "cleansed/orders": [
        {},
        {"customer_id": None},
        {"ordered_at": at("2020-03-03 12:00")},
        {"currency": "HRK"},
        {"shipped_at": at("2020-03-02 10:00"), "delivered_at": at("2020-03-03 12:00")},
    ],
    "cleansed/order_items": [
        {},
        {"quantity": 1},
        {"unit_price": Decimal("0.0000"), "discount": Decimal("0.00"), "total_price": Decimal("0.00")},
        {"order_state": "deleted"},
        {"quantity": Decimal("0.000001"), "unit_price": Decimal("9999999999999999.99999999")},
        {"discount": Decimal("0.005"), "order_currency": "KWD"},
        {"discount": Decimal("1"), "order_currency": "JPY"},
        {"discount": Decimal("0.0005"), "order_currency": None},
    ],
    "cleansed/payments": [
        {},
        {"amount": Decimal("99999999999999.99")},
        {"amount": Decimal("0.00")},
        {"paid_at": None},
        {"order_id": None},
    ],
    "cleansed/warehouses": [{}, dict.fromkeys(("name", "city", "country_code")), {"country_code": "DD"}],
    "cleansed/shipments": [
        {},
        {"delivered_at": at("2020-03-02 11:00")},
        {"cost": Decimal("99999999999999.99")},
        {"cost": Decimal("0.00"), "currency": "USD"},
        dict.fromkeys(
            ("order_id", "warehouse_code", "carrier", "service", "tracking_number", "shipped_at", "cost", "currency")
        ),
    ],
    "cleansed/shipment_items": [{}, {"quantity": Decimal("0.000001")}, {"order_state": "deleted"}],
}


def _broken_rows() -> Iterator[Any]:
    for table in CLEANSED:
        for reason, changes in BROKEN[table.path].items():
            for number, change in enumerate(changes):
                yield pytest.param(
                    table,
                    reason,
                    change,
                    id=f"{table.name}-{reason}-{number}",
                )


@pytest.mark.parametrize(("table", "reason", "change"), _broken_rows())
def test_row_breaking_one_rule_has_only_that_reason(table: Table, reason: str, change: dict[str, Any]) -> None:
    (broken,) = {one.outcome: one for one in rules_of(table.model) if one.reason == reason}.values()
    good, bad = split(nw.from_native(judged(table, change).lazy()), table)
    if broken.outcome == "reject":
        assert collected(good).is_empty()
        assert collected(bad)["reasons"].to_list() == [reason]
        return
    assert collected(bad).is_empty()
    (kept,) = collected(good).to_dicts()
    assert reason in kept["warnings"].split(", ")
    for name, value in {**VALID[table.path], **change}.items():
        if name != "warnings":
            assert kept[name] == (None if name in broken.blanks else value) or len(kept["warnings"].split(", ")) > 1


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_every_cleansed_rule_has_a_broken_example(table: Table) -> None:
    for compiled in rules_of(table.model):
        changes = BROKEN[table.path].get(compiled.reason)
        assert changes, f"no row here breaks the rule {compiled.reason} of {table.path}"
        verdicts = verdicts_of(compiled.valid, as_read(table, *changes))
        assert False in verdicts, f"no row here breaks {compiled.description!r} of {table.path}"
    assert set(BROKEN[table.path]) == {compiled.reason for compiled in rules_of(table.model)}


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_rows_on_the_edge_of_a_rule_are_valid(table: Table) -> None:
    edges = EDGES[table.path]
    good, bad = split(nw.from_native(judged(table, *edges).lazy()), table)
    assert collected(bad).select("reasons").is_empty()
    assert collected(good).equals(rows(table, *edges))


@pytest.mark.parametrize("table", CURATED, ids=lambda table: table.name)
def test_valid_curated_row_holds_its_contract(table: Table) -> None:
    assert broken_by_pandera(table, rows(table, {})) == [set()]
    assert broken_by_rules(table, rows(table, {})) == [set()]
