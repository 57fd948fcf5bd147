"""Keys that come more than once in what was read at one time."""

from collections import Counter
from datetime import timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.defs.assets.raw import each_key_once
from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.capture import repeated_keys
from tests.support.rows import on, rows

DAY = on("2020-03-02")
KEYS = st.tuples(st.sampled_from([None, "", "a", "b", "a / 1"]), st.sampled_from([None, 1, 2]), st.integers(0, 2))


def lines(*keys: tuple[str | None, int | None, int]) -> pl.DataFrame:
    """Order lines: order_id, line_number, days after the first."""
    given = [
        {"order_id": order_id, "line_number": number, "captured_on": DAY + timedelta(days=days)}
        for order_id, number, days in keys
    ]
    return rows(RAW_ORDER_ITEMS, *given) if given else pl.DataFrame(schema=RAW_ORDER_ITEMS.schema)


@given(st.lists(KEYS))
def test_repeated_keys_are_reported_on_each_of_their_dates(keys: list[tuple[str | None, int | None, int]]) -> None:
    whole = [(order_id, number, days) for order_id, number, days in keys if order_id and number is not None]
    counts = Counter((order_id, number) for order_id, number, _ in whole)
    expected = {
        (DAY + timedelta(days=days), f"{order_id} / {number}", counts[order_id, number])
        for order_id, number, days in whole
        if counts[order_id, number] > 1
    }
    found = repeated_keys(RAW_ORDER_ITEMS, lines(*keys)).rows()
    assert set(found) == expected
    assert len(found) == len(expected)


def test_verdict_names_first_keys_of_its_date_and_their_number() -> None:
    orders = rows(RAW_ORDERS, *({"order_id": f"o{number}"} for number in (*range(7), *range(7), 0)))
    (verdict,) = each_key_once(repeated_keys(RAW_ORDERS, orders)).to_dicts()
    assert verdict == {
        "date": DAY,
        "passed": False,
        "expected": "each key once",
        "found": "keys that occur more than once: 7",
        "detail": "o0 (3 rows), o1 (2 rows), o2 (2 rows), o3 (2 rows), o4 (2 rows), and 2 more",
    }
    assert each_key_once(repeated_keys(RAW_ORDERS, orders.head(7))).is_empty()
