"""Order items and payments: at which date a row counts, and what is good of it."""

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from tests.support.frames import collected, on_polars
from tests.support.judging import cleanse_order_items, cleanse_payments
from tests.support.rows import at, on, rows

DAY = on("2020-03-02")

Change = Mapping[str, Any]
Both = tuple[pl.DataFrame, pl.DataFrame]
STATES = {
    "o1": (DAY, "valid", "EUR"),
    "gone": (DAY, "deleted", "EUR"),
    "bad": (DAY, "quarantined", "EURO"),
    "lost": (None, "unknown", None),
    "later": (on("2020-03-04"), "valid", "EUR"),
    "yen": (DAY, "valid", "JPY"),
    "dinar": (DAY, "valid", "KWD"),
}


def _children(
    cleanse: Callable[..., tuple[Any, Any]], versions: pl.DataFrame, first: date = DAY, last: date = DAY
) -> Both:
    states = pl.DataFrame(
        [(order_id, *state) for order_id, state in STATES.items()],
        schema={"order_id": pl.String, "order_date": pl.Date, "order_state": pl.String, "order_currency": pl.String},
        orient="row",
    )
    good, bad = cleanse(on_polars(versions), on_polars(states), first, last)
    return collected(good), collected(bad)


def _items(*versions: Change, first: date = DAY, last: date = DAY) -> Both:
    return _children(cleanse_order_items, rows(RAW_ORDER_ITEMS, *versions), first, last)


def _payments(*versions: Change, first: date = DAY, last: date = DAY) -> Both:
    return _children(cleanse_payments, rows(RAW_PAYMENTS, *versions), first, last)


@pytest.mark.parametrize("children", [_items, _payments], ids=["items", "payments"])
class TestChildren:
    """Lines and payments alike."""

    def test_child_counts_at_the_date_of_its_order(self, children: Callable[..., Both]) -> None:
        late = {"captured_on": on("2020-03-31"), "updated_at": at("2020-03-31 00:00")}
        good, bad = children({**late, "captured_at": at("2020-03-31 01:00")})
        assert bad.is_empty()
        assert good.select("order_id", "order_date", "captured_on").rows() == [("o1", DAY, on("2020-03-31"))]

    def test_child_of_an_order_of_another_date_is_not_derived(self, children: Callable[..., Both]) -> None:
        good, bad = children({"order_id": "later"}, {"order_id": "not among the states"})
        assert good.is_empty()
        assert bad.is_empty()
        good, _ = children({"order_id": "later"}, last=on("2020-03-04"))
        assert good["order_date"].to_list() == [on("2020-03-04")]

    @pytest.mark.parametrize(("order_id", "reasons"), [("bad", "order_quarantined"), ("lost", "order_unknown")])
    def test_child_of_a_wrong_order_is_quarantined(
        self, children: Callable[..., Both], order_id: str, reasons: str
    ) -> None:
        good, bad = children({"order_id": order_id})
        assert good.is_empty()
        assert bad.select("order_id", "order_date", "reasons").rows() == [(order_id, DAY, reasons)]

    def test_child_of_an_unknown_order_counts_at_its_capture_date(self, children: Callable[..., Both]) -> None:
        orphan = {"order_id": "lost", "captured_on": on("2020-03-04")}
        assert [part.height for part in children(orphan)] == [0, 0]
        _, bad = children(orphan, first=on("2020-03-04"), last=on("2020-03-04"))
        assert bad["order_date"].to_list() == [on("2020-03-04")]

    def test_child_without_order_is_quarantined_at_its_capture_date(self, children: Callable[..., Both]) -> None:
        good, bad = children({"order_id": None})
        assert good.is_empty()
        assert bad["order_date"].to_list() == [DAY]
        assert "order_unknown" in bad["reasons"].item().split(", ")

    @pytest.mark.parametrize("wrong", [{}, {"unit_price": "NaN", "amount": "NaN"}])
    def test_child_of_a_deleted_order_is_a_tombstone(self, children: Callable[..., Both], wrong: Change) -> None:
        known = set(RAW_ORDER_ITEMS.columns if children is _items else RAW_PAYMENTS.columns)
        good, bad = children({"order_id": "gone", **{name: text for name, text in wrong.items() if name in known}})
        assert bad.is_empty()
        assert good.select("order_state", "is_deleted").rows() == [("deleted", True)]

    @pytest.mark.parametrize(
        ("order_id", "state"), [("o1", "valid"), ("bad", "quarantined"), ("lost", "unknown"), ("gone", "deleted")]
    )
    def test_deleted_child_is_a_tombstone_for_any_order_state(
        self, children: Callable[..., Both], order_id: str, state: str
    ) -> None:
        good, bad = children({"order_id": order_id, "deleted_at": at("2020-03-02 12:00")})
        assert bad.is_empty()
        assert good.select("order_state", "is_deleted", "order_date").rows() == [(state, True, DAY)]

    def test_versions_are_counted_and_the_newest_is_current(self, children: Callable[..., Both]) -> None:
        good, _ = children({}, {"updated_at": at("2020-03-02 12:30")}, {"updated_at": at("2020-03-02 11:30")})
        assert good.select("versions", "updated_at").rows() == [(3, at("2020-03-02 12:30"))]


