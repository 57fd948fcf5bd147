"""Warehouses: every version, typed and judged alone; the members of a dimension."""

from typing import ClassVar

import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.cleansed import JUDGED, Cleansed
from orders_lakehouse.contracts.codes import COUNTRY_ALIASES
from orders_lakehouse.contracts.column_rules import COUNTRIES, ISO_3166, NOT_BLANK, no_unseen_characters, present
from orders_lakehouse.contracts.raw import Raw
from orders_lakehouse.contracts.table import Copied
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.entities.base import ByCapture, Entity
from orders_lakehouse.transforms import columns as c


class RawWarehouses(Raw):
    """Versions of warehouses."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    code: pl.String = pa.Field(nullable=True, description="Key of the warehouse")
    name: pl.String = pa.Field(nullable=True, description="Name")
    city: pl.String = pa.Field(nullable=True, description="City")
    country_code: pl.String = pa.Field(nullable=True, description="Country, ISO 3166-1 alpha-2")


class Warehouses(Cleansed):
    """Every valid version of a warehouse."""

    class Config(Contract.Config):
        """The first version."""

        metadata: ClassVar[dict[str, str]] = {"version": "1"}

    code: pl.String = pa.Field(str_matches=NOT_BLANK, description="Key of the warehouse", metadata=present("code"))
    name: pl.String = pa.Field(nullable=True, description="Name")
    city: pl.String = pa.Field(nullable=True, description="City")
    country_code: pl.String = pa.Field(
        nullable=True,
        isin=COUNTRIES,
        description="Country, ISO 3166-1 alpha-2",
        metadata=ISO_3166,
    )

    code_has_unseen_characters = no_unseen_characters("code")


def cleanse(warehouses: Frame) -> Frame:
    """Trim the texts of rows of `raw/warehouses`."""
    trimmed = warehouses.with_columns(c.trimmed("name"), c.trimmed("city"), c.upper("country_code"))
    return trimmed.with_columns(c.without_alias("country_code", COUNTRY_ALIASES))


ENTITY = Entity(
    name="warehouses",
    raw_model=RawWarehouses,
    cleansed_model=Warehouses,
    key=("code",),
    dating=ByCapture(attributes=("name", "city", "country_code", "is_deleted")),
    cleanse=cleanse,
    waivable=("country_code_not_iso_3166",),
    copied=Copied(without=JUDGED),
    is_optional=True,
)
RAW_WAREHOUSES, WAREHOUSES = ENTITY.raw, ENTITY.cleansed
