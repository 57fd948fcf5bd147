"""Cleansed tables: current rows by business date (all versions for dimensions), typed, trimmed, and what must hold.

A tombstone (`is_deleted`) stands for a deleted row and is not judged: it keeps the accounts balanced. A rule that says
nothing else rejects the row. `blank` and `warn` keep it: an attribute that is wrong does not cost the rest of its row.
"""

from datetime import date
from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.codes import COUNTRIES as COUNTRY_LIST
from orders_lakehouse.contracts.codes import CURRENCIES as CURRENCY_LIST
from orders_lakehouse.contracts.column_rules import (
    has_decimals,
    has_happened,
    no_unseen_characters,
    out_of_range,
    too_precise,
    within,
    without_bad_bytes,
)
from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.types import MONEY, PRICE, QUANTITY, Instant, Money, Price, Quantity

ORDER_STATUSES = ("placed", "paid", "shipped", "delivered", "cancelled", "returned")
PAYMENT_METHODS = ("card", "paypal", "voucher", "transfer", "cash", "other")
PAYMENT_STATUSES = ("authorised", "captured", "refunded", "failed")
COUNTRIES, CURRENCIES = tuple(COUNTRY_LIST), tuple(CURRENCY_LIST)

# How the state of a child's order is called in `order_state`.
VALID, DELETED, QUARANTINED, UNKNOWN = "valid", "deleted", "quarantined", "unknown"
BEFORE_START = "before_start"

# Reasons that say something of a child's order, not of the child; a row with such a reason alone comes back with it.
ORDER_UNKNOWN, ORDER_QUARANTINED, ORDER_BEFORE_START = "order_unknown", "order_quarantined", "order_before_start"
OF_THE_ORDER = (ORDER_UNKNOWN, ORDER_QUARANTINED, ORDER_BEFORE_START)

# An order that was placed before the first partition is nothing wrong: the lakehouse begins later. So are its children.
ORDERED_BEFORE_START = "ordered_before_start"
BEFORE_THE_START = (ORDERED_BEFORE_START, ORDER_BEFORE_START)

_YEAR_1900 = date(1900, 1, 1)
_NOT_BLANK = r"^\s*\S"
_ISO_4217 = {"reason": "currency_not_iso_4217", "demand": "an ISO 4217 code", "codes": "currencies"}


def _present(column: str) -> dict[str, str]:
    return {"reason": f"{column}_missing", "demand": "present and not blank"}


class Cleansed(Contract):
    """Columns that every cleansed table ends with, and the rule on the change clock."""

    is_deleted: pl.Boolean = pa.Field(description="Whether this row is a tombstone")
    versions: pl.Int64 = pa.Field(ge=1, description="Versions of this row in raw, this one included")
    candidates: pl.Int64 = pa.Field(
        le=1,
        description="Different rows that the source offered for this key at once, with one clock; 1",
        metadata={"reason": "key_not_unique", "demand": "1: the source offers the key once"},
    )
    warnings: pl.String = pa.Field(
        nullable=True, description="Rules that the row breaks without being rejected, with commas between them"
    )
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
        return without_bad_bytes(cls)

    class Config(Contract.Config):
        """Since version 2, a row with text that was no UTF-8 is rejected."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}


class OfOrder(Cleansed):
    """What a child of an order carries, and what it needs of its order."""

    order_date: pl.Date = pa.Field(
        description="Business date of the order; the capture date where the order is not known"
    )
    order_state: pl.String = pa.Field(
        isin=(VALID, DELETED, QUARANTINED, UNKNOWN, BEFORE_START), description="What became of the row's order"
    )
    order_currency: pl.String = pa.Field(nullable=True, description="Currency of the row's order, ISO 4217")

    @rule
    def order_unknown(cls) -> nw.Expr:
        """The order has been captured."""
        return nw.col("order_state") != UNKNOWN

    @rule
    def order_quarantined(cls) -> nw.Expr:
        """The order itself is valid."""
        return nw.col("order_state") != QUARANTINED

    @rule
    def order_before_start(cls) -> nw.Expr:
        """The order was not placed before the first partition."""
        return nw.col("order_state") != BEFORE_START


class Customers(Cleansed):
    """Every valid version of a customer."""

    class Config(Contract.Config):
        """Since version 2 a wrong attribute does not cost the row."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    customer_id: pl.String = pa.Field(
        str_matches=_NOT_BLANK, description="Key of the customer", metadata=_present("customer_id")
    )
    full_name: pl.String = pa.Field(nullable=True, description="Name", metadata={"pii": True})
    email: pl.String = pa.Field(
        nullable=True,
        str_matches=r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
        description="E-mail address, lower case",
        metadata={"pii": True, "demand": "null or of the shape of an address", "outcome": "blank"},
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
        metadata={
            "reason": "country_code_not_iso_3166",
            "demand": "null or an ISO 3166-1 alpha-2 code",
            "codes": "countries",
            "outcome": "blank",
        },
    )

    customer_id_has_unseen_characters = no_unseen_characters("customer_id")

    @rule(outcome="blank", blanks=("registered_at", "registration_date"))
    def registered_at_out_of_range(cls) -> nw.Expr:
        """registered_at is from 1900-01-01 to one day after updated_at; infinity is not."""
        return has_happened("registered_at")

    @rule(outcome="blank", blanks=("date_of_birth",))
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
    unit_price: Price = pa.Field(
        nullable=True,
        ge=0,
        description="List price in currency; null where the source has none that can be used",
        metadata={"reason": "unit_price_negative", "unit": "currency", "outcome": "blank"},
    )
    currency: pl.String = pa.Field(
        nullable=True,
        isin=CURRENCIES,
        description="Currency of unit_price, ISO 4217",
        metadata={**_ISO_4217, "outcome": "blank", "blanks": ("currency", "unit_price")},
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

    class Config(Contract.Config):
        """Since version 2 amounts have the decimals of their currency, which may not be the order's.

        Since version 3 a payment of an order from before the first partition has its own reason.
        """

        metadata: ClassVar[dict[str, str]] = {"version": "3"}

    payment_id_has_unseen_characters = no_unseen_characters("payment_id")
    amount_out_of_range = out_of_range("amount", MONEY)
    amount_too_precise = too_precise("amount", MONEY[1], "currency")

    @rule(outcome="warn")
    def currency_not_of_order(cls) -> nw.Expr:
        """The payment is in the currency of its order; one that is not counts in no sum of the order's."""
        return nw.col("currency") == nw.col("order_currency")

    @rule(outcome="blank", blanks=("paid_at",))
    def paid_at_out_of_range(cls) -> nw.Expr:
        """paid_at is from 1900-01-01 to one day after updated_at; infinity is not."""
        return has_happened("paid_at")