def test_order_known_under_another_spelling_is_not_the_order() -> None:
    for order_id in ("O1", " o1"):
        assert [part.height for part in _items({"order_id": order_id})] == [0, 0]


def test_payment_moved_to_another_order_counts_there_whole() -> None:
    versions = [{"order_id": "o1"}, {"order_id": "later", "updated_at": at("2020-03-02 12:30")}]
    assert [part.height for part in _payments(*versions)] == [0, 0]
    good, _ = _payments(*versions, first=on("2020-03-04"), last=on("2020-03-04"))
    assert good.select("order_id", "versions").rows() == [("later", 2)]


def test_payment_is_typed_and_trimmed() -> None:
    good, bad = _payments({"method": " card", "status": "captured ", "currency": "eur", "amount": "6.5000"})
    assert bad.is_empty()
    assert good.select("method", "status", "currency", "amount").rows() == [
        ("card", "captured", "EUR", Decimal("6.50"))
    ]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"amount": None}, "amount_missing"),
        ({"amount": "6.505"}, "amount_too_precise"),
        ({"amount": "6.5050001"}, "amount_too_precise"),
        ({"amount": "6.5", "order_id": "yen", "currency": "JPY"}, "amount_too_precise"),
        ({"amount": "NaN"}, "amount_out_of_range"),
        ({"amount": "-0.01"}, "amount_negative"),
        ({"method": "cheque"}, "method_not_in_list"),
        ({"order_id": None}, "order_unknown"),
        ({"payment_id": " "}, "payment_id_missing"),
        ({"status": None, "currency": "EURO"}, "currency_not_iso_4217, status_missing"),
    ],
)
def test_wrong_payment_is_quarantined(change: Change, reasons: str) -> None:
    good, bad = _payments(change)
    assert good.is_empty()
    assert bad["reasons"].to_list() == [reasons]
    assert bad.select(RAW_PAYMENTS.columns).equals(rows(RAW_PAYMENTS, change))


