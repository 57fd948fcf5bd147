"""Customers: every version, cast and judged by itself; the members of a dimension."""

from datetime import date
from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.cleansed import JUDGED, Cleansed
from orders_lakehouse.contracts.codes import COUNTRY_ALIASES
from orders_lakehouse.contracts.column_rules import (
    COUNTRIES,
    ISO_3166,
    NOT_BLANK,
    has_happened,
    no_unseen_characters,
    present,
)
from orders_lakehouse.contracts.raw import Raw
from orders_lakehouse.contracts.table import Copied
from orders_lakehouse.contracts.types import Frame, Instant
from orders_lakehouse.entities.base import ByCapture, Entity
from orders_lakehouse.transforms import columns as c

_YEAR_1900 = date(1900, 1, 1)


class RawCustomers(Raw):
    """Versions of customers."""

    class Config(Contract.Config):
        """Since version 2 with change, sequence and namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    customer_id: pl.String = pa.Field(nullable=True, description="Key of the customer")
    full_name: pl.String = pa.Field(nullable=True, description="Name", metadata={"pii": True})
    email: pl.String = pa.Field(nullable=True, description="E-mail address", metadata={"pii": True})
    date_of_birth: pl.Date = pa.Field(nullable=True, description="Date of birth", metadata={"pii": True})
    registered_at: Instant = pa.Field(nullable=True, description="When the customer registered")
    address: pl.String = pa.Field(nullable=True, description="Street and number", metadata={"pii": True})
    city: pl.String = pa.Field(nullable=True, description="City")
    state: pl.String = pa.Field(nullable=True, description="State or province")
    postal_code: pl.String = pa.Field(nullable=True, description="Postal code", metadata={"pii": True})
    country_code: pl.String = pa.Field(nullable=True, description="Country, ISO 3166-1 alpha-2")


class Customers(Cleansed):
    """Every valid version of a customer."""

    class Config(Contract.Config):
        """Since version 2 an invalid attribute becomes null and the row stays."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    customer_id: pl.String = pa.Field(
        str_matches=NOT_BLANK, description="Key of the customer", metadata=present("customer_id")
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
        metadata=ISO_3166,
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


def cleanse(customers: Frame) -> Frame:
    """Trim the texts of rows of `raw/customers`."""
    trimmed = customers.with_columns(
        *(c.trimmed(name) for name in ("full_name", "address", "city", "state", "postal_code")),
        c.lower("email"),
        c.upper("country_code"),
    )
    return trimmed.with_columns(c.without_alias("country_code", COUNTRY_ALIASES))


ENTITY = Entity(
    name="customers",
    raw_model=RawCustomers,
    cleansed_model=Customers,
    key=("customer_id",),
    dating=ByCapture(
        attributes=(
            *("full_name", "email", "address", "city", "state", "postal_code", "country_code"),
            *("is_deleted", "date_of_birth", "registration_date"),
        )
    ),
    cleanse=cleanse,
    waivable=(
        "email_malformed",
        "country_code_not_iso_3166",
        "registered_at_out_of_range",
        "date_of_birth_out_of_range",
    ),
    local_dates={"registration_date": "registered_at"},
    copied=Copied(without=JUDGED),
)
RAW_CUSTOMERS, CUSTOMERS = ENTITY.raw, ENTITY.cleansed
