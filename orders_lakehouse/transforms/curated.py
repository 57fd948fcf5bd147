"""Curated tables from cleansed ones."""

from datetime import date

import narwhals as nw

from orders_lakehouse.contracts.tables import CUSTOMER_PROFILE, CUSTOMERS, DAILY_SALES, ORDER_LINES, PRODUCTS
from orders_lakehouse.contracts.types import MONEY_SUM, QUANTITY_SUM, Frame
from orders_lakehouse.transforms.columns import days_between
from orders_lakehouse.transforms.versions import valid_intervals

# Types of sums. Summands are cast before they are summed: Spark gives a sum ten digits more than its summands.
_AMOUNTS, _QUANTITIES = nw.Decimal(*MONEY_SUM), nw.Decimal(*QUANTITY_SUM)
# Orders in these states brought no revenue in the end.
_REVERSED = ("cancelled", "returned")
# Of a customer in a currency.
PURCHASES = ("customer_id", "currency", "orders", "units", "spend", "first_order_on", "last_order_on")


def customers_in_time(customers: Frame) -> Frame:
    """What lines show of a customer, and when: of all rows of `cleansed/customers`, those that ever are valid.

    Returns:
        customer_id, valid_from, valid_to, customer_name, customer_city, customer_country_code.
    """
    return valid_intervals(customers, "customer_id", CUSTOMERS.attributes).select(
        "customer_id",
        "valid_from",
        "valid_to",
        customer_name="full_name",
        customer_city="city",
        customer_country_code="country_code",
    )


def products_in_time(products: Frame) -> Frame:
    """What lines show of a product, and when: of all rows of `cleansed/products`, those that ever are valid.

    Returns:
        product_id, valid_from, valid_to, product_name, category, manufacturer.
    """
    return valid_intervals(products, "product_id", PRODUCTS.attributes).select(
        "product_id", "valid_from", "valid_to", "product_name", "category", "manufacturer"
    )


def order_lines(items: Frame, orders: Frame, customer: Frame, product: Frame) -> Frame:
    """Lines with their order, and with product and customer as they were when it was placed.

    Args:
        items: Rows of `cleansed/order_items` of some dates.
        orders: Rows of `cleansed/orders` of the same dates.
        customer: `customers_in_time`.
        product: `products_in_time`.

    Returns:
        Rows of `curated/order_lines`. A customer or product without a valid version leaves its attributes null.
    """
    placed = orders.filter(~nw.col("is_deleted")).select(
        "order_id", "order_date", "ordered_at", "customer_id", "currency", order_status="status"
    )
    # Customers are looked up for orders, not for lines: an order has one customer and many lines.
    placed = _as_of(placed, customer, "customer_id")
    lines = (
        items.filter(~nw.col("is_deleted"))
        .select(
            "order_id", "line_number", "order_date", "product_id", "quantity", "unit_price", "discount", "total_price"
        )
        # By date, too: an order that moved stands at both dates until the one that it left is derived again.
        .join(placed, on=["order_id", "order_date"], how="inner")
    )
    return _as_of(lines, product, "product_id").select(ORDER_LINES.columns)


def _as_of(facts: Frame, versions: Frame, key: str) -> Frame:
    """Join the version that was valid at `ordered_at`; without one the attributes are null."""
    at = nw.col("ordered_at")
    joined = facts.join(versions, on=key, how="left")
    started = nw.col("valid_from").is_null() | (at >= nw.col("valid_from"))
    not_ended = nw.col("valid_to").is_null() | (at < nw.col("valid_to"))
    return joined.filter(started & not_ended).drop("valid_from", "valid_to")


def daily_sales(lines: Frame) -> Frame:
    """Sales by date and currency.

    Args:
        lines: Rows of `curated/order_lines`.

    Returns:
        Rows of `curated/daily_sales`.
    """
    net = nw.when(~nw.col("order_status").is_in(_REVERSED)).then(nw.col("total_price"))
    by_order = (
        lines.with_columns(net=net)
        .group_by("order_date", "currency", "order_id")
        .agg(
            lines=nw.len(),
            units=nw.col("quantity").cast(_QUANTITIES).sum(),
            gross=nw.col("total_price").cast(_AMOUNTS).sum(),
            net=nw.col("net").cast(_AMOUNTS).sum(),
        )
    )
    return (
        by_order.group_by("order_date", "currency")
        .agg(
            orders=nw.len().cast(nw.Int64),
            lines=nw.col("lines").sum().cast(nw.Int64),
            units=nw.col("units").sum().cast(_QUANTITIES),
            gross=nw.col("gross").sum().cast(_AMOUNTS),
            net=nw.col("net").sum().cast(_AMOUNTS),
        )
        .select(DAILY_SALES.columns)
    )


