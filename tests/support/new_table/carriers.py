"""Carriers: what each carried, by date."""

from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.types import QUANTITY_SUM, Frame, QuantitySum
from orders_lakehouse.curated.base import ByDate, Curated, curated_table
from orders_lakehouse.entities import parcels


class Carriers(Contract):
    """One row per date and carrier."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    order_date: pl.Date = pa.Field(description="Business date of the orders")
    carrier: pl.String = pa.Field(description="Who carries them")
    parcels: pl.Int64 = pa.Field(ge=1, description="Parcels")
    weight: QuantitySum = pa.Field(gt=0, description="Sum of their weights", metadata={"unit": "kilograms"})


PARCELS = parcels.ENTITY.cleansed
CARRIERS = curated_table(
    "carriers",
    Carriers,
    ("order_date", "carrier"),
    (PARCELS,),
    computed={"parcels": [], "weight": [(PARCELS, "weight")]},
)


def carriers(rows: Frame) -> Frame:
    """Sum rows of `cleansed/parcels` by date and carrier."""
    weight = nw.col("weight").cast(nw.Decimal(*QUANTITY_SUM))
    return (
        rows.filter(~nw.col("is_deleted"))
        .group_by("order_date", "carrier")
        .agg(parcels=nw.len().cast(nw.Int64), weight=weight.sum())
        .with_columns(nw.col("weight").cast(nw.Decimal(*QUANTITY_SUM)))
        .select(CARRIERS.columns)
    )


CURATED = Curated(CARRIERS, ByDate(dated=(PARCELS,), make=carriers), drawn_by="carrier")
