"""Order lines: the current version of each, at the business date of its order, with its total."""

from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.column_rules import has_decimals, out_of_range, too_precise, within
from orders_lakehouse.contracts.raw import NUMBER, Raw
from orders_lakehouse.contracts.types import MONEY, PRICE, QUANTITY, Frame, Money, Price, Quantity
from orders_lakehouse.entities import orders, products
from orders_lakehouse.entities.base import ByParent, Entity, SourceTotal
from orders_lakehouse.entities.children import OfOrder
from orders_lakehouse.transforms import columns as c
from orders_lakehouse.transforms.money import with_total_price


class RawOrderItems(Raw):
    """Versions of order lines."""

    order_id: pl.String = pa.Field(nullable=True, description="Order of the line")
    line_number: pl.Int64 = pa.Field(nullable=True, description="Number of the line in its order")
    product_id: pl.String = pa.Field(nullable=True, description="Product sold")
    quantity: pl.String = pa.Field(nullable=True, description="How much was sold, as text", metadata=NUMBER)
    unit_price: pl.String = pa.Field(
        nullable=True, description="Price of one unit as sold, before discount, as text", metadata=NUMBER
    )
    discount: pl.String = pa.Field(nullable=True, description="Discount of the whole line, as text", metadata=NUMBER)

    class Config(Contract.Config):
        """Since version 2 line_number has 64 bits, since version 3 quantity is text; change, sequence, namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "3"}


class OrderItems(OfOrder):
    """Current version of each order line, by the business date of its order."""

    order_id: pl.String = pa.Field(description="Order of the line")
    line_number: pl.Int32 = pa.Field(description="Number of the line in its order")
    product_id: pl.String = pa.Field(description="Product sold; blank counts as missing")
    quantity: Quantity = pa.Field(
        gt=0, description="Units sold", metadata={"reason": "quantity_not_positive", "unit": "units"}
    )
    unit_price: Price = pa.Field(
        ge=0,
        description="Price of one unit as sold, before discount",
        metadata={"reason": "unit_price_negative", "unit": "currency of the order"},
    )
    discount: Money = pa.Field(
        ge=0,
        description="Discount of the whole line; 0 where the source has null",
        metadata={"reason": "discount_negative", "unit": "currency of the order"},
    )
    total_price: Money = pa.Field(
        nullable=True,
        ge=0,
        description="quantity * unit_price - discount, rounded half away from zero to the currency's minor unit",
        metadata={"reason": "total_price_negative", "unit": "currency of the order"},
    )

    class Config(Contract.Config):
        """Since version 2 quantities, prices and amounts are exact decimals, rounded by currency.

        Since version 3 a line of an order from before the first partition has its own reason.
        """

        metadata: ClassVar[dict[str, str]] = {"version": "3"}

    quantity_out_of_range = out_of_range("quantity", QUANTITY)
    quantity_too_precise = too_precise("quantity", QUANTITY[1])
    unit_price_out_of_range = out_of_range("unit_price", PRICE)
    unit_price_too_precise = too_precise("unit_price", PRICE[1])
    discount_out_of_range = out_of_range("discount", MONEY)
    discount_too_precise = too_precise("discount", MONEY[1], "order_currency")

    @rule
    def total_price_out_of_range(cls) -> nw.Expr:
        """total_price fits 14 digits before the decimal point wherever its parts can be used."""
        unusable = [
            nw.col(name).is_null() | ~within(name, kind) | ~has_decimals(name, kind[1])
            for name, kind in (("quantity", QUANTITY), ("unit_price", PRICE), ("discount", MONEY))
        ]
        return nw.any_horizontal(*unusable, ignore_nulls=True) | ~nw.col("total_price").is_null()


def cleanse(lines: Frame) -> Frame:
    """Parse the numbers of rows of `raw/order_items`, and compute `total_price`."""
    read = lines.with_columns(
        c.integer("line_number"),
        c.key_or_null("product_id"),
        c.number("quantity", QUANTITY),
        c.number("unit_price", PRICE),
        # A null discount means no discount; one that cannot be parsed is rejected.
        discount=nw.col("discount").fill_null("0"),
    )
    return with_total_price(read.with_columns(c.number("discount", MONEY)))


ENTITY = Entity(
    name="order_items",
    raw_model=RawOrderItems,
    cleansed_model=OrderItems,
    key=("order_id", "line_number"),
    dating=ByParent(orders.ENTITY),
    cleanse=cleanse,
    waivable=("quantity_not_positive", "unit_price_negative", "discount_negative", "total_price_negative"),
    names={"product_id": products.ENTITY},
    computed={"total_price": ("quantity", "unit_price", "discount", "parent.currency")},
    total=SourceTotal(
        "total_price",
        what="quantity * unit_price - discount rounded to the minor unit of the currency",
        # A null discount means no discount, as in the contract.
        sql="quantity::numeric * unit_price::numeric - coalesce(discount::numeric, 0)",
        currency="order_currency",
    ),
)
RAW_ORDER_ITEMS, ORDER_ITEMS = ENTITY.raw, ENTITY.cleansed
