"""Orders: the current version of each, at its business date; order lines and payments count at the same date."""

from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.cleansed import CAPTURED, JUDGED, Cleansed
from orders_lakehouse.contracts.codes import CURRENCY_ALIASES
from orders_lakehouse.contracts.column_rules import (
    CURRENCIES,
    ISO_4217,
    NOT_BLANK,
    has_happened,
    no_unseen_characters,
    present,
)
from orders_lakehouse.contracts.raw import Raw
from orders_lakehouse.contracts.table import Copied, Mix
from orders_lakehouse.contracts.types import Frame, Instant
from orders_lakehouse.entities import customers
from orders_lakehouse.entities.base import ByOwnDate, Entity
from orders_lakehouse.entities.children import BEFORE_START, DELETED, ORDERED_BEFORE_START, QUARANTINED, VALID
from orders_lakehouse.transforms import columns as c
from orders_lakehouse.transforms.versions import effective_at

ORDER_STATUSES = ("placed", "paid", "shipped", "delivered", "cancelled", "returned")
# Age in days from which orders rarely change their state.
_SETTLED_DAYS = 28


class RawOrders(Raw):
    """Versions of orders."""

    class Config(Contract.Config):
        """Since version 2 with change, sequence and namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    order_id: pl.String = pa.Field(nullable=True, description="Key of the order")
    customer_id: pl.String = pa.Field(nullable=True, description="Customer; null is a guest")
    ordered_at: Instant = pa.Field(nullable=True, description="When the order was placed")
    status: pl.String = pa.Field(nullable=True, description="State of the order")
    currency: pl.String = pa.Field(nullable=True, description="Currency, ISO 4217")
    shipped_at: Instant = pa.Field(nullable=True, description="When it was shipped")
    delivered_at: Instant = pa.Field(nullable=True, description="When it was delivered")


class Orders(Cleansed):
    """Current version of each order, by business date."""

    order_id: pl.String = pa.Field(str_matches=NOT_BLANK, description="Key of the order", metadata=present("order_id"))
    order_date: pl.Date = pa.Field(description="Business date; the capture date where there is none")
    customer_id: pl.String = pa.Field(nullable=True, description="Customer; null is a guest")
    ordered_at: Instant = pa.Field(description="When the order was placed")
    business_date: pl.Date = pa.Field(nullable=True, description="Date of ordered_at in the lake's time zone")
    status: pl.String = pa.Field(isin=ORDER_STATUSES, description="State of the order")
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency, ISO 4217", metadata=ISO_4217)
    shipped_at: Instant = pa.Field(nullable=True, description="When it was shipped")
    delivered_at: Instant = pa.Field(nullable=True, description="When it was delivered")

    class Config(Contract.Config):
        """Since version 2 an order may warn; since 3 one from before the first partition has its own reason."""

        metadata: ClassVar[dict[str, str]] = {"version": "3"}

    order_id_has_unseen_characters = no_unseen_characters("order_id")

    @rule
    def ordered_at_in_future(cls) -> nw.Expr:
        """ordered_at is at most one day after updated_at."""
        return nw.col("ordered_at") <= nw.col("updated_at").dt.offset_by("24h")

    @rule
    def ordered_before_start(cls) -> nw.Expr:
        """The date of ordered_at is not before the first partition."""
        return nw.col("business_date") >= nw.col("order_date")

    @rule
    def ordered_at_out_of_range(cls) -> nw.Expr:
        """The date of ordered_at is at most one day after the capture date."""
        return nw.col("business_date") <= nw.col("order_date")

    @rule(outcome="blank", blanks=("shipped_at",))
    def shipped_at_out_of_range(cls) -> nw.Expr:
        """shipped_at is from 1900-01-01 to one day after updated_at; infinity is not."""
        return has_happened("shipped_at")

    @rule(outcome="blank", blanks=("delivered_at",))
    def delivered_at_out_of_range(cls) -> nw.Expr:
        """delivered_at is from 1900-01-01 to one day after updated_at; infinity is not."""
        return has_happened("delivered_at")

    @rule(outcome="warn")
    def shipped_before_ordered(cls) -> nw.Expr:
        """shipped_at is not before ordered_at."""
        return nw.col("shipped_at") >= nw.col("ordered_at")

    @rule(outcome="warn")
    def delivered_before_shipped(cls) -> nw.Expr:
        """delivered_at is neither before shipped_at nor before ordered_at."""
        delivered = nw.col("delivered_at")
        not_before = [nw.col(name).is_null() | (delivered >= nw.col(name)) for name in ("shipped_at", "ordered_at")]
        return not_before[0] & not_before[1]


def with_order_date(orders: Frame, calendar: Calendar) -> Frame:
    """Add the dates of an order version.

    Args:
        orders: Rows with `ordered_at` and `captured_on`.
        calendar: First partition, and when dates begin.

    Returns:
        The rows with `business_date` (date of ordered_at; null without one) and `order_date`, the partition that they
        count in. It is the business date, if that lies between the first partition and the day after the capture;
        otherwise it is the capture date.
    """
    dated = c.with_local_date(orders, "business_date", "ordered_at", calendar)
    business, captured = nw.col("business_date"), nw.col("captured_on")
    in_range = (business >= nw.lit(calendar.start)) & (business <= captured.dt.offset_by("1d"))
    return dated.with_columns(order_date=nw.when(in_range).then(business).otherwise(captured))


def cleanse(orders: Frame) -> Frame:
    """Trim the texts of rows of `raw/orders`."""
    trimmed = orders.with_columns(c.key_or_null("customer_id"), c.trimmed("status"), c.upper("currency"))
    return trimmed.with_columns(c.without_alias("currency", CURRENCY_ALIASES))


def order_states(cleansed: Frame, quarantined: Frame) -> Frame:
    """Return the state of each order.

    Args:
        cleansed: Rows of `cleansed/orders`.
        quarantined: Rows of `quarantine/orders`.

    Returns:
        order_id, order_date, order_state, order_currency, each order once.
    """
    clock = ["updated_at", "captured_at"]
    state = nw.when(nw.col("is_deleted")).then(nw.lit(DELETED)).otherwise(nw.lit(VALID))
    is_before = nw.col("reasons").str.contains(ORDERED_BEFORE_START, literal=True)
    rejected = nw.when(is_before).then(nw.lit(BEFORE_START)).otherwise(nw.lit(QUARANTINED))
    as_written = quarantined.with_columns(c.upper("currency"), order_state=rejected)
    judged = [
        cleansed.with_columns(order_state=state),
        as_written.with_columns(c.without_alias("currency", CURRENCY_ALIASES)),
    ]
    states = nw.concat(
        [orders.select("order_id", "order_date", *clock, "order_state", order_currency="currency") for orders in judged]
    )
    # Until the date that a moved order has left is derived, both dates have it; the newest version counts.
    newest = states.with_columns(effective_at=effective_at()).unique(
        subset=["order_id"], keep="last", order_by=["effective_at", *clock, "order_date"]
    )
    return newest.drop("effective_at", *clock)


ENTITY = Entity(
    name="orders",
    raw_model=RawOrders,
    cleansed_model=Orders,
    key=("order_id",),
    dating=ByOwnDate(
        clock="ordered_at", dated=with_order_date, states=order_states, inherited={"order_currency": "currency"}
    ),
    cleanse=cleanse,
    waivable=("currency_not_iso_4217", "ordered_at_in_future"),
    names={"customer_id": customers.ENTITY},
    computed={"business_date": ("ordered_at",), "order_date": ("ordered_at", "captured_on")},
    copied=Copied(without=JUDGED | CAPTURED | {"is_deleted", "business_date"}, counted="customer_id"),
    mixes=(
        Mix(
            "status",
            _SETTLED_DAYS,
            f"A date is judged once it is {_SETTLED_DAYS} days old, because the states of its orders change until "
            "then.",
        ),
    ),
)
RAW_ORDERS, ORDERS = ENTITY.raw, ENTITY.cleansed
