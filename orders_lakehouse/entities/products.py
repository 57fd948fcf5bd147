"""Products: every version, cast and judged by itself; the members of a dimension."""

from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.cleansed import JUDGED, Cleansed
from orders_lakehouse.contracts.codes import CURRENCY_ALIASES
from orders_lakehouse.contracts.column_rules import (
    CURRENCIES,
    ISO_4217,
    NOT_BLANK,
    no_unseen_characters,
    out_of_range,
    present,
    too_precise,
)
from orders_lakehouse.contracts.raw import NUMBER, Raw
from orders_lakehouse.contracts.table import Copied
from orders_lakehouse.contracts.types import PRICE, Frame, Price
from orders_lakehouse.entities.base import ByCapture, Entity
from orders_lakehouse.transforms import columns as c


class RawProducts(Raw):
    """Versions of products."""

    class Config(Contract.Config):
        """Since version 2 with change, sequence and namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    product_id: pl.String = pa.Field(nullable=True, description="Key of the product")
    product_name: pl.String = pa.Field(nullable=True, description="Name")
    category: pl.String = pa.Field(nullable=True, description="Category")
    manufacturer: pl.String = pa.Field(nullable=True, description="Manufacturer")
    unit_price: pl.String = pa.Field(nullable=True, description="List price in currency, as text", metadata=NUMBER)
    currency: pl.String = pa.Field(nullable=True, description="Currency, ISO 4217")


class Products(Cleansed):
    """Every valid version of a product."""

    product_id: pl.String = pa.Field(
        str_matches=NOT_BLANK, description="Key of the product", metadata=present("product_id")
    )
    product_name: pl.String = pa.Field(nullable=True, description="Name")
    category: pl.String = pa.Field(nullable=True, description="Category")
    manufacturer: pl.String = pa.Field(nullable=True, description="Manufacturer")
    unit_price: Price = pa.Field(
        nullable=True,
        ge=0,
        description="List price in currency; null where the source has no usable price",
        metadata={"reason": "unit_price_negative", "unit": "currency", "outcome": "blank"},
    )
    currency: pl.String = pa.Field(
        nullable=True,
        isin=CURRENCIES,
        description="Currency of unit_price, ISO 4217",
        metadata={**ISO_4217, "outcome": "blank", "blanks": ("currency", "unit_price")},
    )

    class Config(Contract.Config):
        """Since version 2 a product may lack its price, which has eight decimals."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    product_id_has_unseen_characters = no_unseen_characters("product_id")
    unit_price_out_of_range = out_of_range("unit_price", PRICE, outcome="blank", blanks=("unit_price",))
    unit_price_too_precise = too_precise("unit_price", PRICE[1], outcome="blank", blanks=("unit_price",))

    @rule(outcome="blank", blanks=("unit_price",))
    def unit_price_without_currency(cls) -> nw.Expr:
        """A price has a currency."""
        return nw.col("unit_price").is_null() | ~nw.col("currency").is_null()


def cleanse(products: Frame) -> Frame:
    """Trim texts, and parse the price of rows of `raw/products`."""
    trimmed = products.with_columns(
        *(c.trimmed(name) for name in ("product_name", "category", "manufacturer")),
        c.upper("currency"),
        c.number("unit_price", PRICE),
    )
    return trimmed.with_columns(c.without_alias("currency", CURRENCY_ALIASES))


ENTITY = Entity(
    name="products",
    raw_model=RawProducts,
    cleansed_model=Products,
    key=("product_id",),
    dating=ByCapture(attributes=("product_name", "category", "manufacturer", "currency", "unit_price", "is_deleted")),
    cleanse=cleanse,
    waivable=("currency_not_iso_4217", "unit_price_negative"),
    copied=Copied(without=JUDGED),
)
RAW_PRODUCTS, PRODUCTS = ENTITY.raw, ENTITY.cleansed
