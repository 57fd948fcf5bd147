from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from orders_lakehouse.sample_shop.order_events import SNAPSHOT_AT, order_events, orders, payments

ORDERS = 20_000
TIMESTAMP = pl.Datetime("us", "UTC")


@pytest.fixture(scope="module")
def sold() -> pl.DataFrame:
    """Baskets spread over the last forty days before the snapshot."""
    spacing = timedelta(days=40) / ORDERS
    number = pl.int_range(1, ORDERS + 1)
    return pl.select(
        (number + 31_000_000_000).alias("basket_id"),
        (number % 500).alias("household_id"),
        (pl.lit(SNAPSHOT_AT, dtype=TIMESTAMP) - pl.lit(spacing) * number).dt.truncate("1s").alias("ordered_at"),
        (number % 10_000).alias("amount_cents"),
    )


@pytest.fixture(scope="module")
def events(sold: pl.DataFrame) -> pl.DataFrame:
    return order_events(sold)


@pytest.fixture(scope="module")
def shop_orders(events: pl.DataFrame) -> pl.DataFrame:
    return orders(events)


@pytest.fixture(scope="module")
def shop_payments(events: pl.DataFrame) -> pl.DataFrame:
    return payments(events)


def test_two_builds_are_identical_for_any_order_of_baskets(sold: pl.DataFrame, events: pl.DataFrame) -> None:
    again = order_events(sold.reverse())
    assert_frame_equal(orders(again), orders(events), check_row_order=False)
    assert_frame_equal(payments(again), payments(events))


def test_every_status_occurs(shop_orders: pl.DataFrame, shop_payments: pl.DataFrame) -> None:
    assert set(shop_orders["status"]) == {"placed", "paid", "shipped", "delivered", "cancelled", "returned"}
    assert set(shop_payments["status"]) == {"authorised", "captured", "refunded", "failed"}
    assert set(shop_payments["method"]) == {"card", "paypal", "voucher", "transfer", "cash", "other"}


def test_shares_of_cancelled_and_returned_orders_are_as_stated(sold: pl.DataFrame) -> None:
    much_later = order_events(sold, snapshot_at=SNAPSHOT_AT + timedelta(days=60))
    counts = dict(much_later["status"].value_counts().iter_rows())
    assert set(counts) == {"delivered", "cancelled", "returned"}
    assert 0.016 < counts["cancelled"] / ORDERS < 0.024
    assert 0.012 < counts["returned"] / ORDERS < 0.018


def test_nothing_is_later_than_the_snapshot(shop_orders: pl.DataFrame, shop_payments: pl.DataFrame) -> None:
    for frame in (shop_orders, shop_payments):
        latest = frame.select(pl.col(TIMESTAMP).max()).row(0)
        assert max(instant for instant in latest if instant) <= SNAPSHOT_AT


def test_later_snapshot_agrees_with_an_earlier_one(sold: pl.DataFrame, events: pl.DataFrame) -> None:
    earlier_at = SNAPSHOT_AT - timedelta(days=5)
    instants = ("paid_at", "shipped_at", "delivered_at", "returned_at", "cancelled_at")
    cut = [pl.when(pl.col(name) <= earlier_at).then(pl.col(name)).alias(name) for name in instants]
    assert_frame_equal(order_events(sold, earlier_at).select(instants), events.select(cut))


def test_events_of_an_order_are_in_order(events: pl.DataFrame) -> None:
    steps = ("ordered_at", "paid_at", "shipped_at", "delivered_at", "returned_at")
    for before, after in pairwise(steps):
        happened = events.filter(pl.col(after).is_not_null())
        assert happened.height
        assert happened.select((pl.col(before) < pl.col(after)).fill_null(False).all()).item(), (before, after)
    cancelled = events.filter(pl.col("cancelled_at").is_not_null())
    assert cancelled["shipped_at"].null_count() == cancelled.height
    assert (cancelled["cancelled_at"] > cancelled.select(pl.max_horizontal("ordered_at", "paid_at")).to_series()).all()


