"""Customer profile: what each known customer bought over all dates, and how recently."""

from datetime import date
from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.column_rules import CURRENCIES, IN_ISO_4217
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM, QUANTITY_SUM, Frame, MoneySum, QuantitySum
from orders_lakehouse.curated.base import Cumulative, Curated, curated_table
from orders_lakehouse.curated.order_lines import ORDER_LINES, REVERSED
from orders_lakehouse.transforms.columns import days_between

SEGMENTS = ("champion", "loyal", "recent", "at_risk", "dormant")
# Types of sums. Summands are cast first, because Spark gives a sum ten digits more than its summands.
_AMOUNTS, _QUANTITIES = nw.Decimal(*MONEY_SUM), nw.Decimal(*QUANTITY_SUM)
# Columns of the purchases of a customer in a currency.
PURCHASES = ("customer_id", "currency", "orders", "units", "spend", "first_order_on", "last_order_on")


class CustomerProfile(Contract):
    """One row per known customer and currency, over orders neither cancelled nor returned."""

    class Config(Contract.Config):
        """Since version 2 quantities, prices and amounts are exact decimals, rounded by currency."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    customer_id: pl.String = pa.Field(description="Customer")
    currency: pl.String = pa.Field(
        isin=CURRENCIES, description="Currency, ISO 4217; amounts are never added across", metadata=IN_ISO_4217
    )
    orders: pl.Int64 = pa.Field(ge=1, description="Orders")
    units: QuantitySum = pa.Field(gt=0, description="Units bought", metadata={"unit": "units"})
    spend: MoneySum = pa.Field(ge=0, description="Sum of total_price", metadata={"unit": "currency"})
    first_order_on: pl.Date = pa.Field(description="Date of the first order")
    last_order_on: pl.Date = pa.Field(description="Date of the last order")
    recency_days: pl.Int64 = pa.Field(
        ge=0, description="Days from the last order to the latest order of the shop", metadata={"unit": "days"}
    )
    segment: pl.String = pa.Field(isin=SEGMENTS, description="Segment by recency and number of orders")

    @rule
    def first_order_after_last(cls) -> nw.Expr:
        """first_order_on is not after last_order_on."""
        return nw.col("first_order_on") <= nw.col("last_order_on")


def _from_lines(*columns: str) -> list[tuple[Table, str]]:
    # The status is always among the origins, because cancelled and returned orders do not count.
    return [(ORDER_LINES, column) for column in (*columns, "order_status")]


CUSTOMER_PROFILE = curated_table(
    "customer_profile",
    CustomerProfile,
    ("customer_id", "currency"),
    (ORDER_LINES,),
    partitioned_by=None,
    computed={
        "orders": _from_lines("order_id"),
        "units": _from_lines("quantity"),
        "spend": _from_lines("total_price"),
        "first_order_on": _from_lines("order_date"),
        "last_order_on": _from_lines("order_date"),
        "recency_days": _from_lines("order_date"),
        "segment": _from_lines("order_date", "order_id"),
    },
)


def purchases(lines: Frame) -> Frame:
    """Sum what each customer bought.

    Args:
        lines: Rows of `curated/order_lines`, whole dates.

    Returns:
        The columns `PURCHASES`, one row for each customer and currency.
    """
    by_order = (
        lines.filter(~nw.col("customer_id").is_null(), ~nw.col("order_status").is_in(REVERSED))
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
    """Update what each customer bought, after a change of some dates.

    Args:
        standing: Stored purchases over all dates.
        before: Purchases of the changed dates before the change.
        now: Purchases of the same dates after the change.

    Returns:
        The columns `PURCHASES`. `first_order_on` or `last_order_on` is null where it was one of the changed dates and
        no longer is; then only the unchanged dates have the value.
    """
    days = ("first_order_on", "last_order_on")
    signed = [
        purchased.select(
            "customer_id",
            "currency",
            nw.col("orders") * nw.lit(sign),
            # Subtraction is exact; a factor of -1 would change the number of digits.
            units=nw.col("units") if sign > 0 else (nw.lit(0).cast(_QUANTITIES) - nw.col("units")).cast(_QUANTITIES),
            spend=nw.col("spend") if sign > 0 else (nw.lit(0).cast(_AMOUNTS) - nw.col("spend")).cast(_AMOUNTS),
            **{
                f"{day}_{side}": nw.col(day) if side == name else nw.lit(None).cast(nw.Date)
                for day in days
                for side in ("standing", "before", "now")
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
    """Return a customer's first or last date: the new one if it is as extreme, null if the stored one is gone."""
    standing, before, now = (nw.col(f"{day}_{name}") for name in ("standing", "before", "now"))
    gone = nw.lit(None).cast(nw.Date)
    stays = before.is_null() | (before != standing)
    of_standing = nw.when(stays).then(standing).otherwise(gone)
    return nw.when(standing.is_null() | reaches).then(now).otherwise(of_standing)


def customer_profile(purchased: Frame, latest_order_date: date) -> Frame:
    """Return what each customer bought, and how recently.

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


CURATED = Curated(
    CUSTOMER_PROFILE,
    Cumulative(
        ORDER_LINES,
        summed=purchases,
        columns=PURCHASES,
        updated=purchases_since,
        group="customer_id",
        unknown=("first_order_on", "last_order_on"),
        finished=customer_profile,
    ),
    drawn_by="segment",
)
