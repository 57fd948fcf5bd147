"""Curated tables, against models of them in plain Python."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE, customer_profile, purchases, purchases_since
from orders_lakehouse.curated.daily_sales import DAILY_SALES, daily_sales
from orders_lakehouse.curated.order_lines import ORDER_LINES, customers_in_time, order_lines, products_in_time
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.products import PRODUCTS
from tests.support.frames import Lazily, collected, on_polars
from tests.support.rows import at, on, rows

Row = Mapping[str, Any]
DAY = on("2020-03-02")


def _lines(
    items: Sequence[Row],
    orders: Sequence[Row],
    customers: Sequence[Row] = (),
    products: Sequence[Row] = (),
    lazily: Lazily = on_polars,
) -> pl.DataFrame:
    customer = customers_in_time(lazily(rows(CUSTOMERS, *customers)))
    product = products_in_time(lazily(rows(PRODUCTS, *products)))
    return collected(order_lines(lazily(rows(ORDER_ITEMS, *items)), lazily(rows(ORDERS, *orders)), customer, product))


def test_line_has_its_order_product_and_customer(lazily: Lazily) -> None:
    assert _lines([{}], [{}], [{}], [{}], lazily).equals(rows(ORDER_LINES, {}))


def test_without_customer_and_product_the_line_stands_alone(lazily: Lazily) -> None:
    unknown = dict.fromkeys(
        ("customer_name", "customer_city", "customer_country_code", "product_name", "category", "manufacturer")
    )
    assert _lines([{}], [{}], [], [], lazily).equals(rows(ORDER_LINES, unknown))
    guest = _lines([{}], [{"customer_id": None}], [{}], [{}], lazily)
    assert guest.select("customer_id", "customer_name", "product_name").rows() == [(None, None, "Tea")]


def test_deleted_lines_and_lines_without_order_are_left_out(lazily: Lazily) -> None:
    items = [
        {"line_number": 1},
        {"line_number": 2, "is_deleted": True},
        {"order_id": "gone", "line_number": 3},
        {"order_id": "absent", "line_number": 4},
    ]
    found = _lines(items, [{}, {"order_id": "gone", "is_deleted": True}], [{}], [{}], lazily)
    assert found["line_number"].to_list() == [1]


def test_deleted_product_is_still_what_was_sold(lazily: Lazily) -> None:
    gone = {"updated_at": at("2020-03-02 09:00"), "is_deleted": True, "product_name": "Tea, discontinued"}
    found = _lines([{}], [{}], [{}], [{"updated_at": at("2020-01-01 00:00"), "product_name": "Tea"}, gone], lazily)
    assert found["product_name"].to_list() == ["Tea, discontinued"]


def test_every_line_has_the_customer_and_its_own_product(lazily: Lazily) -> None:
    items = [{"line_number": 1, "product_id": "p1"}, {"line_number": 2, "product_id": "p2"}]
    products = [{"product_id": "p1", "product_name": "Tea"}, {"product_id": "p2", "product_name": "Milk"}]
    found = _lines(items, [{}], [{}], products, lazily).sort("line_number")
    assert found.select("customer_name", "product_name").rows() == [("Ada Lovelace", "Tea"), ("Ada Lovelace", "Milk")]


def test_moved_order_at_its_old_date_does_not_double_lines() -> None:
    left = {"order_date": on("2020-03-01")}
    found = _lines([{}, left], [{}, {**left, "ordered_at": at("2020-03-01 10:00")}])
    assert found.height == 2


_hours = st.integers(0, 6)


def _instant(hour: int) -> datetime:
    return at("2020-03-02 00:00") + timedelta(hours=hour)


_versions = st.lists(st.tuples(st.sampled_from(["k1", "k2"]), _hours, _hours, st.booleans()), max_size=8)


def _attributes(versions: Sequence[tuple[str, int, int, bool]]) -> list[dict[str, Any]]:
    """Versions of a dimension: key, change clock, capture clock; the name tells which version it is."""
    return [
        {
            "key": key,
            "updated_at": _instant(changed),
            "captured_at": _instant(changed) + timedelta(minutes=captured),
            "is_deleted": deleted,
            "name": f"{number}",
        }
        for number, (key, changed, captured, deleted) in enumerate(versions)
    ]


def _as_of(versions: Sequence[dict[str, Any]], key: str | None, instant: datetime) -> str | None:
    """The version that was valid: the newest that is not later, else the oldest; of equals, the last captured."""
    of_key = sorted(
        (v for v in versions if v["key"] == key), key=lambda v: (v["updated_at"], v["captured_at"], v["name"])
    )
    known = [version for version in of_key if version["updated_at"] <= instant]
    if known:
        return str(known[-1]["name"])
    oldest = [version for version in of_key if version["updated_at"] == of_key[0]["updated_at"]]
    return str(oldest[-1]["name"]) if oldest else None


@settings(max_examples=100)
@given(
    customers=_versions,
    products=_versions,
    orders=st.lists(
        st.tuples(_hours, st.sampled_from(["k1", "k2", "k3", None]), st.lists(st.sampled_from(["k1", "k2", "k3"]))),
        max_size=6,
    ),
)
def test_every_line_has_the_versions_valid_when_ordered(
    customers: list[tuple[str, int, int, bool]],
    products: list[tuple[str, int, int, bool]],
    orders: list[tuple[int, str | None, list[str]]],
) -> None:
    of_customer, of_product = _attributes(customers), _attributes(products)
    found = _lines(
        [
            {"order_id": f"o{number}", "line_number": line, "product_id": product}
            for number, (_, _, sold) in enumerate(orders)
            for line, product in enumerate(sold)
        ],
        [
            {"order_id": f"o{number}", "ordered_at": _instant(hour), "customer_id": customer}
            for number, (hour, customer, _) in enumerate(orders)
        ],
        [_named(version, "customer_id", "full_name") for version in of_customer],
        [_named(version, "product_id", "product_name") for version in of_product],
    )
    expected = {
        (f"o{number}", line, _as_of(of_customer, customer, _instant(hour)), _as_of(of_product, product, _instant(hour)))
        for number, (hour, customer, sold) in enumerate(orders)
        for line, product in enumerate(sold)
    }
    assert found.height == len(expected)
    assert set(found.select("order_id", "line_number", "customer_name", "product_name").rows()) == expected


def _named(version: Row, key: str, name: str) -> dict[str, Any]:
    return {
        key: version["key"],
        name: version["name"],
        "updated_at": version["updated_at"],
        "captured_at": version["captured_at"],
        "is_deleted": version["is_deleted"],
    }


_STATUSES = ("placed", "paid", "cancelled", "returned")
_sold = st.lists(
    st.fixed_dictionaries(
        {
            "order_id": st.integers(1, 5).map(lambda number: f"o{number}"),
            "quantity": st.decimals(Decimal("0.000001"), 999_999, places=6),
            "total_price": st.decimals(0, 10**12, places=2),
        }
    ),
    max_size=15,
)
_orders = st.fixed_dictionaries(
    {
        f"o{number}": st.fixed_dictionaries(
            {
                "order_date": st.integers(0, 3).map(lambda days: DAY + timedelta(days=days)),
                "currency": st.sampled_from(["EUR", "USD"]),
                "order_status": st.sampled_from(_STATUSES),
                "customer_id": st.sampled_from(["c1", "c2", None]),
            }
        )
        for number in range(1, 6)
    }
)


def _order_lines(sold: Sequence[Row], orders: Mapping[str, Row]) -> list[dict[str, Any]]:
    return [
        {**line, **orders[line["order_id"]], "line_number": number, "ordered_at": at("2020-03-02 00:00")}
        for number, line in enumerate(sold)
    ]


def _groups(lines: Sequence[Row], *names: str) -> list[tuple[tuple[Any, ...], list[Row]]]:
    keys = sorted({tuple(line[name] for name in names) for line in lines})
    return [(key, [line for line in lines if tuple(line[name] for name in names) == key]) for key in keys]


@settings(max_examples=60)
@given(sold=_sold, orders=_orders)
def test_daily_sales_are_the_sums_of_their_lines(sold: list[Row], orders: dict[str, Row]) -> None:
    lines = _order_lines(sold, orders)
    expected = [
        {
            "order_date": day,
            "currency": currency,
            "orders": len({line["order_id"] for line in group}),
            "lines": len(group),
            "units": sum(line["quantity"] for line in group),
            "gross": sum((line["total_price"] for line in group), Decimal("0.00")),
            "net": sum(
                (line["total_price"] for line in group if line["order_status"] not in ("cancelled", "returned")),
                Decimal("0.00"),
            ),
        }
        for (day, currency), group in _groups(lines, "order_date", "currency")
    ]
    found = collected(daily_sales(on_polars(rows(ORDER_LINES, *lines)))).sort("order_date", "currency")
    assert found.equals(rows(DAILY_SALES, *expected))


def test_day_whose_orders_all_came_back_has_no_net(lazily: Lazily) -> None:
    lines = rows(ORDER_LINES, {"order_status": "returned"}, {"order_id": "o2", "order_status": "cancelled"})
    (found,) = collected(daily_sales(lazily(lines))).to_dicts()
    assert (found["orders"], found["gross"]) == (2, Decimal("13.00"))
    assert found["net"] == Decimal("0.00")


@settings(max_examples=60)
@given(sold=_sold, orders=_orders)
def test_profile_sums_what_a_customer_kept(sold: list[Row], orders: dict[str, Row]) -> None:
    lines = _order_lines(sold, orders)
    kept = [
        line
        for line in lines
        if line["customer_id"] is not None and line["order_status"] not in ("cancelled", "returned")
    ]
    latest = DAY + timedelta(days=100)
    expected = [
        {
            "customer_id": customer,
            "currency": currency,
            "orders": len({line["order_id"] for line in group}),
            "units": sum(line["quantity"] for line in group),
            "spend": sum((line["total_price"] for line in group), Decimal("0.00")),
            "first_order_on": min(line["order_date"] for line in group),
            "last_order_on": max(line["order_date"] for line in group),
            "recency_days": (latest - max(line["order_date"] for line in group)).days,
            "segment": "at_risk",
        }
        for (customer, currency), group in _groups(kept, "customer_id", "currency")
    ]
    found = collected(customer_profile(purchases(on_polars(rows(ORDER_LINES, *lines))), latest)).sort(
        "customer_id", "currency"
    )
    assert found.equals(rows(CUSTOMER_PROFILE, *expected))


# Some orders of few customers on few dates: by their number, what became of each.
_placed = st.dictionaries(
    st.integers(0, 7),
    st.fixed_dictionaries(
        {
            "order_date": st.integers(0, 3).map(lambda days: DAY + timedelta(days=days)),
            "customer_id": st.sampled_from(["c1", "c2", None]),
            "currency": st.sampled_from(["USD", "EUR"]),
            "order_status": st.sampled_from(["delivered", "cancelled"]),
            "total_price": st.integers(0, 999).map(lambda cents: Decimal(cents) / 100),
        }
    ),
)


@settings(max_examples=100)
@given(before=_placed, after=_placed, changing=st.sets(st.integers(0, 3)))
def test_purchases_follow_the_dates_that_changed(
    before: dict[int, Row], after: dict[int, Row], changing: set[int]
) -> None:
    dates = [DAY + timedelta(days=days) for days in changing]

    def bought(orders: list[Row]) -> Any:
        return purchases(on_polars(rows(ORDER_LINES, *orders)))

    def of_dates(placed: dict[int, Row], name: str) -> list[Row]:
        return [{"order_id": f"{name}{number}", **order} for number, order in placed.items()]

    stays = [order for order in of_dates(before, "o") if order["order_date"] not in dates]
    went = [order for order in of_dates(before, "o") if order["order_date"] in dates]
    came = [order for order in of_dates(after, "n") if order["order_date"] in dates]

    found = collected(purchases_since(bought(stays + went), bought(went), bought(came)))
    expected = collected(bought(stays + came))

    on = ["customer_id", "currency"]
    assert found.schema == expected.schema
    sums = ["orders", "units", "spend"]
    assert found.select(*on, *sums).sort(on).equals(expected.select(*on, *sums).sort(on))
    stood = collected(bought(stays + went))
    for edge in ("first_order_on", "last_order_on"):
        both = found.join(expected, on=on, suffix="_expected").join(stood, on=on, suffix="_stood", how="left")
        known = both.filter(pl.col(edge).is_not_null())
        assert known[edge].equals(known[f"{edge}_expected"], check_names=False)
        # What did not change is asked for what has gone, and for nothing else.
        assert set(both.filter(pl.col(edge).is_null())[f"{edge}_stood"]) <= set(dates)


@pytest.mark.parametrize(
    ("days", "orders", "segment"),
    [
        (0, 50, "champion"),
        (90, 50, "champion"),
        (0, 49, "loyal"),
        (90, 10, "loyal"),
        (90, 9, "recent"),
        (0, 1, "recent"),
        (91, 50, "at_risk"),
        (180, 1, "at_risk"),
        (181, 50, "dormant"),
        (4000, 1, "dormant"),
    ],
)
def test_segment_follows_from_recency_and_orders(lazily: Lazily, days: int, orders: int, segment: str) -> None:
    lines = rows(ORDER_LINES, *({"order_id": f"o{number}"} for number in range(orders)))
    found = collected(customer_profile(purchases(lazily(lines)), DAY + timedelta(days=days)))
    assert found.select("orders", "recency_days", "segment").rows() == [(orders, days, segment)]


@pytest.mark.parametrize(
    ("table", "derive"),
    [
        (DAILY_SALES, daily_sales),
        (CUSTOMER_PROFILE, lambda lines: customer_profile(purchases(lines), date(2020, 1, 1))),
    ],
)
def test_empty_input_makes_empty_tables_of_right_types(table: Table, derive: Callable[[Any], Any]) -> None:
    found = collected(derive(on_polars(rows(ORDER_LINES))))
    assert found.is_empty()
    assert found.schema == table.schema


def test_no_items_make_no_lines_of_right_types(lazily: Lazily) -> None:
    found = _lines([], [], [], [], lazily)
    assert found.is_empty()
    assert found.schema == ORDER_LINES.schema


def test_sums_beyond_64_bits_of_cents_stay_exact() -> None:
    lines = rows(
        ORDER_LINES,
        *({"order_id": f"o{number}", "total_price": Decimal("89999999999999.9999")} for number in range(11)),
    )
    (found,) = collected(daily_sales(on_polars(lines))).to_dicts()
    assert found["gross"] == Decimal("89999999999999.9999") * 11