def test_status_agrees_with_the_times(shop_orders: pl.DataFrame) -> None:
    shipped = shop_orders["shipped_at"].is_not_null()
    delivered = shop_orders["delivered_at"].is_not_null()
    status = shop_orders["status"]
    assert (shipped == status.is_in(["shipped", "delivered", "returned"])).all()
    assert (delivered == status.is_in(["delivered", "returned"])).all()


def test_change_clock_is_the_time_of_the_last_event(shop_orders: pl.DataFrame) -> None:
    clock_of = {"placed": "ordered_at", "shipped": "shipped_at", "delivered": "delivered_at"}
    for status, column in clock_of.items():
        those = shop_orders.filter(pl.col("status") == status)
        assert (those["updated_at"] == those[column]).all()
    others = shop_orders.filter(pl.col("status").is_in(["paid", "cancelled", "returned"]))
    assert (others["updated_at"] > others.select(pl.max_horizontal("ordered_at", "delivered_at")).to_series()).all()


def test_payments_balance(shop_orders: pl.DataFrame, shop_payments: pl.DataFrame, sold: pl.DataFrame) -> None:
    signed = (
        pl.when(pl.col("status") == "captured")
        .then(pl.col("amount"))
        .when(pl.col("status") == "refunded")
        .then(-pl.col("amount"))
        .otherwise(pl.lit(Decimal(0)))
    )
    paid = shop_payments.group_by("order_id").agg(signed.sum().alias("paid_amount"))
    amounts = sold.select(pl.col("basket_id").cast(pl.String).alias("order_id"), "amount_cents")
    kept = pl.col("status").is_in(["paid", "shipped", "delivered"])
    expected = pl.when(kept).then(pl.col("amount_cents")).otherwise(0)
    off = (
        shop_orders.join(amounts, on="order_id")
        .join(paid, on="order_id", how="left")
        .with_columns((pl.col("paid_amount").cast(pl.Float64) * 100).round().cast(pl.Int64).fill_null(0))
        .filter(pl.col("paid_amount") != expected)
    )
    assert off.is_empty()


def test_payments_of_an_order_are_in_order(shop_orders: pl.DataFrame, shop_payments: pl.DataFrame) -> None:
    assert not shop_payments["payment_id"].is_duplicated().any()
    ordered = shop_payments.join(shop_orders, on="order_id", suffix="_of_order")
    assert ordered.height == shop_payments.height
    assert (ordered["updated_at"] >= ordered["ordered_at"]).all()
    assert (ordered["updated_at"] <= ordered["updated_at_of_order"]).all()
    by_status = {name: ordered.filter(pl.col("status") == name) for name in set(ordered["status"])}
    captured = by_status["captured"].select("order_id", pl.col("paid_at").alias("captured_at"))
    for name in ("failed", "refunded"):
        both = by_status[name].join(captured, on="order_id")
        assert both.height == by_status[name].height
        sooner, later = ("updated_at", "captured_at") if name == "failed" else ("captured_at", "updated_at")
        assert (both[sooner] < both[later]).all()
    assert (by_status["refunded"]["updated_at"] == by_status["refunded"]["updated_at_of_order"]).all()
    assert (by_status["authorised"]["status_of_order"] == "placed").all()
    assert shop_payments["paid_at"].is_not_null().eq(shop_payments["status"].is_in(["captured", "refunded"])).all()


def test_order_is_just_placed_before_anybody_could_pay() -> None:
    at = datetime(2017, 6, 1, tzinfo=UTC)
    baskets = pl.DataFrame({"basket_id": [1], "household_id": [2], "ordered_at": [at], "amount_cents": [999]})
    order = orders(order_events(baskets.cast({"ordered_at": TIMESTAMP}), snapshot_at=at)).row(0, named=True)
    assert order["status"] == "placed"
    assert order["ordered_at"] == order["updated_at"] == at
