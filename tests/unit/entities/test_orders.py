"""Orders: at which date a row counts, and what becomes of it there."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS, order_states, with_order_date
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.calendars import calendar_in
from tests.support.frames import Lazily, collected, on_polars
from tests.support.judging import cleanse_orders
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
