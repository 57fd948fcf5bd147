"""The parcels of the sample shop agree with the orders that they bring."""

from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from orders_lakehouse.sample_shop.order_events import SNAPSHOT_AT, order_events, orders
from orders_lakehouse.sample_shop.shipments import parcels, shipment_items, shipments, warehouses

ORDERS = 20_000
TIMESTAMP = pl.Datetime("us", "UTC")


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    """Orders of the last forty days before the snapshot, with what became of them."""
    spacing = timedelta(days=40) / ORDERS
    number = pl.int_range(1, ORDERS + 1)
    baskets = pl.select(
        (number + 31_000_000_000).alias("basket_id"),
        (number % 500).alias("household_id"),
        (pl.lit(SNAPSHOT_AT, dtype=TIMESTAMP) - pl.lit(spacing) * number).dt.truncate("1s").alias("ordered_at"),
        (number % 10_000).alias("amount_cents"),
    )
    return order_events(baskets)


@pytest.fixture(scope="module")
def lines(events: pl.DataFrame) -> pl.DataFrame:
    """Three lines of each order, the third one of quantity 0."""
    numbered = events.select("basket_id", line_number=pl.lit([1, 2, 3])).explode("line_number")
    return numbered.with_columns(pl.col("line_number").cast(pl.Int32), quantity=3 - pl.col("line_number"))


def test_parcels_are_the_same_at_every_build(events: pl.DataFrame, lines: pl.DataFrame) -> None:
    sent, again = parcels(events), parcels(events.reverse())
    assert_frame_equal(shipments(again), shipments(sent))
    assert_frame_equal(shipment_items(again, lines), shipment_items(sent, lines))


def test_one_order_in_twenty_is_sent(events: pl.DataFrame) -> None:
    shipped = events.filter(pl.col("shipped_at").is_not_null()).height
    assert 0.04 < parcels(events)["basket_id"].n_unique() / shipped < 0.06


def test_every_state_and_warehouse_occurs(events: pl.DataFrame) -> None:
    made = shipments(parcels(events))
    assert set(made["status"]) == {"pending", "shipped", "delivered"}
    assert set(made["warehouse_code"]) == set(warehouses()["code"])
    assert made["shipment_id"].is_unique().all()


def test_an_order_is_shipped_and_delivered_with_its_parcels(events: pl.DataFrame) -> None:
    made = (
        shipments(parcels(events))
        .group_by("order_id")
        .agg(
            first=pl.col("shipped_at").min(),
            last=pl.when(pl.col("delivered_at").is_not_null().all()).then(pl.col("delivered_at").max()),
        )
    )
    both = orders(events).join(made, on="order_id")
    assert both.filter(pl.col("first") != pl.col("shipped_at")).is_empty()
    assert both.filter(pl.col("last").ne_missing(pl.col("delivered_at"))).is_empty()


def test_nothing_is_later_than_the_snapshot(events: pl.DataFrame, lines: pl.DataFrame) -> None:
    sent = parcels(events)
    for table in (shipments(sent), shipment_items(sent, lines)):
        assert table["updated_at"].max() <= SNAPSHOT_AT
    assert sent.filter(pl.col("delivered_at") < pl.col("shipped_at")).is_empty()


def test_parcels_hold_each_line_of_goods_once(events: pl.DataFrame, lines: pl.DataFrame) -> None:
    sent = parcels(events)
    sent_lines = lines.filter(pl.col("quantity") > 0).join(sent.select("basket_id").unique(), on="basket_id")
    expected = sent_lines.select(pl.col("basket_id").cast(pl.String).alias("order_id"), "line_number", "quantity")
    held = shipment_items(sent, lines).select(
        "order_id", "line_number", pl.col("quantity").cast(expected["quantity"].dtype)
    )
    assert_frame_equal(held, expected, check_row_order=False)
