"""Parcels: the current version of each, by the business date of its order."""

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


class RawParcels(Raw):
    """Versions of parcels."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    parcel_id: pl.String = pa.Field(nullable=True, description="Key of the parcel")
    order_id: pl.String = pa.Field(nullable=True, description="Order that is sent")
    carrier: pl.String = pa.Field(nullable=True, description="Who carries it")
    weight: pl.String = pa.Field(nullable=True, description="Weight in kilograms, as text", metadata=NUMBER)


class Parcels(OfOrder):
    """Current version of each parcel, by the business date of its order."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    parcel_id: pl.String = pa.Field(
        str_matches=NOT_BLANK, description="Key of the parcel", metadata=present("parcel_id")
    )
    order_id: pl.String = pa.Field(nullable=True, description="Order that is sent")
    carrier: pl.String = pa.Field(description="Who carries it")
    weight: Quantity = pa.Field(
        gt=0, description="Weight", metadata={"reason": "weight_not_positive", "unit": "kilograms"}
    )

    parcel_id_has_unseen_characters = no_unseen_characters("parcel_id")
    weight_out_of_range = out_of_range("weight", QUANTITY)
    weight_too_precise = too_precise("weight", QUANTITY[1])


def cleanse(parcels: Frame) -> Frame:
    """Trim the texts of rows of `raw/parcels`, and read the weight."""
    return parcels.with_columns(c.key_or_null("order_id"), c.trimmed("carrier"), c.number("weight", QUANTITY))


ENTITY = Entity(
    name="parcels",
    raw_model=RawParcels,
    cleansed_model=Parcels,
    key=("parcel_id",),
    dating=ByParent(orders.ENTITY),
    cleanse=cleanse,
    waivable=("weight_not_positive",),
    is_optional=True,
    copied=Copied(without=JUDGED | CAPTURED | {"is_deleted", "order_state", "order_currency"}),
)
