"""Order lines: each valid line of a valid order, with product and customer at the time of the order."""

from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.column_rules import CURRENCIES, IN_ISO_4217
from orders_lakehouse.contracts.table import Copied, Mix
from orders_lakehouse.contracts.types import Frame, Instant, Money, Price, Quantity
from orders_lakehouse.curated.base import ByDate, Curated, Fact, curated_table
from orders_lakehouse.entities import customers, products
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS, RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDER_STATUSES, ORDERS, RAW_ORDERS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.transforms.versions import valid_intervals

# States of orders that brought no revenue in the end.
REVERSED = ("cancelled", "returned")
# Columns that a line has from its customer and its product.
_OF_CUSTOMER = {"customer_name": "full_name", "customer_city": "city", "customer_country_code": "country_code"}
_OF_PRODUCT = ("product_name", "category", "manufacturer")


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
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency of the order, ISO 4217", metadata=IN_ISO_4217)


ORDER_LINES = curated_table(
    "order_lines",
    OrderLines,
    ("order_id", "line_number"),
    (ORDER_ITEMS, ORDERS, CUSTOMERS, PRODUCTS),
    computed={
        "order_status": [(ORDERS, "status")],
        **{name: [(CUSTOMERS, of)] for name, of in _OF_CUSTOMER.items()},
    },
)


def customers_in_time(versions: Frame) -> Frame:
    """Return what lines show of each customer, and when it is valid.

    Args:
        versions: Rows of `cleansed/customers`.

    Returns:
        customer_id, valid_from, valid_to, customer_name, customer_city, customer_country_code.
    """
    return valid_intervals(versions, "customer_id", customers.ENTITY.attributes).select(
        "customer_id",
        "valid_from",
        "valid_to",
        **_OF_CUSTOMER,
    )


def products_in_time(versions: Frame) -> Frame:
    """Return what lines show of each product, and when it is valid.

    Args:
        versions: Rows of `cleansed/products`.

    Returns:
        product_id, valid_from, valid_to, product_name, category, manufacturer.
    """
    return valid_intervals(versions, "product_id", products.ENTITY.attributes).select(
        "product_id", "valid_from", "valid_to", *_OF_PRODUCT
    )


def order_lines(items: Frame, placed: Frame, customer: Frame, product: Frame) -> Frame:
    """Join lines with their order, and with the product and customer of that time.

    Args:
        items: Rows of `cleansed/order_items` of some dates.
        placed: Rows of `cleansed/orders` of the same dates.
        customer: `customers_in_time`.
        product: `products_in_time`.

    Returns:
        Rows of `curated/order_lines`. A customer or product without a valid version leaves its attributes null.
    """
    placed = placed.filter(~nw.col("is_deleted")).select(
        "order_id", "order_date", "ordered_at", "customer_id", "currency", order_status="status"
    )
    # Customers are joined to orders rather than to lines, because an order has one customer and many lines.
    placed = _as_of(placed, customer, "customer_id")
    lines = (
        items.filter(~nw.col("is_deleted"))
        .select(
            "order_id", "line_number", "order_date", "product_id", "quantity", "unit_price", "discount", "total_price"
        )
        # The date is part of the join: until the date that a moved order has left is derived, both dates have it.
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


def expected_lines(items: pl.LazyFrame, placed: pl.LazyFrame) -> pl.LazyFrame:
    """Return the lines that later layers should have.

    Args:
        items: Rows of `cleansed/order_items`.
        placed: Rows of `cleansed/orders` of the same dates.

    Returns:
        order_date, order_status, order_id, line_number, total_price, captured_at (of the line or of its order,
        whichever is later).
    """
    not_deleted = items.filter(~pl.col("is_deleted"))
    states = placed.filter(~pl.col("is_deleted")).select("order_id", "order_date", "captured_at", order_status="status")
    return not_deleted.join(states, on=["order_id", "order_date"]).select(
        *("order_date", "order_status", "order_id", "line_number", "total_price"),
        captured_at=pl.max_horizontal("captured_at", "captured_at_right"),
    )


CURATED = Curated(
    ORDER_LINES,
    ByDate(
        dated=(ORDER_ITEMS, ORDERS),
        make=order_lines,
        lookups=((CUSTOMERS, customers_in_time), (PRODUCTS, products_in_time)),
    ),
    copied=Copied(without=frozenset({*_OF_CUSTOMER, *_OF_PRODUCT}), counted="product_id"),
    fact=Fact(
        "fct_order_lines",
        state="order_status",
        measure="total_price",
        expected=expected_lines,
        expected_of=(ORDER_ITEMS, ORDERS),
        versions=((RAW_ORDERS, ORDERS.key), (RAW_ORDER_ITEMS, ORDER_ITEMS.key)),
        same_total=ORDER_ITEMS,
    ),
    mixes=(Mix("category"),),
)
