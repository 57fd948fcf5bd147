"""Cleansed tables: current rows by business date (all versions for dimensions), typed, trimmed, and what must hold.

A tombstone (`is_deleted`) stands for a deleted row and is not judged: it keeps the accounts balanced.
"""

import re
from datetime import date
from typing import Any, ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl
import pycountry

from orders_lakehouse.contracts.base import Contract, polars_schema, rule
from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.types import Instant, Money, Price
from orders_lakehouse.encoding import BAD_BYTE

ORDER_STATUSES = ("placed", "paid", "shipped", "delivered", "cancelled", "returned")
PAYMENT_METHODS = ("card", "paypal", "voucher", "transfer", "cash", "other")
PAYMENT_STATUSES = ("authorised", "captured", "refunded", "failed")
COUNTRIES = tuple(sorted(country.alpha_2 for country in pycountry.countries))
CURRENCIES = tuple(sorted(currency.alpha_3 for currency in pycountry.currencies))

# How the state of a child's order is called in `order_state`.
VALID, DELETED, QUARANTINED, UNKNOWN = "valid", "deleted", "quarantined", "unknown"

# Reasons that say something of a child's order, not of the child; a row with such a reason alone comes back with it.
ORDER_QUARANTINED = "order_quarantined"
OF_THE_ORDER = ("order_unknown", ORDER_QUARANTINED)

# A bad byte in a value that may have been put in upper or lower case since.
_BAD_BYTE = re.escape(BAD_BYTE[:-1]) + r"[xX][0-9a-fA-F]{2}"
_YEAR_1900 = date(1900, 1, 1)
_NOT_BLANK = r"^\s*\S"
_ISO_4217 = {"reason": "currency_not_iso_4217", "demand": "an ISO 4217 code"}


def _present(column: str) -> dict[str, str]:
    return {"reason": f"{column}_missing", "demand": "present and not blank"}


def _without_bad_bytes(model: Any) -> nw.Expr:
    texts = [name for name, dtype in polars_schema(model).items() if dtype == pl.String]
    # A regular expression with a literal at its beginning costs as much as a search for that.
    return ~nw.any_horizontal(*(nw.col(name).str.contains(_BAD_BYTE) for name in texts), ignore_nulls=True)


