"""Payments: the current version of each, at the business date of its order."""

from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.cleansed import CAPTURED, JUDGED
from orders_lakehouse.contracts.codes import CURRENCY_ALIASES
from orders_lakehouse.contracts.column_rules import (
    CURRENCIES,
    ISO_4217,
    NOT_BLANK,
    has_happened,
    no_unseen_characters,
    out_of_range,
    present,
    too_precise,
)
from orders_lakehouse.contracts.raw import NUMBER, Raw
from orders_lakehouse.contracts.table import Copied, Mix
from orders_lakehouse.contracts.types import MONEY, Frame, Instant, Money
from orders_lakehouse.entities import orders
from orders_lakehouse.entities.base import ByParent, Entity
from orders_lakehouse.entities.children import OfOrder
from orders_lakehouse.transforms import columns as c

PAYMENT_METHODS = ("card", "paypal", "voucher", "transfer", "cash", "other")
PAYMENT_STATUSES = ("authorised", "captured", "refunded", "failed")


class RawPayments(Raw):
    """Versions of payments."""

    class Config(Contract.Config):
        """Since version 2 with change, sequence and namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    payment_id: pl.String = pa.Field(nullable=True, description="Key of the payment")
    order_id: pl.String = pa.Field(nullable=True, description="Order that is paid")
    method: pl.String = pa.Field(nullable=True, description="Method of payment")
    amount: pl.String = pa.Field(nullable=True, description="Amount in currency, as text", metadata=NUMBER)
    currency: pl.String = pa.Field(nullable=True, description="Currency, ISO 4217")
    status: pl.String = pa.Field(nullable=True, description="State of the payment")
    paid_at: Instant = pa.Field(nullable=True, description="When it was paid")


class Payments(OfOrder):
    """Current version of each payment, by the business date of its order."""

    payment_id: pl.String = pa.Field(
        str_matches=NOT_BLANK, description="Key of the payment", metadata=present("payment_id")
    )
    order_id: pl.String = pa.Field(nullable=True, description="Order that is paid")
    method: pl.String = pa.Field(isin=PAYMENT_METHODS, description="Method of payment")
    amount: Money = pa.Field(
        ge=0, description="Amount in currency", metadata={"reason": "amount_negative", "unit": "currency"}
    )
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency, ISO 4217", metadata=ISO_4217)
    status: pl.String = pa.Field(isin=PAYMENT_STATUSES, description="State of the payment")
    paid_at: Instant = pa.Field(nullable=True, description="When it was paid")

    class Config(Contract.Config):
        """Since version 2 amounts have the decimals of their currency, which may differ from the order's.

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


def cleanse(payments: Frame) -> Frame:
    """Trim the texts of rows of `raw/payments`, and parse the amount."""
    trimmed = payments.with_columns(
        c.key_or_null("order_id"),
        c.trimmed("method"),
        c.trimmed("status"),
        c.upper("currency"),
        c.number("amount", MONEY),
    )
    return trimmed.with_columns(c.without_alias("currency", CURRENCY_ALIASES))


ENTITY = Entity(
    name="payments",
    raw_model=RawPayments,
    cleansed_model=Payments,
    key=("payment_id",),
    dating=ByParent(orders.ENTITY),
    cleanse=cleanse,
    waivable=("amount_negative", "currency_not_iso_4217"),
    copied=Copied(
        without=JUDGED | CAPTURED | {"is_deleted", "order_state", "order_currency", "updated_at"},
        # A payment without an order would be missing from the facts; such payments are in quarantine.
        required=frozenset({"order_id"}),
    ),
    mixes=(Mix("method"),),
)
RAW_PAYMENTS, PAYMENTS = ENTITY.raw, ENTITY.cleansed