def purchases(lines: Frame) -> Frame:
    """What each customer bought.

    Args:
        lines: Rows of `curated/order_lines`, whole dates.

    Returns:
        The columns `PURCHASES`, one row for each customer and currency.
    """
    by_order = (
        lines.filter(~nw.col("customer_id").is_null(), ~nw.col("order_status").is_in(_REVERSED))
        .group_by("customer_id", "currency", "order_id", "order_date")
        .agg(
            units=nw.col("quantity").cast(_QUANTITIES).sum(),
            spend=nw.col("total_price").cast(_AMOUNTS).sum(),
        )
    )
    return by_order.group_by("customer_id", "currency").agg(
        orders=nw.len().cast(nw.Int64),
        units=nw.col("units").sum().cast(_QUANTITIES),
        spend=nw.col("spend").sum().cast(_AMOUNTS),
        first_order_on=nw.col("order_date").min(),
        last_order_on=nw.col("order_date").max(),
    )


def purchases_since(standing: Frame, before: Frame, now: Frame) -> Frame:
    """What each customer bought, where what was bought on some dates has changed.

    Args:
        standing: Purchases over all dates, as they were.
        before: Those of the dates that changed, as they were.
        now: Those of the same dates, as they are.

    Returns:
        The columns `PURCHASES`. `first_order_on` or `last_order_on` is null where it was one of the dates and has gone
        from them: the dates that did not change have to tell.
    """
    days = ("first_order_on", "last_order_on")
    signed = [
        purchased.select(
            "customer_id",
            "currency",
            nw.col("orders") * nw.lit(sign),
            # Exactly: a factor would take the digits of its own type.
            units=nw.col("units") if sign > 0 else (nw.lit(0).cast(_QUANTITIES) - nw.col("units")).cast(_QUANTITIES),
            spend=nw.col("spend") if sign > 0 else (nw.lit(0).cast(_AMOUNTS) - nw.col("spend")).cast(_AMOUNTS),
            **{
                f"{day}_{other}": nw.col(day) if other == name else nw.lit(None).cast(nw.Date)
                for day in days
                for other in ("standing", "before", "now")
            },
        )
        for name, purchased, sign in (("standing", standing, 1), ("before", before, -1), ("now", now, 1))
    ]
    summed = (
        nw.concat(signed, how="vertical")
        .group_by("customer_id", "currency")
        .agg(
            *(nw.col(name).sum() for name in ("orders", "units", "spend")),
            *(nw.col(f"first_order_on_{name}").min() for name in ("standing", "before", "now")),
            *(nw.col(f"last_order_on_{name}").max() for name in ("standing", "before", "now")),
        )
        .filter(nw.col("orders") > 0)
    )
    return summed.select(
        "customer_id",
        "currency",
        "orders",
        units=nw.col("units").cast(_QUANTITIES),
        spend=nw.col("spend").cast(_AMOUNTS),
        first_order_on=_edge("first_order_on", nw.col("first_order_on_now") <= nw.col("first_order_on_standing")),
        last_order_on=_edge("last_order_on", nw.col("last_order_on_now") >= nw.col("last_order_on_standing")),
    )


def _edge(day: str, reaches: nw.Expr) -> nw.Expr:
    """A customer's first or last date: the new one where it reaches as far, null where the standing one went."""
    standing, before, now = (nw.col(f"{day}_{name}") for name in ("standing", "before", "now"))
    gone = nw.lit(None).cast(nw.Date)
    stays = before.is_null() | (before != standing)
    of_standing = nw.when(stays).then(standing).otherwise(gone)
    return nw.when(standing.is_null() | reaches).then(now).otherwise(of_standing)


def customer_profile(purchased: Frame, latest_order_date: date) -> Frame:
    """What each customer bought, and how recently.

    Args:
        purchased: `purchases` over all dates.
        latest_order_date: Date of the shop's latest order; recency counts from it, never from today.

    Returns:
        Rows of `curated/customer_profile`.
    """
    recency = nw.col("recency_days")
    segment = (
        nw.when(recency > 180)
        .then(nw.lit("dormant"))
        .otherwise(
            nw.when(recency > 90)
            .then(nw.lit("at_risk"))
            .otherwise(
                nw.when(nw.col("orders") >= 50)
                .then(nw.lit("champion"))
                .otherwise(nw.when(nw.col("orders") >= 10).then(nw.lit("loyal")).otherwise(nw.lit("recent")))
            )
        )
    )
    return (
        purchased.with_columns(recency_days=days_between("last_order_on", latest_order_date))
        .with_columns(segment=segment)
        .select(CUSTOMER_PROFILE.columns)
    )
