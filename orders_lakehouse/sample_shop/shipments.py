"""Shipments by carrier: made up, and the same at every build.

Most orders are collected in a store. A carrier brings one in twenty, some of those in two parcels. The second parcel
is shipped within twenty hours of the first. The instants of an order are those of its parcels: it is shipped with the
first one, and delivered with the last one.
"""

from datetime import UTC, datetime, timedelta

import polars as pl

from orders_lakehouse.sample_shop.complete_journey import CURRENCY, NEVER, TIMESTAMP, money
from orders_lakehouse.sample_shop.draws import draw, draw_choice, draw_duration
from orders_lakehouse.sample_shop.order_events import SNAPSHOT_AT

_SENT = 0.05  # of the orders that are shipped
_IN_TWO_PARCELS = 0.15  # of those that are sent
_WAREHOUSES = (
    ("CHI", "Chicago Central", "Chicago"),
    ("DAL", "Dallas South", "Dallas"),
    ("PHX", "Phoenix West", "Phoenix"),
    ("PIT", "Pittsburgh East", "Pittsburgh"),
)
_OPENED_AT = datetime(2016, 11, 1, tzinfo=UTC)
_CARRIERS = {"Northline": 50, "Parcelway": 30, "Quickbird": 20}
_SERVICES = {"standard": 80, "express": 20}
_CENTS = {"standard": 490, "express": 1290}


def warehouses() -> pl.DataFrame:
    """Return the table `shop.warehouses`, one row per code."""
    rows = pl.DataFrame(_WAREHOUSES, schema=["code", "name", "city"], orient="row")
    return rows.with_columns(
        country_code=pl.lit("US"), updated_at=pl.lit(_OPENED_AT, dtype=TIMESTAMP), deleted_at=NEVER
    )


def parcels(events: pl.DataFrame, snapshot_at: datetime = SNAPSHOT_AT) -> pl.DataFrame:
    """Draw in which parcels orders are sent.

    Args:
        events: basket_id, shipped_at and delivered_at of orders, as `order_events` returns them.
        snapshot_at: Nothing has happened after it.

    Returns:
        One row per parcel, by order: basket_id, parcel (1 or 2), parcels, shipped_at, delivered_at (null where that has
        not happened), created_at.
    """
    key = pl.col("basket_id")
    sent = events.filter(pl.col("shipped_at").is_not_null(), draw(key, "sent by a carrier") < _SENT)
    split = pl.when(draw(key, "in two parcels") < _IN_TWO_PARCELS).then(2).otherwise(1).alias("parcels")
    first_of_two = (pl.col("parcel") == 1) & (pl.col("parcels") == 2)
    later = draw_duration(key, "second parcel after", timedelta(hours=2), timedelta(hours=20))
    until_last = pl.col("delivered_at") - pl.col("shipped_at")
    return (
        sent.select("basket_id", "shipped_at", "delivered_at", split, created_at="shipped_at")
        .with_columns(parcel=pl.int_ranges(1, pl.col("parcels") + 1))
        .explode("parcel")
        .with_columns(
            shipped_at=pl.when(pl.col("parcel") == 1).then("shipped_at").otherwise(pl.col("shipped_at") + later),
            delivered_at=pl.when(first_of_two)
            .then(pl.col("shipped_at") + pl.duration(seconds=until_last.dt.total_seconds() * 3 // 4, time_unit="us"))
            .otherwise("delivered_at"),
        )
        .with_columns(shipped_at=pl.when(pl.col("shipped_at") <= snapshot_at).then("shipped_at"))
    )


def _shipment_id() -> pl.Expr:
    return pl.format("H{}-{}", "basket_id", "parcel")


def shipments(sent: pl.DataFrame) -> pl.DataFrame:
    """Shape the parcels of `parcels` as the table `shop.shipments`, one row per shipment_id, by updated_at."""
    key = pl.col("basket_id") * 2 + pl.col("parcel") - 1
    carrier = draw_choice(pl.col("basket_id"), "carrier", _CARRIERS)
    service = draw_choice(pl.col("basket_id"), "service", _SERVICES)
    code = draw_choice(pl.col("basket_id"), "warehouse", {code: 1 for code, _, _ in _WAREHOUSES})
    number = (draw(key, "tracking number") * 10**12).floor().cast(pl.Int64).cast(pl.String).str.zfill(12)
    status = (
        pl.when(pl.col("delivered_at").is_not_null())
        .then(pl.lit("delivered"))
        .when(pl.col("shipped_at").is_not_null())
        .then(pl.lit("shipped"))
        .otherwise(pl.lit("pending"))
    )
    return sent.select(
        shipment_id=_shipment_id(),
        order_id=pl.col("basket_id").cast(pl.String),
        warehouse_code=code,
        carrier=carrier,
        service=service,
        tracking_number=pl.when(pl.col("shipped_at").is_not_null()).then(number),
        shipped_at="shipped_at",
        delivered_at="delivered_at",
        cost=money(service.replace_strict(_CENTS, return_dtype=pl.Int64)),
        currency=pl.lit(CURRENCY),
        status=status,
        updated_at=pl.max_horizontal("created_at", "shipped_at", "delivered_at"),
        deleted_at=NEVER,
    ).sort("updated_at", "shipment_id")


def shipment_items(sent: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Put the lines of orders into their parcels, lines of quantity 0 aside.

    Args:
        sent: Rows of `parcels`.
        lines: basket_id, line_number and quantity, as `sale_lines` returns them.

    Returns:
        The table `shop.shipment_items`, one row per shipment_id, order_id and line_number. The first of two parcels has
        the lines with odd numbers.
    """
    goods = lines.filter(pl.col("quantity") > 0).select("basket_id", "line_number", "quantity")
    in_parcel = (pl.col("line_number") + 1) % pl.col("parcels") + 1 == pl.col("parcel")
    return (
        sent.join(goods, on="basket_id")
        .filter(in_parcel)
        .select(
            shipment_id=_shipment_id(),
            order_id=pl.col("basket_id").cast(pl.String),
            line_number="line_number",
            quantity=pl.col("quantity").cast(pl.Int32),
            updated_at="created_at",
            deleted_at=NEVER,
        )
        .sort("updated_at", "shipment_id", "line_number")
    )
