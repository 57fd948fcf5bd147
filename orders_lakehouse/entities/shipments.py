"""Shipments: the current version of each, by the business date of its order."""

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
from orders_lakehouse.contracts.table import Copied
from orders_lakehouse.contracts.types import MONEY, Frame, Instant, Money
from orders_lakehouse.entities import orders, warehouses
from orders_lakehouse.entities.base import ByParent, Entity
from orders_lakehouse.entities.children import OfOrder
from orders_lakehouse.transforms import columns as c

SHIPMENT_STATUSES = ("pending", "shipped", "delivered", "returned", "lost", "cancelled")


class RawShipments(Raw):
    """Versions of shipments."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    shipment_id: pl.String = pa.Field(nullable=True, description="Key of the shipment")
    order_id: pl.String = pa.Field(nullable=True, description="Order that is shipped")
    warehouse_code: pl.String = pa.Field(nullable=True, description="Warehouse that ships")
    carrier: pl.String = pa.Field(nullable=True, description="Carrier")
    service: pl.String = pa.Field(nullable=True, description="Service of the carrier, such as express")
    tracking_number: pl.String = pa.Field(
        nullable=True, description="The carrier's number of the shipment", metadata={"pii": True}
    )
    shipped_at: Instant = pa.Field(nullable=True, description="When the carrier took it")
    delivered_at: Instant = pa.Field(nullable=True, description="When it arrived")
    cost: pl.String = pa.Field(nullable=True, description="Cost in currency, as text", metadata=NUMBER)
    currency: pl.String = pa.Field(nullable=True, description="Currency of cost, ISO 4217")
    status: pl.String = pa.Field(nullable=True, description="State of the shipment")


class Shipments(OfOrder):
    """Current version of each shipment, by the business date of its order."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    shipment_id: pl.String = pa.Field(
        str_matches=NOT_BLANK, description="Key of the shipment", metadata=present("shipment_id")
    )
    order_id: pl.String = pa.Field(nullable=True, description="Order that is shipped")
    warehouse_code: pl.String = pa.Field(nullable=True, description="Warehouse that ships; null where none is named")
    carrier: pl.String = pa.Field(nullable=True, description="Carrier")
    service: pl.String = pa.Field(nullable=True, description="Service of the carrier, such as express")
    tracking_number: pl.String = pa.Field(
        nullable=True, description="The carrier's number of the shipment", metadata={"pii": True}
    )
    shipped_at: Instant = pa.Field(nullable=True, description="When the carrier took it")
    delivered_at: Instant = pa.Field(nullable=True, description="When it arrived")
    cost: Money = pa.Field(
        nullable=True,
        ge=0,
        description="Cost in currency; null where the source has none that can be used",
        metadata={"reason": "cost_negative", "unit": "currency", "outcome": "blank"},
    )
    currency: pl.String = pa.Field(
        nullable=True,
        isin=CURRENCIES,
        description="Currency of cost, ISO 4217",
        metadata={**ISO_4217, "outcome": "blank", "blanks": ("currency", "cost")},
    )
    status: pl.String = pa.Field(isin=SHIPMENT_STATUSES, description="State of the shipment")

    shipment_id_has_unseen_characters = no_unseen_characters("shipment_id")
    cost_out_of_range = out_of_range("cost", MONEY, outcome="blank", blanks=("cost",))
    cost_too_precise = too_precise("cost", MONEY[1], "currency", outcome="blank", blanks=("cost",))

    @rule(outcome="blank", blanks=("cost",))
    def cost_without_currency(cls) -> nw.Expr:
        """A cost has a currency."""
        return nw.col("cost").is_null() | ~nw.col("currency").is_null()

    @rule(outcome="blank", blanks=("shipped_at",))
    def shipped_at_out_of_range(cls) -> nw.Expr:
        """shipped_at is from 1900-01-01 to one day after updated_at; infinity is not."""
        return has_happened("shipped_at")

    @rule(outcome="blank", blanks=("delivered_at",))
    def delivered_at_out_of_range(cls) -> nw.Expr:
        """delivered_at is from 1900-01-01 to one day after updated_at; infinity is not."""
        return has_happened("delivered_at")

    @rule(outcome="warn")
    def delivered_before_shipped(cls) -> nw.Expr:
        """delivered_at is not before shipped_at."""
        return nw.col("delivered_at") >= nw.col("shipped_at")


def cleanse(shipments: Frame) -> Frame:
    """Trim the texts of rows of `raw/shipments`, and read the cost."""
    trimmed = shipments.with_columns(
        c.key_or_null("order_id"),
        c.key_or_null("warehouse_code"),
        *(c.trimmed(name) for name in ("carrier", "service", "tracking_number", "status")),
        c.upper("currency"),
        c.number("cost", MONEY),
    )
    return trimmed.with_columns(c.without_alias("currency", CURRENCY_ALIASES))


ENTITY = Entity(
    name="shipments",
    raw_model=RawShipments,
    cleansed_model=Shipments,
    key=("shipment_id",),
    dating=ByParent(orders.ENTITY),
    cleanse=cleanse,
    names={"warehouse_code": warehouses.ENTITY},
    waivable=("cost_negative", "currency_not_iso_4217"),
    copied=Copied(
        without=JUDGED | CAPTURED | {"is_deleted", "order_state", "order_currency", "updated_at"},
        counted="warehouse_code",
        # The facts find a shipment by its order; a shipment without one is in quarantine.
        required=frozenset({"order_id"}),
    ),
    is_optional=True,
)
RAW_SHIPMENTS, SHIPMENTS = ENTITY.raw, ENTITY.cleansed