class Cleansed(Contract):
    """Columns that every cleansed table ends with, and the rule on the change clock."""

    is_deleted: pl.Boolean = pa.Field(description="Whether this row is a tombstone")
    versions: pl.Int64 = pa.Field(ge=1, description="Versions of this row in raw, this one included")
    updated_at: Instant = pa.Field(description="The source's change clock")
    captured_on: pl.Date = pa.Field(description="Capture date of the version")
    captured_at: Instant = pa.Field(description="The source's now() when the version was read")

    @rule
    def updated_at_in_future(cls) -> nw.Expr:
        """The change clock is at most one day ahead of the capture."""
        return nw.col("updated_at") <= nw.col("captured_at").dt.offset_by(f"{AHEAD_HOURS}h")

    @rule
    def text_not_utf8(cls) -> nw.Expr:
        """Every text of the row was valid UTF-8 in the shop."""
        return _without_bad_bytes(cls)

    class Config(Contract.Config):
        """Since version 2, a row with text that was no UTF-8 is rejected."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}


class OfOrder(Cleansed):
    """What a child of an order carries, and what it needs of its order."""

    order_date: pl.Date = pa.Field(
        description="Business date of the order; the capture date where the order is not known"
    )
    order_state: pl.String = pa.Field(
        isin=(VALID, DELETED, QUARANTINED, UNKNOWN), description="What became of the row's order"
    )

    @rule
    def order_unknown(cls) -> nw.Expr:
        """The order has been captured."""
        return nw.col("order_state") != UNKNOWN

    @rule
    def order_quarantined(cls) -> nw.Expr:
        """The order itself is valid."""
        return nw.col("order_state") != QUARANTINED


class Customers(Cleansed):
    """Every valid version of a customer."""

    customer_id: pl.String = pa.Field(
        str_matches=_NOT_BLANK, description="Key of the customer", metadata=_present("customer_id")
    )
    full_name: pl.String = pa.Field(nullable=True, description="Name", metadata={"pii": True})
    email: pl.String = pa.Field(
        nullable=True,
        str_matches=r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
        description="E-mail address, lower case",
        metadata={"pii": True, "demand": "null or of the shape of an address"},
    )
    date_of_birth: pl.Date = pa.Field(nullable=True, description="Date of birth", metadata={"pii": True})
    registered_at: Instant = pa.Field(nullable=True, description="When the customer registered")
    registration_date: pl.Date = pa.Field(nullable=True, description="Date of registered_at in the lake's time zone")
    address: pl.String = pa.Field(nullable=True, description="Street and number", metadata={"pii": True})
    city: pl.String = pa.Field(nullable=True, description="City")
    state: pl.String = pa.Field(nullable=True, description="State or province")
    postal_code: pl.String = pa.Field(nullable=True, description="Postal code", metadata={"pii": True})
    country_code: pl.String = pa.Field(
        nullable=True,
        isin=COUNTRIES,
        description="Country, ISO 3166-1 alpha-2",
        metadata={"reason": "country_code_not_iso_3166", "demand": "null or an ISO 3166-1 alpha-2 code"},
    )

    @rule
    def registered_at_in_future(cls) -> nw.Expr:
        """registered_at is at most one day after updated_at."""
        return nw.col("registered_at") <= nw.col("updated_at").dt.offset_by("24h")

    @rule
    def date_of_birth_out_of_range(cls) -> nw.Expr:
        """date_of_birth is null or from 1900-01-01 to the date of registration."""
        born = nw.col("date_of_birth")
        not_after_registration = born <= nw.col("registration_date")
        return (born >= nw.lit(_YEAR_1900)) & nw.when(nw.col("registration_date").is_null()).then(
            nw.lit(True)
        ).otherwise(not_after_registration)


class Products(Cleansed):
    """Every valid version of a product."""

    product_id: pl.String = pa.Field(
        str_matches=_NOT_BLANK, description="Key of the product", metadata=_present("product_id")
    )
    product_name: pl.String = pa.Field(nullable=True, description="Name")
    category: pl.String = pa.Field(nullable=True, description="Category")
    manufacturer: pl.String = pa.Field(nullable=True, description="Manufacturer")
    unit_price: Money = pa.Field(
        ge=0, description="List price in currency", metadata={"reason": "unit_price_negative", "unit": "currency"}
    )
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency, ISO 4217", metadata=_ISO_4217)


class Orders(Cleansed):
    """Current version of each order, by business date."""

    order_id: pl.String = pa.Field(
        str_matches=_NOT_BLANK, description="Key of the order", metadata=_present("order_id")
    )
    order_date: pl.Date = pa.Field(description="Business date; the capture date where there is none")
    customer_id: pl.String = pa.Field(nullable=True, description="Customer; null is a guest")
    ordered_at: Instant = pa.Field(description="When the order was placed")
    business_date: pl.Date = pa.Field(nullable=True, description="Date of ordered_at in the lake's time zone")
    status: pl.String = pa.Field(isin=ORDER_STATUSES, description="State of the order")
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency, ISO 4217", metadata=_ISO_4217)
    shipped_at: Instant = pa.Field(nullable=True, description="When it was shipped")
    delivered_at: Instant = pa.Field(nullable=True, description="When it was delivered")

    @rule
    def ordered_at_in_future(cls) -> nw.Expr:
        """ordered_at is at most one day after updated_at."""
        return nw.col("ordered_at") <= nw.col("updated_at").dt.offset_by("24h")

    @rule
    def ordered_at_out_of_range(cls) -> nw.Expr:
        """The date of ordered_at is one of the partitions."""
        return nw.col("business_date") == nw.col("order_date")


class OrderItems(OfOrder):
    """Current version of each order line, by the business date of its order."""

    order_id: pl.String = pa.Field(description="Order of the line")
    line_number: pl.Int32 = pa.Field(description="Number of the line in its order")
    product_id: pl.String = pa.Field(description="Product sold; blank counts as missing")
    quantity: pl.Int32 = pa.Field(
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
        description="round(quantity * unit_price - discount, 2), half away from zero",
        metadata={"reason": "total_price_negative", "unit": "currency of the order"},
    )

    @rule
    def total_price_out_of_range(cls) -> nw.Expr:
        """total_price fits 16 digits before the decimal point wherever its parts are present."""
        parts_missing = nw.any_horizontal(
            nw.col("quantity").is_null(),
            nw.col("unit_price").is_null(),
            nw.col("discount").is_null(),
            ignore_nulls=True,
        )
        return parts_missing | ~nw.col("total_price").is_null()


class Payments(OfOrder):
    """Current version of each payment, by the business date of its order."""

    payment_id: pl.String = pa.Field(
        str_matches=_NOT_BLANK, description="Key of the payment", metadata=_present("payment_id")
    )
    order_id: pl.String = pa.Field(nullable=True, description="Order that is paid")
    method: pl.String = pa.Field(isin=PAYMENT_METHODS, description="Method of payment")
    amount: Money = pa.Field(
        ge=0, description="Amount in currency", metadata={"reason": "amount_negative", "unit": "currency"}
    )
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency, ISO 4217", metadata=_ISO_4217)
    status: pl.String = pa.Field(isin=PAYMENT_STATUSES, description="State of the payment")
    paid_at: Instant = pa.Field(nullable=True, description="When it was paid")
