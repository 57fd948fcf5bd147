"""Tests of the rules: for each of them a row that breaks it alone, and that nothing else would catch."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.contracts.base import Rule, rules_of
from orders_lakehouse.contracts.tables import CLEANSED, CURATED, Table
from orders_lakehouse.defs.checks import broken_rules, suspects
from orders_lakehouse.encoding import BAD_BYTE
from tests.unit.rows import VALID, at, on, rows

_MINUS = {"unit_price": Decimal("-0.01"), "discount": Decimal("-0.01"), "total_price": Decimal("-0.01")}
_LATE = at("2020-03-02 13:00") + timedelta(hours=25)
_OF_ORDER = {
    "order_state_not_in_list": {"order_state": "lost"},
    "order_unknown": {"order_state": "unknown"},
    "order_quarantined": {"order_state": "quarantined"},
}
# What breaks a rule; a value that is missing needs no example.
BREAKS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "cleansed/customers": {
        "text_not_utf8": {"city": BAD_BYTE + "eb"},
        "customer_id_missing": {"customer_id": " "},
        "email_malformed": {"email": "ada@example"},
        "country_code_not_iso_3166": {"country_code": "UK"},
        "registered_at_out_of_range": {"registered_at": _LATE},
        "date_of_birth_out_of_range": {"date_of_birth": on("2019-05-02")},
    },
    "cleansed/products": {
        "text_not_utf8": {"category": (BAD_BYTE + "eb").upper()},
        "product_id_missing": {"product_id": "\t"},
        "unit_price_negative": {"unit_price": _MINUS["unit_price"]},
        "currency_not_iso_4217": {"currency": "EURO"},
    },
    "cleansed/orders": {
        "text_not_utf8": {"customer_id": BAD_BYTE + "eb"},
        "order_id_missing": {"order_id": ""},
        "status_not_in_list": {"status": "Paid"},
        "currency_not_iso_4217": {"currency": "eur"},
        "ordered_at_in_future": {"ordered_at": _LATE},
        "ordered_at_out_of_range": {"business_date": on("2020-03-01")},
    },
    "cleansed/order_items": {
        "text_not_utf8": {"product_id": BAD_BYTE + "eb"},
        "quantity_not_positive": {"quantity": 0},
        "unit_price_negative": {"unit_price": _MINUS["unit_price"]},
        "discount_negative": {"discount": _MINUS["discount"]},
        "total_price_negative": {"total_price": _MINUS["total_price"]},
        "total_price_out_of_range": {"total_price": None},
        **_OF_ORDER,
    },
    "cleansed/payments": {
        "text_not_utf8": {"order_id": BAD_BYTE + "eb"},
        "payment_id_missing": {"payment_id": " "},
        "method_not_in_list": {"method": "cheque"},
        "amount_negative": {"amount": Decimal("-0.01")},
        "currency_not_iso_4217": {"currency": ""},
        "status_not_in_list": {"status": "pending"},
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
        "units_below_1": {"units": 0},
        "gross_below_0": {"gross": Decimal("-0.01")},
        "net_below_0": {"net": Decimal("-0.01")},
        "net_above_gross": {"net": Decimal("6.51")},
    },
    "curated/customer_profile": {
        "currency_not_in_list": {"currency": "EURO"},
        "orders_below_1": {"orders": 0},
        "units_below_1": {"units": 0},
        "spend_below_0": {"spend": Decimal("-0.01")},
        "recency_days_below_0": {"recency_days": -1},
        "segment_not_in_list": {"segment": "gone"},
        "first_order_after_last": {"first_order_on": on("2020-03-03")},
    },
}
_EVERYWHERE: Mapping[str, Mapping[str, Any]] = {
    "versions_below_1": {"versions": 0},
    "updated_at_in_future": {"updated_at": _LATE},
}
# Net is at most gross and at least 0, so a gross below 0 breaks one of the two as well.
TOLD_WITH = {("curated/daily_sales", "gross_below_0"): {"net_above_gross"}}

CASES = [
    pytest.param(table, rule, id=f"{table.name}-{number}-{rule.reason}")
    for table in (*CLEANSED, *CURATED)
    for number, rule in enumerate(rules_of(table.model))
]


def breaking(table: Table, rule: Rule) -> Mapping[str, Any]:
    """What to change of a valid row so that it breaks a rule."""
    if rule.description.endswith("is present"):
        return {rule.reason.removesuffix("_missing"): None}
    examples = {**_EVERYWHERE, **BREAKS[table.path]}
    assert rule.reason in examples, f"{table.path}: {rule.reason} has no row that breaks it; add one to BREAKS"
    return examples[rule.reason]


def reasons(table: Table, frame: pl.DataFrame, without: Rule | None = None) -> set[str]:
    """Reasons that some rule of a contract gives."""
    judged = nw.from_native(frame.lazy())
    return {
        rule.reason
        for rule in rules_of(table.model)
        if without is None or rule.description != without.description
        if len(judged.filter(~rule.valid).select("*").collect()) > 0
    }


@pytest.mark.parametrize("table", [*CLEANSED, *CURATED], ids=lambda table: table.name)
def test_a_valid_row_breaks_no_rule(table: Table) -> None:
    assert reasons(table, rows(table, {})) == set()
    assert suspects(nw.from_native(rows(table, {}).lazy()), table)[0].is_empty()


@pytest.mark.parametrize(("table", "rule"), CASES)
def test_a_row_that_breaks_a_rule_is_caught_by_it_and_by_no_other(table: Table, rule: Rule) -> None:
    broken = rows(table, breaking(table, rule))
    others = TOLD_WITH.get((table.path, rule.reason), set())
    assert reasons(table, broken) == {rule.reason, *others}
    assert reasons(table, broken, without=rule) == others
    # Pandera, which judges what is stored, says the same.
    assert broken_rules(table, broken).height == 1 + len(others)
    # And of all that is stored, it judges what the rules find.
    assert suspects(nw.from_native(broken.lazy()), table)[0].height == 1


def test_every_example_is_of_a_rule() -> None:
    for table in (*CLEANSED, *CURATED):
        assert set(BREAKS[table.path]) <= {rule.reason for rule in rules_of(table.model)}
        assert set(VALID[table.path]) == set(table.columns)
