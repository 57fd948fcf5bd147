"""Shipment lines: how much of an order line is in a shipment, by the business date of the order."""

from typing import ClassVar

import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.cleansed import CAPTURED, JUDGED
from orders_lakehouse.contracts.column_rules import NOT_BLANK, no_unseen_characters, out_of_range, present, too_precise
from orders_lakehouse.contracts.raw import NUMBER, Raw
from orders_lakehouse.contracts.table import Copied
from orders_lakehouse.contracts.types import QUANTITY, Frame, Quantity
from orders_lakehouse.entities import orders
from orders_lakehouse.entities.base import ByParent, Entity
from orders_lakehouse.entities.children import OfOrder
from orders_lakehouse.transforms import columns as c


class RawShipmentItems(Raw):
    """Versions of shipment lines."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    shipment_id: pl.String = pa.Field(nullable=True, description="Shipment of the line")
    order_id: pl.String = pa.Field(nullable=True, description="Order of the line that is shipped")
    line_number: pl.Int64 = pa.Field(nullable=True, description="Number of the order line that is shipped")
    quantity: pl.String = pa.Field(nullable=True, description="Quantity shipped, as text", metadata=NUMBER)


class ShipmentItems(OfOrder):
    """Current version of each shipment line, by the business date of its order."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    shipment_id: pl.String = pa.Field(
        str_matches=NOT_BLANK, description="Shipment of the line", metadata=present("shipment_id")
    )
    order_id: pl.String = pa.Field(description="Order of the line that is shipped")
    line_number: pl.Int32 = pa.Field(description="Number of the order line that is shipped")
    quantity: Quantity = pa.Field(
        gt=0, description="Units shipped", metadata={"reason": "quantity_not_positive", "unit": "units"}
    )

    shipment_id_has_unseen_characters = no_unseen_characters("shipment_id")
    quantity_out_of_range = out_of_range("quantity", QUANTITY)
    quantity_too_precise = too_precise("quantity", QUANTITY[1])


def cleanse(items: Frame) -> Frame:
    """Read the numbers of rows of `raw/shipment_items`."""
    return items.with_columns(c.integer("line_number"), c.number("quantity", QUANTITY))


ENTITY = Entity(
    name="shipment_items",
    raw_model=RawShipmentItems,
    cleansed_model=ShipmentItems,
    key=("order_id", "shipment_id", "line_number"),
    dating=ByParent(orders.ENTITY),
    cleanse=cleanse,
    waivable=("quantity_not_positive",),
    copied=Copied(without=JUDGED | CAPTURED | {"is_deleted", "order_state", "order_currency", "updated_at"}),
    is_optional=True,
)
RAW_SHIPMENT_ITEMS, SHIPMENT_ITEMS = ENTITY.raw, ENTITY.cleansed
