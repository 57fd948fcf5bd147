"""Generate the events of each order after it was placed, the same at every build.

An order is placed, paid within minutes (a bank transfer: within two days), shipped within a day and a half, and
delivered one to six days later. About 2 % are cancelled, some of them because they were never paid; about 1.5 % are
returned. Events after the snapshot are left out, so the orders of the last days are still on their way.
"""

from datetime import UTC, datetime, timedelta

import polars as pl

from orders_lakehouse.sample_shop.complete_journey import CURRENCY, NEVER, money
from orders_lakehouse.sample_shop.draws import draw, draw_choice, draw_duration

SNAPSHOT_AT = datetime(2018, 1, 2, tzinfo=UTC)
"""Instant of the snapshot: no timestamp in the shop is later."""

_FATES = {"unpaid": 8, "cancelled": 12, "returned": 15, "kept": 965}
_METHODS = {"card": 60, "paypal": 19, "transfer": 8, "voucher": 5, "cash": 5, "other": 3}
_FAILS_FIRST = 0.0125  # of the card and paypal payments, which makes 1 % of all
_EVENTS = ("paid_at", "shipped_at", "delivered_at", "returned_at", "cancelled_at")


def order_events(baskets: pl.DataFrame, snapshot_at: datetime = SNAPSHOT_AT) -> pl.DataFrame:
    """Draw the events of each order until the snapshot.

    Args:
        baskets: basket_id, household_id, ordered_at, amount_cents.
        snapshot_at: Instant after which events are left out.

    Returns:
        The baskets with fate, method, status, and the instants paid_at, shipped_at, delivered_at, returned_at and
        cancelled_at, null for events that did not happen.
    """
    key, fate = pl.col("basket_id"), pl.col("fate")
    hour, day = timedelta(hours=1), timedelta(days=1)
    time_to_pay = (
        pl.when(pl.col("method") == "transfer")
        .then(draw_duration(key, "time to transfer", 4 * hour, 44 * hour))
        .otherwise(draw_duration(key, "time to pay", timedelta(minutes=1), timedelta(minutes=20)))
    )
    planned = (
        baskets.with_columns(
            draw_choice(key, "fate", _FATES).alias("fate"), draw_choice(key, "method", _METHODS).alias("method")
        )
        .with_columns(pl.when(fate != "unpaid").then(pl.col("ordered_at") + time_to_pay).alias("paid_at"))
        .with_columns(
            pl.when(fate.is_in(["returned", "kept"]))
            .then(pl.col("paid_at") + draw_duration(key, "time to ship", 3 * hour, 36 * hour))
            .alias("shipped_at"),
            pl.when(fate == "unpaid")
            .then(pl.col("ordered_at") + day)
            .when(fate == "cancelled")
            .then(pl.col("paid_at") + draw_duration(key, "time to cancel", timedelta(minutes=10), 3 * hour))
            .alias("cancelled_at"),
        )
        .with_columns(
            (pl.col("shipped_at") + draw_duration(key, "time to deliver", day, 6 * day)).alias("delivered_at")
        )
        .with_columns(
            pl.when(fate == "returned")
            .then(pl.col("delivered_at") + draw_duration(key, "time to return", 2 * day, 21 * day))
            .alias("returned_at")
        )
    )
    happened = [pl.when(pl.col(event) <= snapshot_at).then(pl.col(event)).alias(event) for event in _EVENTS]
    status = (
        pl.when(pl.col("cancelled_at").is_not_null())
        .then(pl.lit("cancelled"))
        .when(pl.col("returned_at").is_not_null())
        .then(pl.lit("returned"))
        .when(pl.col("delivered_at").is_not_null())
        .then(pl.lit("delivered"))
        .when(pl.col("shipped_at").is_not_null())
        .then(pl.lit("shipped"))
        .when(pl.col("paid_at").is_not_null())
        .then(pl.lit("paid"))
        .otherwise(pl.lit("placed"))
    )
    return planned.with_columns(happened).with_columns(status.alias("status"))


def orders(events: pl.DataFrame) -> pl.DataFrame:
    """Shape the frame of `order_events` as the table `shop.orders`, one row per order_id."""
    return events.select(
        pl.col("basket_id").cast(pl.String).alias("order_id"),
        pl.col("household_id").cast(pl.String).alias("customer_id"),
        "ordered_at",
        "status",
        pl.lit(CURRENCY).alias("currency"),
        "shipped_at",
        "delivered_at",
        pl.max_horizontal("ordered_at", *_EVENTS).alias("updated_at"),
        NEVER.alias("deleted_at"),
    )


def payments(events: pl.DataFrame) -> pl.DataFrame:
    """Make the payments of the orders of `order_events`, as the table `shop.payments`.

    Returns:
        One row per payment_id, by updated_at. `P<order_id>` is captured, or authorised while a transfer is expected;
        `P<order_id>-F` is an earlier attempt that failed; `P<order_id>-R` refunds an order that was cancelled or
        returned. All have the order's amount; paid_at is null if no money moved.
    """
    paid_at, ordered_at = pl.col("paid_at"), pl.col("ordered_at")
    paid = events.filter(paid_at.is_not_null())
    expected = events.filter(pl.col("status") == "placed", pl.col("fate") != "unpaid")
    fails_first = draw(pl.col("basket_id"), "first attempt fails") < _FAILS_FIRST
    failed = paid.filter(pl.col("method").is_in(["card", "paypal"]) & fails_first)
    failed_at = ordered_at + pl.duration(seconds=(paid_at - ordered_at).dt.total_seconds() // 2, time_unit="us")
    refunded = paid.filter(pl.col("status").is_in(["cancelled", "returned"]))
    refunded_at = pl.coalesce("cancelled_at", "returned_at")

    def rows(of: pl.DataFrame, suffix: str, status: str, moved_at: pl.Expr, changed_at: pl.Expr) -> pl.DataFrame:
        order_id = pl.col("basket_id").cast(pl.String)
        return of.select(
            (pl.lit("P") + order_id + pl.lit(suffix)).alias("payment_id"),
            order_id.alias("order_id"),
            "method",
            money(pl.col("amount_cents")).alias("amount"),
            pl.lit(CURRENCY).alias("currency"),
            pl.lit(status).alias("status"),
            moved_at.alias("paid_at"),
            changed_at.alias("updated_at"),
            NEVER.alias("deleted_at"),
        )

    return pl.concat(
        [
            rows(failed, "-F", "failed", NEVER, failed_at),
            rows(expected, "", "authorised", NEVER, ordered_at),
            rows(paid, "", "captured", paid_at, paid_at),
            rows(refunded, "-R", "refunded", refunded_at, refunded_at),
        ]
    ).sort("updated_at", "payment_id")