@pytest.mark.parametrize(
    ("change", "total_price"),
    [
        ({}, "6.50"),
        ({"discount": None}, "7.00"),
        ({"unit_price": "1.0050", "quantity": "1", "discount": "0"}, "1.01"),
        ({"unit_price": "1.005", "quantity": "1", "discount": "0.01"}, "1.00"),
        ({"unit_price": "9.99", "quantity": "1.5", "discount": "0"}, "14.99"),
        ({"unit_price": "0.00000001", "quantity": "500000", "discount": "0"}, "0.01"),
        ({"discount": "7.00"}, "0.00"),
        ({"discount": "7.0000"}, "0.00"),
        ({"order_id": "yen", "unit_price": "99.5", "quantity": "1", "discount": "0"}, "100"),
        ({"order_id": "dinar", "unit_price": "1.235", "quantity": "1", "discount": "0.001"}, "1.234"),
    ],
)
def test_line_has_its_total(change: Change, total_price: str) -> None:
    good, bad = _items(change)
    assert bad.is_empty()
    assert good["total_price"].to_list() == [Decimal(total_price)]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"discount": "NaN"}, "discount_out_of_range"),
        ({"discount": "0.005"}, "discount_too_precise"),
        ({"discount": "0.00005"}, "discount_too_precise"),
        ({"discount": "0.5", "order_id": "yen"}, "discount_too_precise"),
        ({"discount": "-0.01"}, "discount_negative"),
        ({"discount": "7.01"}, "total_price_negative"),
        ({"unit_price": "3.500000001"}, "unit_price_too_precise"),
        ({"unit_price": "NaN"}, "unit_price_out_of_range"),
        ({"unit_price": None}, "unit_price_missing"),
        ({"unit_price": "-1"}, "unit_price_negative, total_price_negative"),
        ({"quantity": "0"}, "quantity_not_positive, total_price_negative"),
        ({"quantity": "0", "discount": None}, "quantity_not_positive"),
        ({"quantity": "1.0000001"}, "quantity_too_precise"),
        ({"quantity": "-Infinity"}, "quantity_out_of_range"),
        ({"quantity": None}, "quantity_missing"),
        ({"product_id": " "}, "product_id_missing"),
        ({"quantity": "2147483647", "unit_price": "99999999999999.9999"}, "total_price_out_of_range"),
        ({"line_number": None}, "line_number_missing"),
        ({"order_id": None}, "order_id_missing, order_unknown"),
    ],
)
def test_wrong_line_is_quarantined(change: Change, reasons: str) -> None:
    good, bad = _items(change)
    assert good.is_empty()
    assert bad["reasons"].to_list() == [reasons]
    assert bad.select(RAW_ORDER_ITEMS.columns).equals(rows(RAW_ORDER_ITEMS, change))


def test_line_with_an_absurd_discount_is_quarantined_alone() -> None:
    good, bad = _items({}, {"line_number": 2, "discount": "1000000000000000.00"})
    assert good.height == bad.height == 1


@pytest.mark.parametrize("table_order", [("o1", "later"), ("later", "o1")])
def test_child_that_came_back_with_its_order_is_valid_again(table_order: tuple[str, str]) -> None:
    good, bad = _items(*({"order_id": order_id} for order_id in table_order), last=on("2020-03-04"))
    assert bad.is_empty()
    assert sorted(good.select("order_id", "order_date").rows()) == [("later", on("2020-03-04")), ("o1", DAY)]


def test_line_offered_twice_at_once_is_quarantined() -> None:
    good, bad = _items({"quantity": "2"}, {"quantity": "3"})
    assert good.is_empty()
    assert bad.select("reasons", "versions").rows() == [("key_not_unique", 2)]


def test_line_that_the_source_offers_twice_alike_is_one_line() -> None:
    good, bad = _items({}, {})
    assert bad.is_empty()
    assert good.select("versions", "candidates").rows() == [(2, 1)]


def test_key_is_one_again_once_it_is_captured_once() -> None:
    later = {"captured_at": at("2020-03-02 14:00"), "quantity": "3"}
    good, bad = _items({"quantity": "2"}, {"quantity": "3"}, later)
    assert bad.is_empty()
    assert good.select("quantity", "versions").rows() == [(Decimal(3), 3)]


def test_last_in_sequence_counts_among_versions_captured_at_once() -> None:
    good, bad = _items({"quantity": "3", "sequence": 2}, {"quantity": "2", "sequence": 1})
    assert bad.is_empty()
    assert good["quantity"].to_list() == [Decimal(3)]


def test_payment_in_another_currency_stands_and_warns() -> None:
    good, bad = _payments(
        {"order_id": "yen"}, {"payment_id": "y2", "order_id": "yen", "currency": "JPY", "amount": "7"}
    )
    assert bad.is_empty()
    assert good.sort("payment_id").select("currency", "order_currency", "warnings").rows() == [
        ("EUR", "JPY", "currency_not_of_order"),
        ("JPY", "JPY", None),
    ]


@pytest.mark.parametrize("amount", ["NaN", "6.12345", "1e400", None])
def test_tombstone_has_null_where_its_number_fits_no_column(amount: str | None) -> None:
    good, bad = _payments({"amount": amount, "deleted_at": at("2020-03-02 12:00")})
    assert bad.is_empty()
    assert good["amount"].to_list() == [None]
