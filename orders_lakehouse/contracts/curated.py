"""Curated tables: what analysts read from the lake, and what must hold there."""

from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.cleansed import CURRENCIES, ORDER_STATUSES
from orders_lakehouse.contracts.types import Instant, Money, MoneySum, Price, Quantity, QuantitySum

SEGMENTS = ("champion", "loyal", "recent", "at_risk", "dormant")
_ISO_4217 = {"demand": "an ISO 4217 code", "codes": "currencies"}


class OrderLines(Contract):
    """One row per valid line of a valid order, with product and customer as they were at `ordered_at`."""

    class Config(Contract.Config):
        """Since version 2 quantities, prices and amounts are exact decimals, rounded by currency."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    order_id: pl.String = pa.Field(description="Order of the line")
    line_number: pl.Int32 = pa.Field(description="Number of the line in its order")
    order_date: pl.Date = pa.Field(description="Business date of the order")
    ordered_at: Instant = pa.Field(description="When the order was placed")
    order_status: pl.String = pa.Field(isin=ORDER_STATUSES, description="State of the order")
    customer_id: pl.String = pa.Field(nullable=True, description="Customer; null is a guest")
    customer_name: pl.String = pa.Field(nullable=True, description="Name at ordered_at", metadata={"pii": True})
    customer_city: pl.String = pa.Field(nullable=True, description="City at ordered_at")
    customer_country_code: pl.String = pa.Field(nullable=True, description="Country at ordered_at")
    product_id: pl.String = pa.Field(description="Product sold")
    product_name: pl.String = pa.Field(nullable=True, description="Name of the product at ordered_at")
    category: pl.String = pa.Field(nullable=True, description="Category of the product at ordered_at")
    manufacturer: pl.String = pa.Field(nullable=True, description="Manufacturer of the product at ordered_at")
    quantity: Quantity = pa.Field(gt=0, description="Units sold", metadata={"unit": "units"})
    unit_price: Price = pa.Field(ge=0, description="Price of one unit as sold", metadata={"unit": "currency"})
    discount: Money = pa.Field(ge=0, description="Discount of the whole line", metadata={"unit": "currency"})
    total_price: Money = pa.Field(
        ge=0,
        description="quantity * unit_price - discount, rounded to the minor unit of currency",
        metadata={"unit": "currency"},
    )
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency of the order, ISO 4217", metadata=_ISO_4217)


class DailySales(Contract):
    """One row per date and currency, over the lines of `curated/order_lines`."""

    class Config(Contract.Config):
        """Since version 2 quantities, prices and amounts are exact decimals, rounded by currency."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    order_date: pl.Date = pa.Field(description="Business date")
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency, ISO 4217", metadata=_ISO_4217)
    orders: pl.Int64 = pa.Field(ge=1, description="Orders with at least one valid line")
    lines: pl.Int64 = pa.Field(ge=1, description="Order lines")
    units: QuantitySum = pa.Field(gt=0, description="Units sold", metadata={"unit": "units"})
    gross: MoneySum = pa.Field(ge=0, description="Sum of total_price", metadata={"unit": "currency"})
    net: MoneySum = pa.Field(
        ge=0, description="Sum of total_price of orders neither cancelled nor returned", metadata={"unit": "currency"}
    )

    @rule
    def net_above_gross(cls) -> nw.Expr:
        """Net is at most gross."""
        return nw.col("net") <= nw.col("gross")


class CustomerProfile(Contract):
    """One row per known customer and currency, over orders neither cancelled nor returned."""

    class Config(Contract.Config):
        """Since version 2 quantities, prices and amounts are exact decimals, rounded by currency."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    customer_id: pl.String = pa.Field(description="Customer")
    currency: pl.String = pa.Field(
        isin=CURRENCIES, description="Currency, ISO 4217; amounts are never added across", metadata=_ISO_4217
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
