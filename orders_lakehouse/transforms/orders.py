"""Orders and their children: from all versions to the current, judged rows of a range of business dates."""

from collections.abc import Iterable
from datetime import date

import narwhals as nw

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.cleansed import BEFORE_START, DELETED, ORDERED_BEFORE_START, QUARANTINED, UNKNOWN, VALID
from orders_lakehouse.contracts.codes import CURRENCY_ALIASES
from orders_lakehouse.contracts.tables import ORDER_ITEMS, ORDERS, PAYMENTS
from orders_lakehouse.contracts.types import MONEY, PRICE, QUANTITY, Frame
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.transforms import columns as c
from orders_lakehouse.transforms.money import with_total_price
from orders_lakehouse.transforms.split import keeping_original, split
from orders_lakehouse.transforms.versions import current_versions, effective_at


def with_order_date(orders: Frame, calendar: Calendar) -> Frame:
    """Add the dates of an order version.

    Args:
        orders: Rows with `ordered_at` and `captured_on`.
        calendar: First partition, and when dates begin.

    Returns:
        The rows with `business_date` (date of ordered_at; null without one) and `order_date`, the partition that they
        count in: the business date where it is a partition at the time of capture (from the first one to the day after
        the capture), else the capture date.
    """
    dated = c.with_local_date(orders, "business_date", "ordered_at", calendar)
    business, captured = nw.col("business_date"), nw.col("captured_on")
    in_range = (business >= nw.lit(calendar.start)) & (business <= captured.dt.offset_by("1d"))
    return dated.with_columns(order_date=nw.when(in_range).then(business).otherwise(captured))


def cleanse_orders(
    versions: Frame, first: date, last: date, calendar: Calendar, waivers: Iterable[Waiver] = ()
) -> tuple[Frame, Frame]:
    """Current orders of the business dates from `first` to `last`, split by their contract.

    Args:
        versions: `raw/orders`, all versions of the orders that ever had one of the dates.
        first: First business date.
        last: Last business date.
        calendar: First partition, and when dates begin.
        waivers: What is waived.

    Returns:
        Rows of `cleansed/orders` and of `quarantine/orders`.
    """
    judged = (
        with_order_date(keeping_original(current_versions(versions, ORDERS.key), ORDERS), calendar)
        .filter(nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))
        .with_columns(
            c.key_or_null("customer_id"),
            c.trimmed("status"),
            c.upper("currency"),
            is_deleted=~nw.col("deleted_at").is_null(),
        )
        .with_columns(c.without_alias("currency", CURRENCY_ALIASES))
    )
    return split(judged, ORDERS, waivers)


def order_states(cleansed: Frame, quarantined: Frame) -> Frame:
    """What became of each order.

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
    # An order that moved stands at both dates until the date it left is derived again; its newest version counts.
    newest = states.with_columns(effective_at=effective_at()).unique(
        subset=["order_id"], keep="last", order_by=["effective_at", *clock, "order_date"]
    )
    return newest.drop("effective_at", *clock)


def cleanse_order_items(
    versions: Frame, states: Frame, first: date, last: date, waivers: Iterable[Waiver] = ()
) -> tuple[Frame, Frame]:
    """Current order lines of the orders of a range of dates, split by their contract.

    Args:
        versions: `raw/order_items`, all versions of the lines that name an order of `states`.
        states: order_id, order_date, order_state, order_currency; an unknown order has no date and no currency.
        first: First business date.
        last: Last business date.
        waivers: What is waived.

    Returns:
        Rows of `cleansed/order_items` and of `quarantine/order_items`.
    """
    # Once the order is known: a join copies every column that it carries.
    current = with_order(current_versions(versions, ORDER_ITEMS.key), states, first, last)
    judged = (
        keeping_original(current, ORDER_ITEMS)
        .with_columns(
            c.integer("line_number"),
            c.key_or_null("product_id"),
            c.number("quantity", QUANTITY),
            c.number("unit_price", PRICE),
            # A null discount means none; one that cannot be read is rejected.
            discount=nw.col("discount").fill_null("0"),
        )
        .with_columns(c.number("discount", MONEY))
    )
    return split(_with_deletion(with_total_price(judged)), ORDER_ITEMS, waivers)


def cleanse_payments(
    versions: Frame, states: Frame, first: date, last: date, waivers: Iterable[Waiver] = ()
) -> tuple[Frame, Frame]:
    """Current payments of the orders of a range of dates, split by their contract.

    Args:
        versions: `raw/payments`, all versions of the payments that name, or ever named, an order of `states`.
        states: order_id, order_date, order_state, order_currency; an unknown order has no date and no currency.
        first: First business date.
        last: Last business date.
        waivers: What is waived.

    Returns:
        Rows of `cleansed/payments` and of `quarantine/payments`.
    """
    current = with_order(current_versions(versions, PAYMENTS.key), states, first, last)
    judged = (
        keeping_original(current, PAYMENTS)
        .with_columns(
            c.key_or_null("order_id"),
            c.trimmed("method"),
            c.trimmed("status"),
            c.upper("currency"),
            c.number("amount", MONEY),
        )
        .with_columns(c.without_alias("currency", CURRENCY_ALIASES))
    )
    return split(_with_deletion(judged), PAYMENTS, waivers)


def with_order(current: Frame, states: Frame, first: date, last: date) -> Frame:
    """Join what became of the order, and keep the rows that count in the dates.

    Args:
        current: Current lines or payments.
        states: order_id, order_date, order_state, order_currency; an unknown order has no date and no currency.
        first: First business date.
        last: Last business date.

    Returns:
        The rows with order_date, order_state and order_currency. A row without an order counts at its capture date; a
        row whose order is neither among `states` nor missing counts at another date.
    """
    joined = current.join(states, on="order_id", how="left")
    state = nw.when(nw.col("order_id").is_null()).then(nw.lit(UNKNOWN)).otherwise(nw.col("order_state"))
    dated = joined.with_columns(order_state=state).with_columns(
        order_date=nw.when(nw.col("order_state") == UNKNOWN).then(nw.col("captured_on")).otherwise(nw.col("order_date"))
    )
    return dated.filter(~nw.col("order_state").is_null(), nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))


def _with_deletion(children: Frame) -> Frame:
    """A child counts as deleted when it is, or when its order is."""
    return children.with_columns(is_deleted=~nw.col("deleted_at").is_null() | (nw.col("order_state") == DELETED))
