"""Orders and their children: at which date a row counts, and what becomes of it there."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS, order_states, with_order_date
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.calendars import calendar_in
from tests.support.frames import Lazily, collected, on_polars
from tests.support.judging import cleanse_order_items, cleanse_orders, cleanse_payments
from tests.support.rows import at, on, rows

UTC = Calendar(on("2020-01-01"), "UTC")
BERLIN = calendar_in("Europe/Berlin", on("2020-01-01"))
DAY = on("2020-03-02")

Change = Mapping[str, Any]
Both = tuple[pl.DataFrame, pl.DataFrame]


@pytest.mark.parametrize(
    ("ordered_at", "captured_on", "calendar", "business_date", "order_date"),
    [
        ("2020-03-02 10:00", "2020-03-05", UTC, "2020-03-02", "2020-03-02"),
        ("2020-03-02 23:30", "2020-03-05", UTC, "2020-03-02", "2020-03-02"),
        ("2020-03-02 23:30", "2020-03-05", BERLIN, "2020-03-03", "2020-03-03"),
        ("2020-01-01 00:00", "2020-03-05", UTC, "2020-01-01", "2020-01-01"),
        ("2019-12-31 23:59", "2020-03-05", UTC, "2019-12-31", "2020-03-05"),
        ("2019-12-31 23:59", "2020-03-05", BERLIN, "2020-01-01", "2020-01-01"),
        ("2020-03-06 23:59", "2020-03-05", UTC, "2020-03-06", "2020-03-06"),
        ("2020-03-07 00:00", "2020-03-05", UTC, "2020-03-07", "2020-03-05"),
        ("9999-12-31 00:00", "2020-03-05", UTC, "9999-12-31", "2020-03-05"),
        ("0001-01-01 00:00", "2020-03-05", UTC, "0001-01-01", "2020-03-05"),
        (None, "2020-03-05", UTC, None, "2020-03-05"),
    ],
)
def test_order_counts_at_business_date_else_at_capture_date(
    ordered_at: str | None, captured_on: str, calendar: Calendar, business_date: str | None, order_date: str
) -> None:
    order = rows(RAW_ORDERS, {"ordered_at": ordered_at and at(ordered_at), "captured_on": on(captured_on)})
    dated = collected(with_order_date(on_polars(order), calendar))
    assert dated.select("business_date", "order_date").rows() == [
        (on(business_date) if business_date else None, on(order_date))
    ]


def _orders(*versions: Change, first: date = DAY, last: date = DAY, calendar: Calendar = UTC) -> Both:
    good, bad = cleanse_orders(on_polars(rows(RAW_ORDERS, *versions)), first, last, calendar)
    return collected(good), collected(bad)


def test_order_is_typed_and_trimmed_but_keeps_its_keys() -> None:
    good, bad = _orders({"order_id": " O1 ", "customer_id": " c1 ", "status": " paid ", "currency": " eur "})
    assert bad.is_empty()
    assert good.select("order_id", "customer_id", "status", "currency").rows() == [(" O1 ", " c1 ", "paid", "EUR")]
    warnings = "order_id_has_unseen_characters"
    assert good.equals(rows(ORDERS, {"order_id": " O1 ", "customer_id": " c1 ", "warnings": warnings}))


def test_blank_customer_is_a_guest() -> None:
    good, _ = _orders({"customer_id": "  "})
    assert good["customer_id"].to_list() == [None]


def test_only_orders_of_the_inclusive_range_are_derived() -> None:
    later = {"updated_at": at("2020-03-09"), "captured_at": at("2020-03-09"), "captured_on": on("2020-03-09")}
    versions = [
        *({"order_id": f"o{day}", "ordered_at": at(f"2020-03-0{day} 10:00"), **later} for day in range(1, 6)),
        {"order_id": "no date", "ordered_at": None, **later},
    ]
    good, bad = _orders(*versions, first=on("2020-03-02"), last=on("2020-03-04"))
    assert sorted(good["order_id"]) == ["o2", "o3", "o4"]
    assert bad.is_empty()


def _moved() -> list[Change]:
    return [
        {"status": "placed", "updated_at": at("2020-03-02 11:00"), "captured_on": on("2020-03-02")},
        {
            "status": "paid",
            "ordered_at": at("2020-03-04 10:00"),
            "updated_at": at("2020-03-05 11:00"),
            "captured_on": on("2020-03-05"),
            "captured_at": at("2020-03-05 12:00"),
        },
    ]


def test_order_that_moved_leaves_its_old_date() -> None:
    good, bad = _orders(*_moved())
    assert good.is_empty()
    assert bad.is_empty()


def test_moved_order_counts_all_versions_at_its_new_date() -> None:
    good, bad = _orders(*_moved(), first=on("2020-03-04"), last=on("2020-03-04"))
    assert bad.is_empty()
    assert good.select("status", "order_date", "versions").rows() == [("paid", on("2020-03-04"), 2)]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"ordered_at": None}, "ordered_at_missing"),
        ({"ordered_at": at("2019-12-31 10:00")}, "ordered_before_start"),
        ({"ordered_at": at("2020-03-04 10:00")}, "ordered_at_in_future, ordered_at_out_of_range"),
        ({"ordered_at": at("9999-12-31 00:00")}, "ordered_at_in_future, ordered_at_out_of_range"),
        ({"order_id": " "}, "order_id_missing"),
        ({"order_id": None}, "order_id_missing"),
        ({"status": None}, "status_missing"),
        ({"status": " "}, "status_missing"),
        ({"status": "PAID"}, "status_not_in_list"),
        ({"currency": "Taler"}, "currency_not_iso_4217"),
        ({"updated_at": at("2020-03-03 13:00:00.000001")}, "updated_at_in_future"),
    ],
)
def test_wrong_order_is_quarantined_at_a_date_that_exists(change: Change, reasons: str) -> None:
    good, bad = _orders(change)
    assert good.is_empty()
    assert bad.select("order_date", "reasons", "versions").rows() == [(DAY, reasons, 1)]
    assert bad.select(RAW_ORDERS.columns).equals(rows(RAW_ORDERS, change))


def test_invalid_version_replaces_the_valid_one_before_it() -> None:
    good, bad = _orders({}, {"status": "lost", "updated_at": at("2020-03-02 12:30")})
    assert good.is_empty()
    assert bad.select("reasons", "versions").rows() == [("status_not_in_list", 2)]


def test_corrected_order_comes_out_of_quarantine() -> None:
    good, bad = _orders({"status": "lost"}, {"status": "paid", "updated_at": at("2020-03-02 12:30")})
    assert bad.is_empty()
    assert good.select("status", "versions").rows() == [("paid", 2)]


@pytest.mark.parametrize("change", [{}, {"status": "lost"}, {"ordered_at": None}, {"currency": None}])
def test_deleted_order_is_a_tombstone_despite_other_faults(change: Change) -> None:
    good, bad = _orders({**change, "deleted_at": at("2020-03-02 12:00")})
    assert bad.is_empty()
    assert good.select("is_deleted", "order_date").rows() == [(True, DAY)]


def test_order_that_was_restored_is_no_tombstone() -> None:
    good, _ = _orders({"deleted_at": at("2020-03-02 12:00")}, {"updated_at": at("2020-03-02 12:30")})
    assert good.select("is_deleted", "versions").rows() == [(False, 2)]


_order_versions = st.lists(
    st.fixed_dictionaries(
        {
            "order_id": st.sampled_from(["a", "b"]),
            "ordered_at": st.sampled_from(
                [None, at("2019-06-01 00:00"), *(at("2020-03-01 12:00") + timedelta(days=d) for d in range(4))]
            ),
            "status": st.sampled_from(["paid", "lost", None]),
            "deleted_at": st.sampled_from([None, None, at("2020-03-01 00:00")]),
            "updated_at": st.integers(0, 4).map(lambda day: at("2020-03-01 12:00") + timedelta(days=day)),
        }
    ).map(
        lambda row: {
            **row,
            "captured_on": row["updated_at"].date(),
            "captured_at": row["updated_at"] + timedelta(hours=1),
        }
    ),
    max_size=8,
)


@settings(max_examples=15)
@given(versions=_order_versions)
def test_dates_one_by_one_equal_the_range_and_lose_no_version(versions: list[Change]) -> None:
    days = [on("2020-03-01") + timedelta(days=more) for more in range(6)]
    good, bad = _orders(*versions, first=days[0], last=days[-1])
    assert good["versions"].sum() + bad["versions"].sum() == len(versions)
    assert good.height + bad.height == len({version["order_id"] for version in versions})
    one_by_one = [_orders(*versions, first=day, last=day) for day in days]
    for whole, parts in ((good, [g for g, _ in one_by_one]), (bad, [b for _, b in one_by_one])):
        assert whole.sort("order_id").equals(pl.concat(parts).sort("order_id"))


def test_state_of_an_order_is_valid_deleted_or_quarantined(lazily: Lazily) -> None:
    cleansed = rows(ORDERS, {"order_id": "standing"}, {"order_id": "gone", "is_deleted": True})
    quarantined = pl.DataFrame(
        [
            {
                "order_id": "bad",
                "order_date": DAY,
                "updated_at": at("2020-03-02 12:00"),
                "captured_at": at("2020-03-02 13:00"),
                "currency": " usd ",
            }
        ],
        schema=QUARANTINE_OF["orders"].schema,
    )
    states = collected(order_states(lazily(cleansed), lazily(quarantined)))
    assert states.columns == ["order_id", "order_date", "order_state", "order_currency"]
    assert sorted(states.rows()) == [
        ("bad", DAY, "quarantined", "USD"),
        ("gone", DAY, "deleted", "EUR"),
        ("standing", DAY, "valid", "EUR"),
    ]


def test_newest_version_of_an_order_at_two_dates_counts(lazily: Lazily) -> None:
    newest = {"order_date": on("2020-03-01"), "updated_at": at("2020-03-02 12:01"), "is_deleted": True}
    cleansed = rows(ORDERS, {}, newest, {"order_date": on("2020-03-09"), "updated_at": at("2020-03-02 11:59")})
    nothing = pl.DataFrame(schema=QUARANTINE_OF["orders"].schema)
    states = collected(order_states(lazily(cleansed), lazily(nothing)))
    assert states.rows() == [("o1", on("2020-03-01"), "deleted", "EUR")]


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


@pytest.mark.parametrize(
    ("change", "kept", "warnings"),
    [
        ({"shipped_at": at("9999-12-31")}, {"shipped_at": None}, "shipped_at_out_of_range"),
        ({"delivered_at": at("9999-12-31")}, {"delivered_at": None}, "delivered_at_out_of_range"),
        (
            {"shipped_at": at("2020-03-02 09:00")},
            {"shipped_at": at("2020-03-02 09:00")},
            "shipped_before_ordered",
        ),
        ({"order_id": "o1\u200b"}, {"order_id": "o1\u200b"}, "order_id_has_unseen_characters"),
        ({"shipped_at": at("2020-03-02 11:00")}, {"shipped_at": at("2020-03-02 11:00")}, None),
    ],
)
def test_order_with_a_wrong_attribute_stands_and_warns(change: Change, kept: Change, warnings: str | None) -> None:
    good, bad = _orders(change)
    assert bad.is_empty()
    assert good.equals(rows(ORDERS, {**change, **kept, "warnings": warnings}))


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
